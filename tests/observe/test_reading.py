"""verify, cat and grep: archives are read as they are, in their order."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import time
from pathlib import Path

import pytest
import zstandard

from logrotor.model import Codec
from logrotor.observe import reading
from logrotor.observe.reading import _chosen, lines
from logrotor.observe.view import Piece, pieces
from tests.support import command, mounts, oracle, users
from tests.support.facts import entry, facts
from tests.support.need import need


def generations(here, number: int = 3, **more) -> bytes:
    """A log with so many archives; returns all that was written."""
    written = b""
    for n in range(number + 1):
        data = b"".join(b"generation %d line %04d\n" % (n, i) for i in range(700))
        (here.logs / "app.log").write_bytes(data)
        written += data
        if n < number:
            here.run(force=True)
    return written


def cat(here, *args) -> subprocess.CompletedProcess[bytes]:
    argv = command.arguments("cat", *args, "-c", here.file)
    return subprocess.run(argv, capture_output=True, env=command.environment(), check=False)


@pytest.mark.parametrize("more", ['compress = "zstd"', 'compress = "gzip"', 'compress = "none"', 'naming = "dated"',
                                  'archive_dir = "old"', "keep_uncompressed = 1"])  # fmt: skip
def test_cat_prints_the_log_as_it_was_written(here, more):
    """Whatever the codec, the names and the place of the archives: oldest first, byte for byte."""
    here.configure(more)
    written = generations(here)
    done = cat(here, here.logs / "app.log")
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout == written


def test_cat_of_any_bytes(here):
    """Bytes that are no text, no newline at the end, NULs: unchanged."""
    written = b""
    for data in (b"\xff\xfe\x00" * 5000, b"no newline", b"\r\n\n"):
        (here.logs / "app.log").write_bytes(data)
        written += data
        here.run(force=True)
    assert cat(here, "app.log").stdout == written


def test_cat_of_a_log_that_was_copied(here):
    """Lines at the seam of a copytruncate come out whole."""
    need(mounts.collapses(here.logs), "a file system that can collapse a range")
    here.configure('method = "copytruncate"', size="8K")
    with (here.logs / "app.log").open("ab") as log:
        for n in range(3):
            log.write(oracle.lines("w1", n * 1000 + 1, n * 1000 + 1000))
            log.flush()
            here.run()
    done = cat(here, "app.log")
    assert done.stdout == oracle.lines("w1", 1, 3000)


def test_debris_is_read_once(here):
    """An archive that a crash left plain and compressed, or under two names, is printed once."""
    written = generations(here, 2)
    packed = here.logs / "app.log.1.zst"
    plain = here.logs / "app.log.1"
    plain.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes()))
    os.utime(plain, ns=(0, packed.stat().st_mtime_ns))
    assert cat(here, "app.log").stdout == written
    plain.unlink()
    os.link(here.logs / "app.log", here.logs / ".app.log.new")  # taken by link, killed before the rename
    assert cat(here, "app.log").stdout == written


def test_a_taken_log_that_a_crash_left(here):
    """.app.log.new with data comes between the archives and the live log."""
    written = generations(here, 1)
    (here.logs / "app.log").rename(here.logs / ".app.log.new")
    (here.logs / "app.log").write_bytes(b"new\n")
    assert cat(here, "app.log").stdout == written + b"new\n"


def test_a_damaged_archive_is_told(here):
    """cat says which one it is, goes on with the next file, and exits with 1; grep exits with 2 then, as grep does."""
    generations(here, 2)
    damaged = here.logs / "app.log.1.zst"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    done = cat(here, "app.log")
    assert done.returncode == 1 and b"app.log.1.zst: " in done.stderr
    assert done.stdout.startswith(b"generation 0 line 0000\n") and done.stdout.endswith(b"generation 2 line 0699\n")
    (here.logs / "app.log.3.gz").touch()
    assert b"app.log.3.gz: " in cat(here, "app.log").stderr
    found = command.logrotor("grep", "--count", "generation [02] line 0699$", "app.log", "-c", here.file)
    assert found.code == 2 and found.stdout == "2\n" and "app.log.1.zst: " in found.stderr


def test_a_disk_that_cannot_be_read(here, monkeypatch):
    """An archive on a bad block is told as a damaged one is; the live log comes all the same."""
    written = generations(here, 1)
    real = reading.codecs.decompressed

    def broken(fd, codec):
        if codec is Codec.ZSTD:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, codec)

    monkeypatch.setattr(reading.codecs, "decompressed", broken)
    told = []
    found = b"".join(reading.read(here.seen, "app.log", since=None, until=None, damaged=told.append))
    assert found == written[len(written) // 2 :]
    assert [each.subject for each in told] == [str(here.logs / "app.log.1.zst")]


def test_a_reader_that_goes_away(here):
    """``| head`` is no error."""
    generations(here, 3)
    shell = " ".join([*command.arguments("cat", "app.log", "-c", here.file), "| head -n 1; exit ${PIPESTATUS[0]}"])
    done = subprocess.run(["bash", "-c", shell], capture_output=True, env=command.environment(), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"generation 0 line 0000\n", b"")


@pytest.mark.parametrize("command_", ["cat", "history", "verify", "grep x"])
def test_completion_offers_logs(here, command_):
    """What these commands take: not the names of rules, as ``plan`` and --only do."""
    here.log("app.log"), here.log("other.log")

    def offered(incomplete: str) -> set[str]:
        words = ["logrotor", "-c", str(here.file), *command_.split(), incomplete]
        names = {
            "_LOGROTOR_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        done = subprocess.run(
            command.arguments(), capture_output=True, text=True, env=command.environment() | names, check=True
        )
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    assert offered("") == {"app.log", "other.log"} and offered("ap") == {"app.log"}
    assert offered(f"{here.logs}/o") == {f"{here.logs}/other.log"}


def test_archives_of_a_log_that_is_gone(here):
    """They are found all the same."""
    written = generations(here, 2)
    last = (here.logs / "app.log").read_bytes()
    (here.logs / "app.log").unlink()
    assert cat(here, "app.log").stdout == written.removesuffix(last)


# ---------------------------------------------------------------- which files


@pytest.mark.parametrize(
    ("since", "until", "chosen"),
    [
        (None, None, "abcd"), (25, None, "cd"), (30, None, "cd"), (31, None, "d"), (99, None, "d"),
        (None, 5, "a"), (None, 10, "ab"), (None, 15, "ab"), (None, 31, "abcd"), (15, 25, "bc"), (12, 13, "b"),
    ],
)  # fmt: skip
def test_since_and_until_choose_by_rotation_time(since, until, chosen):
    """a to c were rotated at 10, 20, 30; d is live. A file holds what was written up to its rotation."""
    moments = {"a": 10.0, "b": 20.0, "c": 30.0, "d": None}
    found = [Piece("/logs", entry(name), Codec.NONE, moment) for name, moment in moments.items()]
    assert "".join(piece.entry.name for piece in _chosen(found, since, until)) == chosen


def test_until_with_a_clock_that_was_ahead():
    """a's date is yet to come; what was written by the moment asked for is in b, which came after it."""
    moments = {"a": 99.0, "b": 20.0, "c": 30.0, "d": None}
    found = [Piece("/logs", entry(name), Codec.NONE, moment) for name, moment in moments.items()]
    assert [piece.entry.name for piece in _chosen(found, None, 25)] == ["a", "b", "c"]


def test_pieces_are_in_order():
    """Numbered and dated, plain and compressed, beside and elsewhere: the oldest first, the live log last."""
    found = facts(
        entry("app.log", age=0),
        *(entry(name, age=age) for name, age in (("app.log.1", 10), ("app.log.2.zst", 20), ("app.log.10.gz", 100))),
    )
    assert [p.entry.name for p in pieces(found, time.time())] == [
        "app.log.10.gz",
        "app.log.2.zst",
        "app.log.1",
        "app.log",
    ]


def test_cat_since(here, logrotor):
    """On the command line: a moment or an age."""
    here.configure('compress = "none"')
    generations(here, 2)
    for name, age in (("app.log.2", 7200), ("app.log.1", 3600)):
        os.utime(here.logs / name, (time.time() - age,) * 2)
    assert logrotor("cat", "app.log", "--since", "30m", code=0).out.startswith("generation 2")
    assert logrotor("cat", "app.log", "--since", "90m", code=0).out.startswith("generation 1")
    assert "generation 1" not in logrotor("cat", "app.log", "--until", "3h", code=0).out


# ---------------------------------------------------------------- grep


def test_grep_across_archives(here, logrotor):
    """Lines in their order; exit codes as those of grep."""
    generations(here, 2)
    assert logrotor("grep", "line 0042$", "app.log", code=0).out == "".join(
        f"generation {n} line 0042\n" for n in range(3)
    )
    assert logrotor("grep", "--count", "line", here.logs / "app.log", code=0).out == "2100\n"
    assert logrotor("grep", "-F", "line 004.", "app.log", code=1).out == ""
    assert logrotor("grep", "-i", "--count", "LINE 0001", "app.log", code=0).out == "3\n"
    assert logrotor("grep", "--invert", "--count", "line 0001", "app.log", code=0).out == "2097\n"
    assert logrotor("grep", "-v", "--count", "line 0001", "app.log", code=0).out == "2097\n", "-v is that of grep"
    assert "nothing.log" in logrotor("grep", "x", "nothing.log", code=2).err
    assert "PATTERN" in logrotor("grep", "(", "app.log", code=2).err


def test_grep_numbers_lines_and_ends_the_last_one(here, logrotor):
    """The number is that of the line in the whole log; a last line without a newline gets one, as from grep."""
    generations(here, 1)
    with (here.logs / "app.log").open("ab") as log:
        log.write(b"and no newline")
    assert logrotor("grep", "-n", "line 0699|newline", "app.log", code=0).out.splitlines() == [
        "700:generation 0 line 0699", "1400:generation 1 line 0699", "1401:and no newline"
    ]  # fmt: skip
    assert logrotor("grep", "newline", "app.log", code=0).out == "and no newline\n"


def test_grep_over_several_logs(here, logrotor):
    """Each line with its log before it; by names, by a rule; one that cannot be read holds up no other."""
    here.configure('[[log]]\nname = "others"\npaths = ["logs/*.txt"]\nmax_size = "1MB"')
    generations(here, 1)
    (here.logs / "b.log").write_bytes(b"error one\nfine\n")
    (here.logs / "c.txt").write_bytes(b"error two\n")
    b, c = here.logs / "b.log", here.logs / "c.txt"
    assert logrotor("grep", "error", "b.log", c, code=0).out == f"b.log:error one\n{c}:error two\n"
    assert logrotor("grep", "-n", "error|fine", "--rule", "app", code=0).out == f"{b}:1:error one\n{b}:2:fine\n"
    assert logrotor("grep", "--count", "error|line 0001", "--rule", "app", "--rule", "others", code=0).out == (
        f"{here.logs / 'app.log'}:2\n{b}:1\n{c}:1\n"
    )
    broken = logrotor("grep", "error", "nothing.log", "b.log", code=2)
    assert broken.out == "b.log:error one\n" and "nothing.log" in broken.err
    assert "none" in logrotor("grep", "error", "--rule", "none", code=2).err
    assert logrotor("grep", "no such line", "--rule", "others", code=1).out == ""
    assert logrotor("grep", "error", code=2).out == "", "neither a log nor a rule"


def test_a_folder_of_the_rule_that_cannot_be_listed(here):
    """There may be more logs: that is said, with exit 2, and the others are searched."""
    owner = users.user("www-data")
    here.configure(paths='["logs/**/*.log"]')
    (here.logs / "sub").mkdir()
    for name in ("app.log", "sub/b.log"):
        (here.logs / name).write_bytes(b"needle\n")
    for path in (here.folder, *here.folder.rglob("*")):
        os.chown(path, owner.uid, owner.gid)

    def grep(pattern: str):
        return command.logrotor("grep", "--rule", "app", pattern, "-c", here.file, user="www-data")

    assert grep("needle").code == 0 and grep("nothing").code == 1
    (here.logs / "sub").chmod(0)
    for pattern, number in (("needle", 1), ("nothing", 0)):
        said = grep(pattern)
        assert said.code == 2 and "logs/sub" in said.stderr and said.stdout.count("\n") == number, said


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder"])
def test_what_has_the_name_of_an_archive_and_is_no_file_is_told(here, logrotor, kind):
    """Its generation is hidden, so exit 1 of cat and 2 of grep: it was printed without a word."""
    generations(here)
    archive = here.logs / "app.log.2.zst"
    archive.rename(here.folder / "moved.zst")
    if kind == "symlink":
        archive.symlink_to("../moved.zst")
    elif kind == "fifo":
        os.mkfifo(archive)
    else:
        archive.mkdir()
    done = cat(here, "app.log")
    assert done.returncode == 1 and b"app.log.2.zst" in done.stderr and done.stdout.count(b"\n") == 2100
    assert "app.log.2.zst" in logrotor("grep", "--count", "generation 1", "app.log", code=2).err


def test_grep_that_cannot_print(here):
    """Exit 2: 1 would say that nothing was found."""
    generations(here, 1)
    argv = command.arguments("grep", "line", "app.log", "-c", here.file)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, env=command.environment(), check=False)
    assert done.returncode == 2 and b"No space left on device" in done.stderr


def test_lines_across_files():
    """A line that is cut by any number of chunks is one line."""
    text = b"one\ntwo\n\nthree"
    for size in range(1, len(text) + 1):
        chunks = [text[i : i + size] for i in range(0, len(text), size)]
        assert list(lines(iter(chunks))) == [b"one\n", b"two\n", b"\n", b"three"]


# ---------------------------------------------------------------- verify


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_sound_archives(here, logrotor, codec):
    """Each is read through and compared with its record, also after it moved to a higher slot."""
    here.configure(f'compress = "{codec}"')
    generations(here, 3)
    told = logrotor("verify", "--json", code=0).json["archives"]
    assert [(a["bytes"], a["lines"], a["recorded"], a["problem"]) for a in told] == [(16_100, 700, True, None)] * 3


def test_sound_archives_of_a_log_that_was_copied(here, logrotor):
    """A copytruncate cuts at a block, and the plan does not know where: the record has what the archive got."""
    here.configure('method = "copytruncate"')
    need(mounts.collapses(here.logs), "a file system that can collapse a range")
    with open(here.logs / "app.log", "ab") as log:
        for n in range(3):
            log.write(oracle.lines("w1", n * 1000 + 1, n * 1000 + 1001))
            log.flush()
            here.run(force=True)
    assert [(a["recorded"], a["problem"]) for a in logrotor("verify", "--json", code=0).json["archives"]] == [
        (True, None)
    ] * 3


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_archives(here, logrotor, codec, damage):
    """A flipped byte, a missing end, an empty file: reported by name, exit 1; the others are sound."""
    here.configure(f'compress = "{codec}"')
    generations(here, 2)
    path = here.logs / f"app.log.2.{'zst' if codec == 'zstd' else 'gz'}"
    if damage == "flip":
        flip(path)
    else:
        path.write_bytes(path.read_bytes()[:-2] if damage == "cut" else b"")
    found = logrotor("verify", "--json", code=1).json["archives"]
    assert [archive["path"] for archive in found if archive["problem"]] == [str(path)] and len(found) == 2


def test_an_archive_that_holds_something_else(here, logrotor):
    """Sound by its checksum, but not what went into it: the record tells."""
    generations(here, 1)
    path = here.logs / "app.log.1.zst"
    status = path.stat()
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(b"something else\n"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (verdict,) = logrotor("verify", "--json", code=1).json["archives"]
    assert (verdict["bytes"], verdict["lines"], verdict["recorded"]) == (15, 1, True) and verdict["problem"]


def test_an_archive_without_a_record(here, logrotor):
    """One that logrotate or a human made is read through all the same."""
    here.log(size=320)
    (here.logs / "app.log.1.gz").write_bytes(gzip.compress(b"old\n"))
    (verdict,) = logrotor("verify", "--json", code=0).json["archives"]
    assert (verdict["bytes"], verdict["lines"], verdict["recorded"]) == (4, 1, False)


@pytest.mark.parametrize("options", [("-c",), ("-ic",)])
def test_grep_c_is_no_count(here, logrotor, options):
    """-c is the configuration, as everywhere: whoever means the count of grep is told how to get it."""
    here.log()
    said = logrotor("grep", *options, "line", "app.log", code=2)
    assert said.out == "" and "--count" in said.err
    assert int(logrotor("grep", "--count", "line", "app.log", code=0).out) > 0
