"""What is verified while it is made is verified as strictly as what is read later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logrotor.disk import codecs
from logrotor.model import Codec
from tests.support import oracle
from tests.support.command import CHECKOUT, environment
from tests.support.need import need

PLAIN = oracle.lines("w1", 1, 5000)  # several blocks of zstd


def packed(data: bytes, codec: Codec = Codec.ZSTD, threads: int = 1) -> bytes:
    machine = codecs.compressor(codec, None, len(data), threads)
    return machine.compress(data) + machine.flush()


def compared(folder: Path, plain: bytes, archive: bytes, codec: Codec, *, made_here: bool) -> str:
    """The verdict: "same", "different" or "damaged"."""
    growing = codecs.Growing() if made_here else None
    if growing is not None:
        growing.add(len(archive))
        growing.end()
    fds = []
    for name, data in (("plain", plain), ("archive", archive)):
        (folder / name).write_bytes(data)
        fds.append(os.open(folder / name, os.O_RDONLY))
    try:
        same = codecs.same_content((fds[0], Codec.NONE), (fds[1], codec), growing=growing)
        return "same" if same else "different"
    except ValueError:
        return "damaged"
    finally:
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.GZIP])
@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, len(PLAIN)])
@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_made_is_the_same(tmp_path: Path, codec: Codec, size: int, threads: int) -> None:
    """Of any size, by any number of threads."""
    data = PLAIN[:size]
    assert compared(tmp_path, data, packed(data, codec, threads), codec, made_here=True) == "same"
    assert compared(tmp_path, data + b"x", packed(data, codec, threads), codec, made_here=True) != "same"


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 8, 100, 5000])
def test_what_was_cut_short_is_damaged(tmp_path: Path, cut: int) -> None:
    """Also where only the checksum is missing, or a part of it, and all bytes of the log are there."""
    archive = packed(PLAIN)[:-cut]
    for made_here in (True, False):
        assert compared(tmp_path, PLAIN, archive, Codec.ZSTD, made_here=made_here) == "damaged"


@pytest.mark.parametrize("more", [b"\0", b"\n", b"x" * 200_000, packed(b""), packed(b"one more\n")])
def test_what_follows_is_damage(tmp_path: Path, more: bytes) -> None:
    """Bytes that nobody wrote, or a second frame: other readers would stumble over them, or show more lines."""
    assert compared(tmp_path, PLAIN, packed(PLAIN) + more, Codec.ZSTD, made_here=True) != "same"


@pytest.mark.parametrize("codec", [Codec.ZSTD, Codec.GZIP])
@pytest.mark.parametrize("step", [1, 7, 4096])
def test_it_is_read_as_it_grows(tmp_path: Path, codec: Codec, step: int) -> None:
    """Whatever the pieces are in which it comes, the last byte alone included."""
    archive, growing = packed(PLAIN[:50_000], codec), codecs.Growing()
    plain, made = tmp_path / "plain", tmp_path / "made"
    plain.write_bytes(PLAIN[:50_000])
    with open(made, "wb+", buffering=0) as out, open(plain, "rb") as original, ThreadPoolExecutor(1) as pool:
        one, other = (original.fileno(), Codec.NONE), (out.fileno(), codec)
        verdict = pool.submit(codecs.same_content, one, other, growing=growing)
        for at in range(0, len(archive), step):
            growing.add(out.write(archive[at : at + step]))
        growing.end()
        assert verdict.result(timeout=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_judged_alike(tmp_path: Path, place: float, bit: int) -> None:
    """Whatever a disk does to an archive, it passes here only if every reader gets the same bytes out of it."""
    archive = bytearray(packed(PLAIN))
    archive[int(place * len(archive))] ^= 1 << bit
    here = compared(tmp_path, PLAIN, bytes(archive), Codec.ZSTD, made_here=True)
    assert (here == "same") == (compared(tmp_path, PLAIN, bytes(archive), Codec.ZSTD, made_here=False) == "same")


# One entry in each of the two tables; the machine is gzip's, which is what a further codec would bring of its own.
PLANTED = {
    "model/settings.py": ('    NONE = "none"', '    BROTLI = "brotli", ".br", range(12)\n    NONE = "none"'),
    "disk/codecs.py": ("_MACHINES = {\n", "_MACHINES = {\n    Codec.BROTLI: Machine(_gunzip, _gzip),\n"),
}


def test_a_further_codec_is_one_entry_in_two_tables(tmp_path: Path) -> None:
    """brotli planted there can be configured with its levels; its archives are shifted, read, and never live logs."""
    library = tmp_path / "library"
    shutil.copytree(CHECKOUT / "logrotor", library / "logrotor", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (before, after) in PLANTED.items():
        text = (library / "logrotor" / name).read_text()
        assert text.count(before) == 1
        (library / "logrotor" / name).write_text(text.replace(before, after))
    logs = tmp_path / "logs"
    logs.mkdir()
    rule = f'name = "app"\npaths = ["{logs}/*"]\nmax_size = "1K"\ncompress = "brotli"\ncompress_level = 9\n'
    (tmp_path / "logrotor.toml").write_text(f'state_dir = "{tmp_path}/state"\n[[log]]\n{rule}')

    def logrotor(command: str) -> bytes:
        argv = [sys.executable, "-m", "logrotor", command, "-c", tmp_path / "logrotor.toml"]
        return subprocess.run(argv, cwd=library, env=environment(), check=True, capture_output=True).stdout

    for run in range(2):
        (logs / "app.log").write_bytes(oracle.lines("w1", 500 * run + 1, 500 * run + 500))
        logrotor("run")
    assert sorted(path.name for path in logs.iterdir()) == ["app.log", "app.log.1.br", "app.log.2.br"]
    assert zlib.decompress((logs / "app.log.1.br").read_bytes(), 31) == oracle.lines("w1", 501, 1000)
    assert logrotor("verify") and not (logs / "app.log").read_bytes()


@pytest.mark.parametrize(
    ("program", "codec"),
    [
        (["zstd", "--long=27"], Codec.ZSTD), (["zstd", "--long=31", "--ultra"], Codec.ZSTD),
        (["gzip"], Codec.GZIP), (["xz"], Codec.XZ),
    ],
)  # fmt: skip
def test_sound_archives_of_other_programs(tmp_path: Path, program: list[str], codec: Codec) -> None:
    """Whatever the window; gzip and xz may be padded with NUL bytes (a tape, a copy in blocks), between members too."""
    need(shutil.which(program[0]) is not None, program[0])
    made = subprocess.run([*program, "-c"], input=PLAIN, capture_output=True, check=True).stdout
    padding = bytes(8192) if codec is not Codec.ZSTD else b""
    path = tmp_path / "archive"
    path.write_bytes(made + padding + made + padding)
    with path.open("rb") as file:
        assert b"".join(codecs.decompressed(file.fileno(), codec)) == 2 * PLAIN
    path.write_bytes(made[:-9] + padding)
    with path.open("rb") as file, pytest.raises(ValueError):
        b"".join(codecs.decompressed(file.fileno(), codec))


def test_a_window_of_two_gigabytes(tmp_path: Path) -> None:
    """zstd declares it in the frame as soon as it does not know the size, however little there is."""
    need(shutil.which("zstd") is not None, "zstd")
    command = "{ cat; } | zstd -q --long=31 -c"
    made = subprocess.run(["sh", "-c", command], input=PLAIN, capture_output=True, check=True).stdout
    assert packed_window(made) > 1 << 27
    path = tmp_path / "archive"
    path.write_bytes(made)
    with path.open("rb") as file:
        assert b"".join(codecs.decompressed(file.fileno(), Codec.ZSTD)) == PLAIN


def packed_window(frame: bytes) -> int:
    import zstandard

    return int(zstandard.get_frame_parameters(frame).window_size)
