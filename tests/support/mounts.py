"""Real file systems for tests: small ones, ones that lose power, a bind-mounted file. All need root."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.need import need

# The least that each mkfs accepts, and some. The images are sparse.
_SIZES = {"ext4": "64M", "xfs": "320M", "btrfs": "160M"}
_MKFS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}


@dataclass(frozen=True, slots=True)
class LoopMount:
    """A file system in an image file."""

    path: Path
    device: str
    fstype: str

    def power_cut(self) -> None:
        """Lose everything that was not made durable, and come back with what a reboot finds. Nobody may use it."""
        _run("xfs_io", "-x", "-c", "shutdown", os.fspath(self.path))
        _retried("umount", os.fspath(self.path))
        _wait_until_unused(self.device)
        _run("mount", "-t", self.fstype, self.device, os.fspath(self.path))


@contextmanager
def tmpfs(folder: Path, size: str = "1m", inodes: int | None = None, mode: str = "0755") -> Iterator[Path]:
    """An empty tmpfs of ``size`` with ``inodes`` inodes (its root takes one) at ``folder``/tmpfs."""
    options = f"size={size},mode={mode}" + (f",nr_inodes={inodes}" if inodes else "")
    with _mounted(folder / "tmpfs", "-t", "tmpfs", "-o", options, "tmpfs") as path:
        yield path


@contextmanager
def ramfs(folder: Path) -> Iterator[Path]:
    """A file system that knows no attributes of files, and cannot collapse a range."""
    with _mounted(folder / "ramfs", "-t", "ramfs", "ramfs") as path:
        path.chmod(0o755)
        yield path


@contextmanager
def loop_mount(folder: Path, fstype: str, size: str | None = None) -> Iterator[LoopMount]:
    """A fresh file system ("ext4", "xfs", "btrfs") at ``folder``/``fstype``, its image beside it."""
    need(shutil.which(_MKFS[fstype][0]), f"{_MKFS[fstype][0]}")
    _need_root()
    image = folder / f"{fstype}.img"
    _run("truncate", "-s", size or _SIZES[fstype], os.fspath(image))
    _run(*_MKFS[fstype], os.fspath(image))
    with _loop_device(image) as device, _mounted(folder / fstype, "-t", fstype, device) as path:
        path.chmod(0o755)
        yield LoopMount(path, device, fstype)
    image.unlink()


@contextmanager
def overlay(folder: Path, base: Path | None = None) -> Iterator[Path]:
    """An overlay at ``folder``/overlay; its layers lie in ``base``, else in ``folder`` or, if need be, a tmpfs."""
    if base is not None:
        with _overlay(folder, base) as path:
            yield path
        return
    try:
        with _overlay(folder, folder, probe=True):
            pass
        fits = True
    except OSError:
        fits = False  # folder lies on an overlay itself, as in most containers
    if fits:
        with _overlay(folder, folder) as path:
            yield path
    else:
        with tmpfs(folder, "64m") as base, _overlay(folder, base) as path:
            yield path


@contextmanager
def bind_file(source: Path, target: Path) -> Iterator[Path]:
    """``source`` mounted over the file ``target`` (made if missing), as containers do with single files."""
    _need_root()
    target.touch()
    _run("mount", "--bind", os.fspath(source), os.fspath(target))
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", target], check=False)


@contextmanager
def fuse(folder: Path) -> Iterator[Path]:
    """A FUSE mount in ``folder``; the files behind it lie in ``folder/behind``."""
    need(shutil.which("bindfs") and os.path.exists("/dev/fuse"), "bindfs and /dev/fuse")
    for name in ("behind", "fuse"):
        (folder / name).mkdir()
    # Without memory of its kernel side: what happens behind the mount is seen at once.
    argv = ["bindfs", "-o", "attr_timeout=0,entry_timeout=0", folder / "behind", folder / "fuse"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"to mount with bindfs: {done.stderr.strip()}")
    try:
        yield folder / "fuse"
    finally:
        subprocess.run(["umount", "-l", folder / "fuse"], check=False)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """``folder`` made read-only by a bind mount on itself, for its users see EROFS, root too."""
    _need_root()
    _run("mount", "--bind", os.fspath(folder), os.fspath(folder))
    try:
        _run("mount", "-o", "remount,bind,ro", os.fspath(folder))
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def collapses(folder: Path) -> bool:
    """Whether a range of a file in ``folder`` can be collapsed, asked of the file system itself."""
    probe = folder / ".collapse-probe"
    probe.write_bytes(bytes(3 << 16))
    try:
        argv = ["fallocate", "--collapse-range", "--offset", "0", "--length", str(1 << 16), os.fspath(probe)]
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    finally:
        probe.unlink()


@contextmanager
def _overlay(folder: Path, base: Path, *, probe: bool = False) -> Iterator[Path]:
    layers = {name: base / f"overlay-{name}" for name in ("lower", "upper", "work")}
    for layer in layers.values():
        layer.mkdir(exist_ok=True)
        layer.chmod(0o755)
    options = f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']}"
    with _mounted(folder / "overlay", "-t", "overlay", "-o", options, "overlay", tolerate=probe) as path:
        yield path


@contextmanager
def _mounted(path: Path, *arguments: str, tolerate: bool = False) -> Iterator[Path]:
    """``mount ARGUMENTS path``. It is always unmounted, lazily: a test that failed may still use it."""
    _need_root()
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, path], capture_output=True, text=True, check=False)
    if done.returncode and tolerate:
        raise OSError(done.stderr)
    need(done.returncode == 0, f"mount {' '.join(arguments)}: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=False)


@contextmanager
def _loop_device(image: Path) -> Iterator[str]:
    need(os.path.exists("/dev/loop-control"), "loop devices")
    device = _retried("losetup", "--find", "--show", os.fspath(image)).strip()  # two tests may find the same free one
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], capture_output=True, check=False)


def _wait_until_unused(device: str, seconds: float = 120) -> None:
    """A mount namespace that somebody else made meanwhile keeps the dead file system; mount(8) would find that one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _need_root() -> None:
    need(os.geteuid() == 0, "root, to mount")


def _retried(*argv: str, tries: int = 50) -> str:
    for _ in range(tries - 1):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.1)
    return _run(*argv)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def answering(folder: Path) -> AbstractContextManager[Path]:
    """A FUSE mount."""
    return silent(folder, stopped=False)


@contextmanager
def silent(folder: Path, opened: str = "", *, stopped: bool = True) -> Iterator[Path]:
    """A FUSE mount whose server is stopped: no call on it returns, until the end of the block.

    ``opened``: the name of a file there that a process has open for writing.
    """
    need(shutil.which("bindfs") and os.path.exists("/dev/fuse"), "bindfs and /dev/fuse")
    _need_root()
    for name in ("behind", "silent"):
        (folder / name).mkdir(exist_ok=True)
    argv = ["bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0", folder / "behind", folder / "silent"]
    server = subprocess.Popen(argv)
    try:
        while not os.path.ismount(folder / "silent"):
            need(server.poll() is None, "to mount with bindfs")
            time.sleep(0.01)
        writer = _holder(folder / "silent" / opened) if opened else None
        if stopped:
            server.send_signal(signal.SIGSTOP)
        try:
            yield folder / "silent"
        finally:
            server.send_signal(signal.SIGCONT)
            if writer is not None:
                writer.kill()
                writer.wait()
    finally:
        subprocess.run(["umount", "-l", folder / "silent"], check=False)
        server.kill()
        server.wait()


def _holder(path: Path) -> subprocess.Popen[bytes]:
    with path.open("ab") as file:
        return subprocess.Popen(["sleep", "1000"], stdout=file)


@contextmanager
def deaf(folder: Path) -> Iterator[Path]:
    """A FUSE mount whose server takes each request and answers none: who asks cannot even be killed."""
    need(os.path.exists("/dev/fuse"), "/dev/fuse")
    _need_root()
    place = folder / "deaf"
    place.mkdir()
    server = subprocess.Popen([sys.executable, "-c", _DEAF, place], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        need(server.stdout.readline() == b"mounted\n", "to mount a FUSE file system")
        yield place
    finally:
        server.kill()  # whoever waits gets an error then
        server.communicate()
        subprocess.run(["umount", "-l", place], check=False)


# Answers FUSE_INIT alone, with the version that the kernel asks for (linux/fuse.h).
_DEAF = """
import ctypes, os, struct, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if ctypes.CDLL(None).mount(b"deaf", os.fsencode(sys.argv[1]), b"fuse.deaf", 0, options):
    sys.exit("no mount")
request = os.read(device, 1 << 17)
major, minor = struct.unpack_from("=II", request, 40)
body = struct.pack("=IIIIHHIIHHI28x", major, minor, 1 << 16, 0, 8, 6, 1 << 16, 1, 16, 0, 0)
os.write(device, struct.pack("=Ii", 16 + len(body), 0) + request[8:16] + body)
print("mounted", flush=True)
while os.read(device, 1 << 17):
    pass
"""
