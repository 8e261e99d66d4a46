"""The cases: what is prepared, what both sides run, and the proof that no line is missing afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from logrotor.disk import proc
from tests.benchmarks import logs
from tests.benchmarks.bench import Result, Round, Side, Taken, logrotor, measure, play
from tests.support import oracle
from tests.support.command import CHECKOUT, environment

MIB = 1 << 20
_RESIDENT = 64 * MIB
_SAMPLE = 20  # logs whose lines are counted one by one; of the others it is checked that their archives are there
_SUFFIX = {"none": "", "gzip": ".gz", "zstd": ".zst"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    logs: int = 10_000
    many: int = 100_000
    large: int = 1000 * 1000 * 1000
    rounds: int = 3
    idle_rounds: int = 9
    start_rounds: int = 21
    wait: float = 6.0  # seconds, until what was prepared has come to rest
    settled: float = 10.0  # seconds that a watch gets to come to rest
    watched: float = 300.0  # and those over which it is measured
    watched_logs: int = 1_000
    install: bool = True
    days: int = 90
    rest: float = 40.0  # ext4 avoids inodes that were deleted just now: 0.9 ms for each file that is created, for 30 s


QUICK = Scale(logs=1_000, many=10_000, large=100 * 1000 * 1000, days=9, watched=70.0)
TINY = Scale(
    logs=10,
    many=20,
    settled=1.5,
    watched=1.5,
    watched_logs=10,
    large=1000 * 1000,
    rounds=1,
    idle_rounds=2,
    start_rounds=2,
    wait=0.0,
    rest=0.0,
    install=False,
    days=1,
)

Case = Callable[[Path, Scale], Result]


class Folder:
    """A folder of logs with a configuration of each rotator for it."""

    def __init__(self, path: Path, codec: str = "none", *, limit: str = "1K") -> None:
        path.mkdir(parents=True)
        self.path, self.logs, self.codec = path, path / "logs", codec
        self.config = path / "logrotor.toml"
        self.config.write_text(
            f'state_dir = "state"\n[[log]]\nname = "all"\npaths = ["logs/*.log"]\nmax_size = "{limit}"\n'
            f'backup_count = 7\ncompress = "{codec}"\n'
        )
        program = {"none": "nocompress", "gzip": "compress", "zstd": "compress\n  compresscmd /usr/bin/zstd"}[codec]
        if codec == "zstd":
            program += "\n  compressoptions -q -3 --rm\n  compressext .zst"
        (path / "logrotate.conf").write_text(
            f"{self.logs}/*.log {{\n  rotate 7\n  size {limit}\n  missingok\n  create 0664\n  {program}\n}}\n"
        )

    def ours(self) -> list[str]:
        return logrotor(self.config)

    def rivals(self) -> list[str]:
        return ["logrotate", "-s", str(self.path / "state.logrotate"), str(self.path / "logrotate.conf")]

    def fill(self, count: int) -> Folder:
        logs.fill(self.logs, count)
        return self

    def check(self, count: int) -> None:
        """Each log has its archive and an empty successor; the lines of some are counted one by one."""
        found = set(os.listdir(self.logs))
        names = [logs.small_name(number) for number in range(count)]
        wanted = {*names, *(f"{name}.1{_SUFFIX[self.codec]}" for name in names)}
        assert found == wanted, f"{self.path}: {len(found ^ wanted)} names wrong: {sorted(found ^ wanted)[:5]}"
        assert all(os.path.getsize(self.logs / name) == 0 for name in names)
        for number in {*range(0, count, max(1, count // _SAMPLE)), count - 1}:
            last = logs.small(number).count(b"\n")
            oracle.count(self.logs, names[number], expected={f"w{number:06}": last}).check()


# ---------------------------------------------------------------- many small logs


def _rotate(codec: str, at_most: float) -> Case:
    def case(root: Path, scale: Scale) -> Result:
        def pair(number: int) -> tuple[Side, Side]:
            theirs = Folder(root / f"theirs-{number}", codec).fill(scale.logs)
            ours = Folder(root / f"ours-{number}", codec).fill(scale.logs)
            return (
                Side(theirs.rivals(), lambda: theirs.check(scale.logs)),
                Side(ours.ours(), lambda: ours.check(scale.logs)),
            )

        rounds = play([pair(number) for number in range(scale.rounds)], scale.wait, scale.rest)
        what = "rename and create" if codec == "none" else codec
        rival = "logrotate" if codec == "none" else f"logrotate, {codec}"
        return Result(f"rotate {scale.logs:,} logs of 4 KB, {what}", rival, at_most, rounds, _RESIDENT)

    return case


def _idle_folder(path: Path, count: int, command: Callable[[Folder], list[str]]) -> list[str]:
    """Logs with one archive each, made by the rotator itself, and with new lines since; returns what runs idle."""
    folder = Folder(path).fill(count)
    measure(command(folder))
    logs.fill(folder.logs, count, oracle.line("w", 1))
    for config in (folder.config, path / "logrotate.conf"):
        config.write_text(config.read_text().replace("1K", "10M"))
    return command(folder)


def idle(root: Path, scale: Scale) -> Result:
    """Nothing is due, nothing changes: so each side has one folder for all rounds."""
    theirs = Side(_idle_folder(root / "theirs", scale.logs, Folder.rivals))
    ours = Side(_idle_folder(root / "ours", scale.logs, Folder.ours))
    rounds = play([(theirs, ours)] * scale.idle_rounds, scale.wait)
    return Result(f"idle pass over {scale.logs:,} logs with an archive each", "logrotate", 1.0, rounds, _RESIDENT)


def growth(root: Path, scale: Scale) -> Result:
    """Ten times the logs, eleven times the time."""
    few = Side(_idle_folder(root / "few", scale.logs, Folder.ours))
    many = Side(_idle_folder(root / "many", scale.many, Folder.ours))
    rounds = play([(few, many)] * scale.idle_rounds, scale.wait)
    name = f"idle pass over {scale.many:,} logs"
    return Result(name, f"logrotor, {scale.logs:,} logs", 1.1 * scale.many / scale.logs, rounds, sys.maxsize)


def gone(root: Path, scale: Scale) -> Result:
    """Ten times as many logs in the history as there are, all of them gone; nearly the same time, and memory."""
    few = Side(_idle_folder(root / "few", scale.logs, Folder.ours))
    many = Side(_idle_folder(root / "many", scale.logs, Folder.ours))
    with closing(sqlite3.connect(root / "many" / "state" / "history.sqlite")) as history, history:
        paths = (f"{root}/many/logs/gone-{number}.log" for number in range(10 * scale.many))
        rows = ((os.fsencode(path), time.time()) for path in paths)
        history.executemany("INSERT INTO logs (path, last_rotation) VALUES (?, ?)", rows)
    rounds = play([(few, many)] * scale.idle_rounds, scale.wait)
    name = f"idle pass over {scale.logs:,} logs, {10 * scale.many:,} more in the history"
    return Result(name, f"logrotor, {scale.logs:,} logs", 2.5, rounds, 2 * _RESIDENT)


# ---------------------------------------------------------------- one large log


def _large(codec: str, at_most: float, resident: int) -> Case:
    def case(root: Path, scale: Scale) -> Result:
        master = root / "master.log"
        logs.write_large(master, scale.large)
        digest = _digest([["cat", str(master)]])

        def pair(number: int) -> tuple[Side, Side]:
            out = root / f"theirs-{number}{_SUFFIX[codec]}"
            folder = Folder(root / f"ours-{number}", codec)
            folder.logs.mkdir()
            shutil.copyfile(master, folder.logs / "app.log")
            archive = folder.logs / f"app.log.1{_SUFFIX[codec]}"
            program = {
                "zstd": ["zstd", "-q", "-3", "-T0", str(master), "-o", str(out)],
                "gzip": ["sh", "-c", f"gzip -c {master} > {out}"],
            }[codec]

            def proof() -> None:
                assert sorted(os.listdir(folder.logs)) == ["app.log", archive.name]
                assert _digest([[codec, "-dc", str(archive)]]) == digest
                sizes.append(archive.stat().st_size)

            return Side(program, lambda: their_sizes.append(out.stat().st_size)), Side(folder.ours(), proof)

        sizes: list[int] = []
        their_sizes: list[int] = []
        rounds = play([pair(number) for number in range(scale.rounds)], scale.wait)
        rival = "zstd -3 -T0" if codec == "zstd" else "gzip"
        notes = [f"archive {sizes[0] / their_sizes[0]:.2f} x theirs"]
        return Result(f"one log of {scale.large // 10**6:,} MB, {codec}", rival, at_most, rounds, resident, notes=notes)

    return case


def _digest(pipeline: list[list[str]]) -> str:
    with subprocess.Popen(pipeline[0], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = hashlib.file_digest(process.stdout, "sha256").hexdigest()  # type: ignore[arg-type]
    assert process.returncode == 0
    return found


# ---------------------------------------------------------------- one idle log


def _installed(venv: Path) -> tuple[str, str]:
    """The interpreter, and the command that pip made for it."""
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", CHECKOUT], check=True)
    return str(venv / "bin/python"), str(venv / "bin/logrotor")


def start(root: Path, scale: Scale) -> Result:
    """What cron starts every minute, against an interpreter that does nothing: both of a venv with logrotor alone.

    What else is installed can cost both: msgspec imports typing_extensions where it finds them.
    """
    python, script = _installed(root / "venv") if scale.install else (sys.executable, None)
    folder = Folder(root / "ours", limit="10M")
    folder.logs.mkdir()
    (folder.logs / "app.log").write_bytes(oracle.line("w", 1))
    ours = Side([script, "run", "-c", str(folder.config)] if script is not None else folder.ours())
    measure(ours.argv)
    rounds = play([(Side([python, "-c", "pass"]), ours)] * scale.start_rounds, min(scale.wait, 1.0))
    return Result("logrotor run, one idle log, as a process", "python -c pass", 0.060, rounds, _RESIDENT, plus=True)


_IN_PROCESS = """
import json, re, sys, time
from logrotor import Rotator, load_config
config = load_config(sys.argv[1])
took = []
for _ in range(int(sys.argv[2])):
    began = time.perf_counter(), time.process_time()
    assert Rotator(config).run().exit_code == 0
    took.append((time.perf_counter() - began[0], time.process_time() - began[1]))
most = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([sorted(took)[len(took) // 2], int(most[1]) * 1024]))
"""


def library(root: Path, scale: Scale) -> Result:
    """A daemon that rotates its own logs asks every now and then: 20 logs, none due."""
    folder = Folder(root / "ours", limit="10M").fill(20)

    def rounds() -> Iterator[Round]:
        for _ in range(scale.rounds):
            argv = [sys.executable, "-c", _IN_PROCESS, str(folder.config), "300" if scale.logs > 10 else "3"]
            done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment(), cwd="/")
            (seconds, cpu), resident = json.loads(done.stdout)
            yield Round(Taken(0.0, 0.0, 0), Taken(seconds, cpu, resident))

    return Result("Rotator.run() in a process, 20 idle logs", "-", 0.002, [*rounds()], _RESIDENT, plus=True)


_SAMPLES = """
import json, os, re, sys, time
from contextlib import closing
from logrotor.disk import database, samples
from logrotor.model import LogSize, Space
folder, days, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
logs = [LogSize(f"/var/log/app/service-{n}.log", 0, 0) for n in range(1000)]
def later(n):
    for log in range(100):
        logs[log] = LogSize(logs[log].path, 1000 * n * log % 10_000_000, 1_000_000 * (n // 100))
    return logs, [Space("/", 10**11 - n, 10**6)]
now, many = time.time() - 86400 * days - 300 * rounds, 288 * days
file = os.path.join(folder, "samples.sqlite")
with closing(database.to_write(file)) as connection:
    connection.execute("PRAGMA synchronous = OFF")
    samples.make_tables(connection)
    for n in range(many):
        with database.transaction(connection, 0.0):
            samples.add_sample(connection, now + 300 * n, *later(n), whole=True)
took = []
for n in range(many, many + rounds):
    found, began = later(n), (time.perf_counter(), time.process_time())
    samples.keep(folder, now + 300 * n, found, {}, whole=True)
    took.append((time.perf_counter() - began[0], time.process_time() - began[1]))
with closing(database.to_look(file)) as connection:
    assert connection.execute("SELECT max(id) FROM samples").fetchone()[0] == many + rounds
most = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([sorted(took)[len(took) // 2], int(most[1]) * 1024, os.path.getsize(file)]))
"""


def sample(root: Path, scale: Scale) -> Result:
    """1,000 logs, a tenth of them growing: the time of one sample after 90 days of them, and what they come to."""
    folder = root / "state"
    folder.mkdir()
    argv = [sys.executable, "-c", _SAMPLES, str(folder), str(scale.days), "100" if scale.days > 1 else "3"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment(), cwd="/")
    (seconds, cpu), resident, size = json.loads(done.stdout)
    assert size <= 50 * MIB
    rounds = [Round(Taken(0.0, 0.0, 0), Taken(seconds, cpu, resident))]
    notes = [f"{size / MIB:.1f} MiB after {scale.days} days"]
    return Result("one sample of 1,000 logs, 100 growing", "-", 0.020, rounds, _RESIDENT, plus=True, notes=notes)


def watch(root: Path, scale: Scale) -> Result:
    """At rest: 1,000 logs, each with an archive, over some minutes; the processor time per second of them."""
    argv = _idle_folder(root / "ours", scale.watched_logs, Folder.ours)
    argv = [*argv[:2], "watch", "-q", *argv[3:]]
    with subprocess.Popen(argv, env=environment(), cwd="/") as process:
        try:
            time.sleep(scale.settled)
            cpu, began = _cpu(process.pid), time.monotonic()
            time.sleep(scale.watched)
            used = (_cpu(process.pid) - cpu) / (time.monotonic() - began)
            resident = proc.memory(process.pid)
        finally:
            process.terminate()
    assert process.returncode == 0
    rounds = [Round(Taken(0.0, 0.0, 0), Taken(used, used, resident))]
    name = f"`logrotor watch`, {scale.watched_logs:,} logs at rest: CPU time a second"
    return Result(name, "-", 0.005, rounds, 40 * MIB, plus=True)


def _cpu(pid: int) -> float:
    """Seconds that its threads have run, by the scheduler: clock ticks are too coarse for so little."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


CASES: dict[str, Case] = {
    "idle": idle,
    "growth": growth,
    "gone": gone,
    "rename": _rotate("none", 1.0),
    "gzip": _rotate("gzip", 0.25),
    "zstd": _rotate("zstd", 0.15),
    "large-zstd": _large("zstd", 1.4, 96 * MIB),
    "large-gzip": _large("gzip", 0.2, _RESIDENT),
    "start": start,
    "library": library,
    "sample": sample,
    "watch": watch,
}
