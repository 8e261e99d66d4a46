"""A throwaway copy of this machine, so that examples run at the very paths that they name.

Its root is an overlay over ours, in a mount namespace of its own: whatever is changed there is gone with it. Only the
folders in ``shared`` are ours, put where the examples expect them. Processes, users and the network are ours too.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.papers.story import shim
from tests.support import users
from tests.support.command import CHECKOUT
from tests.support.need import need

_ROOT = """
set -e
mount -t tmpfs tmpfs {base}
mkdir {base}/upper {base}/work {base}/root
mount -t overlay overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work {base}/root
cd {base}/root
for place in dev proc sys; do mount --rbind /$place $place; done
{shared}
chmod o+x {doors}
exec chroot . sh -c 'echo ready; read _'
"""
_PATIENCE = 120


def ways_to_the_index() -> dict[str, str]:
    """How pip on this machine finds the package index. What it installs for a test is compiled when it is needed."""
    found = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    return {**found, "PIP_NO_COMPILE": "1"}


@dataclass(frozen=True, slots=True)
class Machine:
    """``pid`` is that of a process within."""

    pid: int
    root: Path  # seen from outside

    def argv(self, *argv: str, user: str | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """``argv`` wrapped so that it runs there, in the very process that is started; ``env`` is all it gets."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--root", "--wdns=/"]
        clean = ["env", "-i", *(f"{key}={value}" for key, value in (env or {"PATH": "/usr/bin:/bin"}).items())]
        if user is None:
            return [*enter, *clean, *argv]
        who = users.user(user)
        return [*enter, "setpriv", f"--reuid={who.uid}", f"--regid={who.gid}", "--clear-groups", *clean, *argv]

    def run(
        self, *argv: str, user: str | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there; ``check``: a failure is an AssertionError with what it printed."""
        done = subprocess.run(
            self.argv(*argv, user=user, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def install(self, source: Path, target: str) -> None:
        """Put a file or folder of ours there, as root's and readable for all."""
        place = self.path(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", "--no-preserve=mode", source, place], check=True)

    def install_logrotor(self) -> None:
        """/opt/logrotor/bin/logrotor runs the checkout, with the interpreter of the tests."""
        place = self.path("/opt/logrotor/bin/logrotor")
        place.parent.mkdir(parents=True, exist_ok=True)
        shim(place)

    def script(self, target: str, text: str) -> None:
        """An executable shell script there."""
        place = self.path(target)
        place.write_text(f"#!/bin/sh\n{text}\n")
        place.chmod(0o755)

    def path(self, target: str) -> Path:
        """Where we see the machine's ``target``. Never a path of this very machine."""
        if os.path.samestat(os.stat(self.root), os.stat("/")):
            raise RuntimeError(f"{self.root} is the root of this machine, not of the throwaway one")
        return self.root / target.lstrip("/")


@contextmanager
def machine(folder: Path, shared: Mapping[str, Path]) -> Iterator[Machine]:
    """A machine with its things in ``folder``, and our folders ``shared`` (machine's path: ours) in it."""
    need(os.geteuid() == 0, "root, for a machine in a mount namespace")
    base = folder / "machine"
    base.mkdir()
    # What lies on the file system of / is there already, copied on write. What does not is bound, and read-only: else
    # whatever the examples install there would be installed on this very machine.
    needed = (CHECKOUT, Path(sys.prefix), Path(sys.base_prefix))
    missing = [place for place in needed if place.stat().st_dev != Path("/").stat().st_dev]
    binds = [_bind(str(place), place, read_only=True) for place in missing]
    binds += [_bind(target, source) for target, source in shared.items()]
    doors = {str(door)[1:] for path in needed for door in path.parents if str(door) != "/"}  # strangers may pass there
    words = " ".join(shlex.quote(door) for door in sorted(doors))
    script = _ROOT.format(base=shlex.quote(str(base)), shared="\n".join(binds), doors=words)
    # Its end is the end of the namespace: sh there reads a line that never comes, until we are gone. It says "ready"
    # from inside of the new root: until the chroot, /proc/PID/root would be the root of this very machine.
    argv = ["unshare", "--mount", "--propagation=private", "sh", "-c", script]
    holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert holder.stdin is not None and holder.stdout is not None
    try:
        said = holder.stdout.readline()
        if said != "ready\n":
            need(False, f"overlay and bind mounts: {said}{holder.stdout.read()}")
        yield Machine(holder.pid, Path(f"/proc/{holder.pid}/root"))
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()


def _bind(target: str, source: Path, *, read_only: bool = False) -> str:
    place = shlex.quote(target.lstrip("/"))
    bound = f"mkdir -p {place}; mount --bind {shlex.quote(str(source))} {place}"
    return f"{bound}; mount -o remount,bind,ro {place}" if read_only else bound
