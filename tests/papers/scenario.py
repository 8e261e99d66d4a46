"""The deployment of examples/scenario days on, with a past, a few faults, and a process in supervisord's place."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.papers.story import Reader
from tests.support import supervisor, users
from tests.support.command import CHECKOUT, environment

NAMES = (
    "default-queue", "payments-queue", "provisioning-queue", "router-checks-queue", "router-checks-queue-error",
    "router-data-queue", "hotspot-sms-queue", "hotspot-sessions-queue", "hotspot-accounting-queue", "dashboard-queue",
    "monitoring-queue", "log-rotation-queue", "scheduler", "laravel",
)  # fmt: skip

# It stands where supervisord would: handles SIGUSR2, and has written its pidfile.
SUPERVISORD = """\
import os, signal
signal.signal(signal.SIGUSR2, lambda *_: None)
with open("storage/supervisord.part", "w") as file:
    file.write(str(os.getpid()))
os.rename("storage/supervisord.part", "storage/supervisord.pid")
while True:
    signal.pause()
"""

CONF = """\
[program:default-queue]
command                 = php artisan queue:work --queue=default
stdout_logfile          = %(here)s/storage/logs/default-queue.log
stdout_logfile_maxbytes = 0

[program:scheduler]
command                 = php artisan schedule:work
stdout_logfile          = %(here)s/storage/logs/scheduler.log
stdout_logfile_maxbytes = 0
"""

# Two logs grow steadily and were rotated on each of three days.
PAST = """\
import os, random, sys, time
from datetime import UTC, datetime
sys.path.insert(0, sys.argv[1])
from logrotor import Rotator, load_config
dice = random.Random(1)
line = b"[2026-11-21 23:29:%02d] production.INFO: job %08x of the queue was done in %d ms\\n"
text = b"".join(line % (dice.randrange(60), dice.getrandbits(32), dice.randrange(900)) for _ in range(180_000))
def write(name, size):
    with open(f"storage/logs/{name}.log", "wb") as file:
        file.write(text[:size])
    os.chmod(file.name, 0o664)
for name in sys.argv[2:]:
    write(name, 40_000)
for days in (4, 3, 2):
    write("default-queue", 12_000_000), write("payments-queue", 11_000_000)
    clock = lambda: time.time() - days * 86400 + 43200
    report = Rotator(load_config("logrotor.toml"), clock=clock).run(now=datetime.fromtimestamp(clock(), UTC))
    assert report.exit_code == 0, report.outcomes
write("default-queue", 12_911_000), write("payments-queue", 5_000_000)
"""


@contextmanager
def scenario(folder: Path) -> Iterator[Reader]:
    """The reader is in /srv/app of that deployment."""
    folder.mkdir(mode=0o755)
    reader = Reader(folder)
    (reader.app / "storage/logs").mkdir(parents=True)
    shutil.copy(CHECKOUT / "examples/scenario/logrotor.toml", reader.app)
    (reader.app / "supervisord.conf").write_text(CONF)
    (reader.bin / "supervisord").write_text(SUPERVISORD)
    reader.own()
    process = _started(reader, str(reader.bin / "supervisord"), "-c", "supervisord.conf")
    try:
        supervisor.wait_for((reader.app / "storage/supervisord.pid").exists)
        past = _started(reader, "-c", PAST, str(CHECKOUT), *NAMES)
        assert past.wait(60) == 0
        (reader.app / "storage/logs/laravel-2026-10-09.log").write_bytes(b"a line\n" * 1000)
        (reader.app / "storage/logs/hotspot-sms-queue.log").chmod(0o644)
        reader.own()
        yield reader
    finally:
        process.terminate()
        process.wait()


def _started(reader: Reader, *words: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, *words]
    argv = users.as_argv(reader.user, argv) if reader.user else argv
    return subprocess.Popen(argv, cwd=reader.app, env=environment(), stdin=subprocess.DEVNULL)


def as_anywhere(text: str) -> str:
    """The file system is that of the machine; the paper has one of its own."""
    return re.sub(r"^  /\S* +\w+ +(.* free \(\d+ %\))(?:, \d+ inodes)?", r"  /  ext4  \1", text, flags=re.MULTILINE)


def played(text: str, reader: Reader) -> str:
    """A paper with the output of its scenario blocks made anew."""

    def block(match: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.*)$", match[2], re.MULTILINE)
        told = (f"$ {command}\n{as_anywhere(reader.shell(command)[1])}" for command in commands)
        return match[1] + "".join(told) + match[3]

    return re.sub(r"(<!-- scenario -->\n```console\n)(.*?)(^```$)", block, text, flags=re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    from tests.papers.sections import README
    from tests.support.fixtures import world_tree

    with world_tree() as tree, scenario(tree / "scenario") as found:
        README.write_text(played(README.read_text(), found))
