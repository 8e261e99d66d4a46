"""A scenario in a folder of its own: set up, run, killed, run again, and judged, as often as it takes."""

from __future__ import annotations

import dataclasses
import functools
import gc
import gzip
import os
import re
import shutil
import signal
import sqlite3
import struct
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import zstandard
from msgspec.structs import replace

from logrotor import Rotator, load_config
from logrotor.act import run as run_module
from logrotor.disk.history import RunHistory
from logrotor.model import Config, Manager, ReopenTarget, Report, Status
from tests.proof.door import Door, Fault, Moment, through
from tests.proof.places import Places
from tests.proof.scenarios import Company, Scenario
from tests.support import command, oracle
from tests.support.waiting import readable

WIDTH, WIDE = 24, 200  # bytes of a line, more or less: what is written meanwhile, and what is there before
OLD_MODE, NEW_MODE = 0o644, 0o664  # without create_mode: by the mode of the log that was taken
WRITTEN = 1_100_000_000_000_000_000  # when a log was last written, in nanoseconds
_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, bits, who)
    for tag, bits, who in ((1, 6, 2**32 - 1), (2, 6, 12345), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 4, 2**32 - 1))
)
_LET_IN = struct.pack("<HHI", 2, 6, 12345)  # the entry of that ACL by which somebody else may write
# SQLite leaves the journal of a killed commit until its next one.
_STATE = {"lock", "last-run", "history.sqlite", "history.sqlite-journal", "samples.sqlite", "samples.sqlite-journal"}
_PACKED = (".zst", ".gz")
_STAMP = re.compile(r"-\d{8}T\d{6}Z(-\d+)?")

Layout = dict[str, list[tuple[str, ...]]]  # log -> archives, the oldest first: name, and generations in it


class Holder:
    """A writer inside the tests' process: it holds the log open, and knows what it wrote."""

    def __init__(self, path: Path, writer: str, number: int) -> None:
        self.path, self.writer, self.number = path, writer, number
        self.fd = self._open()

    def write(self, lines: int = 1) -> None:
        os.write(self.fd, oracle.lines(self.writer, self.number + 1, self.number + lines, WIDTH))
        self.number += lines
        # A date that is out by the time of the rename is planned anew: all in one second, each run has the same calls.
        os.utime(self.fd, ns=(WRITTEN + self.number, WRITTEN + self.number))

    def reopen(self) -> None:
        """By name, and never creating it: a log that is not there when we are asked to reopen it is a fault."""
        fd = self._open()
        os.close(self.fd)
        self.fd = fd

    def close(self) -> None:
        os.close(self.fd)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


class Appender:
    """Somebody who now and then opens the newest archive beside the log by its name, if it is plain, and appends."""

    def __init__(self, folder: Path, log: str) -> None:
        self.folder, self.log, self.writer, self.number = folder, log, f"late{_writer(log)}", 0

    def append(self) -> None:
        newest = oracle.archives(self.folder, self.log)[-1:]
        if not newest or newest[0].endswith(_PACKED):
            return
        if os.stat(newest[0]).st_mode & 0o7777 == 0o1600:  # a name that is kept free, and that nobody but us may open
            return
        fd = os.open(newest[0], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            self.number += 1
            os.write(fd, oracle.line(self.writer, self.number, WIDTH))
        finally:
            os.close(fd)


class Trial:
    """Use it as a context manager. Every method leaves it usable; :meth:`reset` begins anew."""

    def __init__(self, scenario: Scenario, company: Company, places: Places) -> None:
        self.scenario, self.company = scenario, company
        place = places.of_logs(scenario)
        self.root = place / "trial"
        self.logs = self.root / "logs"
        self.archive = (places.other_than(place) if scenario.archive_dir == "other" else self.root) / "archive"
        self.state = places.fast / "state"
        self.config = self._load()
        self.holders: list[Holder] = []
        self.appenders: list[Appender] = []
        self.lines: dict[str, int] = {}
        self.originals: dict[str, int] = {}
        self.asked = self.asked_after_take = 0
        self.taken: set[str] = set()  # logs, as of the last expectation
        self._tell: Callable[[bytes], None] | None = None  # set in the fork that plays the rotator
        self.points = 0  # changing calls of the run that rotates
        self.rotated, self.as_before = self._references()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        self._clear()

    # ------------------------------------------------------------ setting up

    def reset(self) -> None:
        """As if nothing had happened yet."""
        self._let_go()
        self._clear()
        self.logs.mkdir(parents=True)
        if self.scenario.archive_dir is not None:
            self.archive.mkdir()
        self._tools()
        self.asked = self.asked_after_take = 0
        for log in self.scenario.logs:
            self._make(log)
        if self.scenario.archives:
            self.state.mkdir(mode=0o700)
            RunHistory(str(self.state)).close()
        if self.company.writes:
            self.holders = [Holder(self.logs / log, _writer(log), self.lines[log]) for log in self.scenario.logs]
        if self.company.appends:
            self.appenders = [Appender(self.logs, log) for log in self.scenario.logs]

    def _make(self, log: str) -> None:
        home = self.archive if self.scenario.archives_there else self.logs
        newest = len(self.scenario.archives)
        for age, suffix in enumerate(self.scenario.archives):
            path = home / (log + suffix)
            path.write_bytes(_packed(suffix, f"{_writer(log)}-{newest - age}"))
            os.utime(path, (1e9 - age, 1e9 - age))
        live = self.logs / log
        self.lines[log] = 0 if self.company.empty else 75 if self.scenario.copytruncate else 42
        live.write_bytes(oracle.lines(_writer(log), 1, self.lines[log], WIDE))
        live.chmod(OLD_MODE)
        if self.scenario.acl:
            os.setxattr(live, "system.posix_acl_access", _ACL)
        os.utime(live, ns=(WRITTEN, WRITTEN))
        self.originals[log] = live.stat().st_ino

    def _tools(self) -> None:
        """The configuration again, for the real command; and the pipes through which that asks for a reopen."""
        (self.root / "logrotor.toml").write_text(self._toml())
        for name in ("ask", "answer"):
            os.mkfifo(self.root / name)

    def _clear(self) -> None:
        for folder in (self.root, self.archive, self.state):
            shutil.rmtree(folder, ignore_errors=True)

    def _let_go(self) -> None:
        for holder in self.holders:
            holder.close()
        self.holders = []

    def _toml(self) -> str:
        scenario = self.scenario
        rule = [
            'name = "rule"',
            f"paths = {[str(self.logs / log) for log in scenario.logs]}",
            f"max_size = {9000 if scenario.copytruncate else 8000}",
            f'compress = "{scenario.compress}"',
            'create_mode = "keep"' if scenario.acl else "",
            scenario.rest,
            "rotate_empty = true" if self.company.empty else "",
            'method = "copytruncate"' if scenario.copytruncate else 'reopen = "workers"',
            f'archive_dir = "{self.archive}"' if scenario.archive_dir is not None else "",
            f"""on_archive = ["/bin/sh", "-c", 'echo "$1" >> {self.root}/hooked', "sh", "{{archive}}"]"""
            if scenario.hook
            else "",
        ]
        ask = f"echo r > {self.root}/ask && read answer < {self.root}/answer"
        top = [f'state_dir = "{self.state}"', "compress_jobs = 1", "[reopen.workers]", 'manager = "command"']
        return "\n".join([*top, f'command = ["/bin/sh", "-c", "{ask}"]', "[[log]]", *rule, ""])

    def _load(self) -> Config:
        self.root.mkdir(exist_ok=True)
        (self.root / "logrotor.toml").write_text(self._toml())
        config = load_config(self.root / "logrotor.toml", environ={})
        assert not config.problems, config.problems
        target = ReopenTarget(name="workers", manager=Manager.CALLABLE, function=lambda paths: self._message(b"r"))
        return replace(config, targets={"workers": target})

    # ------------------------------------------------------------ running

    def through_door(self, *, before: Moment | None = None) -> AbstractContextManager[Door]:
        """For a run of your own."""
        return through(self._door(before, None, None))

    def run(
        self,
        *,
        force: bool = False,
        before: Moment | None = None,
        after: Moment | None = None,
        fault: Fault | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Report:
        """One run in this process. ``before`` and ``after`` see each changing call, ``fault`` makes it fail."""
        with _without_patience(), through(self._door(before, after, fault)):
            return Rotator(self.config, stop=stop).run(force=force)

    def first(self, **how: Any) -> Report:
        """The run that rotates: an empty log only because it is forced to."""
        return self.run(force=self.company.empty, **how)

    def killed(self, nth: int, *, force: bool = False, late: range = range(0)) -> str | None:
        """A run in a fork, killed before its ``nth`` changing call; None: it had fewer, and ended.

        ``late``: before which calls somebody appends to an archive by its name.
        """
        reached = ""

        def before(number: int, operation: str) -> None:
            if number in late:
                self._message(b"a")
            if number == nth:
                self._message(operation.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        def heard(message: bytes) -> None:
            nonlocal reached
            if message in (b"r", b"w", b"a"):
                self._serve(message)
            else:
                reached = message.decode()

        status = self._in_fork(lambda: self.run(force=force, before=before), heard)
        if os.WIFSIGNALED(status):
            return reached
        assert os.WEXITSTATUS(status) == 0, f"the run in the fork failed: {status}"
        return None

    def first_killed(self, nth: int, *, late: range = range(0)) -> str | None:
        return self.killed(nth, force=self.company.empty, late=late)

    @contextmanager
    def served(self) -> Iterator[list[str]]:
        """The argv of the real command for :meth:`first`; meanwhile the company hears what the command asks for."""
        stop, stopped = os.pipe()
        thread = threading.Thread(target=self._serve_command, args=(stop,))
        thread.start()
        force = ["--force"] if self.company.empty else []
        try:
            yield command.arguments("run", "--quiet", "-c", self.root / "logrotor.toml", *force)
        finally:
            os.close(stopped)
            thread.join()
            os.close(stop)

    def _serve_command(self, stop: int) -> None:
        ask, answer = (os.open(self.root / name, os.O_RDWR | os.O_CLOEXEC) for name in ("ask", "answer"))
        try:
            while stop not in readable([ask, stop]):
                os.read(ask, 100)
                self._serve(b"r")
                os.write(answer, b"done\n")
        finally:
            os.close(ask)
            os.close(answer)

    def in_fork(self, function: Callable[[], object]) -> int:
        """Wait status of a fork that plays the rotator in ``function``; the company stays with us."""
        return self._in_fork(function, self._serve)

    def _in_fork(self, function: Callable[[], object], heard: Callable[[bytes], None]) -> int:
        hear, tell = os.pipe()
        wait, answer = os.pipe()
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # else the first collection writes to every page that it shares with us
            os.close(hear)
            os.close(answer)
            self._play(function, tell, wait)
        os.close(tell)
        os.close(wait)
        try:
            while message := os.read(hear, 100):
                heard(message)
                os.write(answer, b".")
        finally:
            os.close(hear)
            os.close(answer)
            _, status = os.waitpid(pid, 0)
        return status

    def _play(self, function: Callable[[], object], tell: int, wait: int) -> None:
        """In the fork: the parent alone writes logs. Never returns, and flushes nothing of the parent's."""

        def message(what: bytes) -> None:
            os.write(tell, what)
            os.read(wait, 1)

        try:
            self._let_go()
            self._tell = message
            function()
            os._exit(0)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(70)

    def _door(self, before: Moment | None, after: Moment | None, fault: Fault | None) -> Door:
        def moment(number: int, operation: str) -> None:
            if self.company.busy:
                self._message(b"w")
            if before is not None:
                before(number, operation)

        return Door(self.scenario.lacks, moment, after, fault)

    def _message(self, what: bytes) -> None:
        if self._tell is not None:
            self._tell(what)
        else:
            self._serve(what)

    def _serve(self, what: bytes) -> None:
        if what == b"w":
            self.write()
            return
        if what == b"a":
            self.append()
            return
        self.asked += 1
        self.asked_after_take += any(self.has_left(log) for log in self.scenario.logs)
        for holder in self.holders if self.company.obeys else ():
            holder.reopen()

    def write(self, lines: int = 1) -> None:
        for holder in self.holders:
            holder.write(lines)
            self.lines[holder.path.name] = holder.number

    def append(self) -> None:
        for appender in self.appenders:
            appender.append()

    # ------------------------------------------------------------ looking

    @property
    def folders(self) -> list[Path]:
        return [self.logs, self.archive] if self.archive.exists() else [self.logs]

    def layout(self) -> Layout:
        """The generations of each log; a stamp is only a stamp, since the clock goes on."""
        return {log: [self._generation(path) for path in oracle.archives(self.folders, log)] for log in self.lines}

    def _generation(self, path: str) -> tuple[str, ...]:
        data, _ = oracle.read(path)
        marks = sorted(set(re.findall(rb"^([a-z]+-\d+) ", data, re.MULTILINE)))
        return (os.path.relpath(_STAMP.sub("-STAMP", path), self.root), *(mark.decode() for mark in marks))

    def has_left(self, log: str) -> bool:
        live = self.logs / log
        return not live.exists() or live.stat().st_ino != self.originals[log]

    def was_taken(self, log: str) -> bool:
        """Did the log become an archive, or is it about to? An empty one that nobody holds leaves no trace before."""
        waiting = self.logs / f".{log}.new"
        with suppress(FileNotFoundError):
            status = waiting.stat()
            if status.st_ino == self.originals[log]:
                return bool(status.st_size or self.company.writes)
        return self.has_left(log)

    def expectation(self) -> Layout:
        """What the next ordinary run has to arrive at. To be asked before that run."""
        self.taken = {log for log in self.lines if not self.company.empty or self.was_taken(log)}
        return {log: (self.rotated if log in self.taken else self.as_before)[log] for log in self.lines}

    def signature(self) -> object:
        """Two states with one signature are the same for the next run, but for the clock and the count of lines."""
        names = {inode: log for log, inode in self.originals.items()}
        files = []
        for folder in self.folders:
            for name in os.listdir(folder):
                status = (folder / name).stat()
                data, error = oracle.read(folder / name)
                content = (bool(data), bool(error), frozenset(re.findall(rb"^([a-z]+(?:-\d+)?) ", data, re.MULTILINE)))
                role = names.get(status.st_ino, "")
                stamped = _STAMP.sub("-STAMP", name)
                noted = _stage(folder / name)
                files.append((str(folder), stamped, role, status.st_mode, status.st_nlink, content, noted))
        held = tuple(names.get(os.fstat(holder.fd).st_ino, "") for holder in self.holders)
        return tuple(sorted(files, key=repr)), held, self._remembered(), bool(self.asked_after_take)

    def _remembered(self) -> object:
        known = sorted(os.listdir(self.state)) if self.state.exists() else []
        history = self.state / "history.sqlite"
        if not history.exists() or history.stat().st_size == 0:
            return tuple(known)
        with sqlite3.connect(history) as connection:
            logs = connection.execute(
                "SELECT path, last_rotation > 0, request_delivered > 0, request_failed > 0 FROM logs"
            ).fetchall()
            flights = connection.execute("SELECT path, stage, protocol FROM in_flight").fetchall()
            others = connection.execute("SELECT * FROM archive_dirs").fetchall()
            hooked = connection.execute("SELECT count(*) FROM hooked").fetchall()
        connection.close()
        return tuple(known), repr((logs, flights, others, hooked))

    # ------------------------------------------------------------ judging

    def _references(self) -> tuple[Layout, Layout]:
        """What a run that nothing disturbs arrives at: the one that rotates, and an ordinary one."""
        found = []
        for run in (self.first, self.run):
            self.reset()
            passed: list[str] = []
            report = run(before=lambda number, operation: passed.append(operation))  # type: ignore[operator]  # noqa: B023
            assert report.exit_code == 0, _story(report)
            self.points = self.points or len(passed)
            self._settle()
            found.append(self.layout())
        return found[0], found[1]

    def _settle(self) -> Report | None:
        """Who did not obey lets go, after a last line; the next run finishes."""
        if not self.company.writes or self.company.obeys:
            return None
        self.write()
        self._let_go()
        return self.run()

    def recover(self, stage: str, expected: Layout | None = None) -> list[str]:
        """One ordinary run after a fault, lines before and after it; what is not as it has to be then.

        ``expected``: as asked for after the first of several faults.
        """
        expected = expected or self.expectation()
        self.write(2)
        try:
            report = self.run()
        except Exception as error:
            return [f"{stage}: the next run raised {error!r}\n{traceback.format_exc()}"]
        return self.judge(report, expected, stage)

    def judge(self, report: Report, expected: Layout, stage: str) -> list[str]:
        """Everything that is wrong after a run that should have completed the work."""
        self.write()
        found = [*self._wrong_after(report), *self._wrong_lines(expected)]
        settled = self._settle()
        if settled is not None:
            found += [*self._wrong_after(settled), *self._wrong_lines(expected)]
        layout = self.layout()
        if self.appenders:  # a line in a name that was kept free makes it a generation of its own
            expected = layout
        if self._comparable(layout) != self._comparable(expected):
            found.append(f"generations {layout}, expected {expected}")
        found += self._wrong_hooks(expected) if not self.appenders else []
        plan = Rotator(self.config).plan()
        if plan.notes:
            found.append(f"the history is not whole: {plan.notes}")
        if not plan.is_idle:
            found.append(f"the next run is not idle: {[(log.steps, log.reopen_reason) for log in plan.logs]}")
        return [f"{stage}: {what}" for what in found]

    def _comparable(self, layout: Layout) -> Layout:
        """Slots that were shifted for a take that never came leave a hole for the next one: names do not count."""
        return {
            log: found if log in self.taken else [(_without_slot(name), *marks) for name, *marks in found]
            for log, found in layout.items()
        }

    def _wrong_after(self, report: Report) -> Iterator[str]:
        if report.exit_code or report.interrupted:
            yield f"exit code {report.exit_code}: {_story(report)}"
        for log in self.scenario.logs:
            yield from self._wrong_live(log)
        state = set(os.listdir(self.state)) - _STATE
        if state:
            yield f"strays in the state directory: {state}"
        if self.taken and not self.scenario.copytruncate and not self.asked_after_take:
            yield "no reopen request was made after the take"

    def _wrong_live(self, log: str) -> Iterator[str]:
        live = self.logs / log
        if not live.exists():
            yield f"no {log}"
            return
        status = live.stat()
        mode = OLD_MODE if status.st_ino == self.originals[log] and not self.scenario.acl else NEW_MODE
        if status.st_mode & 0o7777 != mode:
            yield f"{log} has mode {status.st_mode & 0o7777:o}"
        if self.scenario.acl and _LET_IN not in _acl_of(live):
            yield f"{log} has lost its ACL"

    def wrong_lines(self, expected: Layout, *, unfinished: bool = False) -> list[str]:
        """Lines that are lost, doubled, torn or out of order; ``unfinished``: doubles, temps and old ones may be."""
        return list(self._wrong_lines(expected, unfinished=unfinished))

    def _wrong_lines(self, expected: Layout, *, unfinished: bool = False) -> Iterator[str]:
        ends = {_writer(log): last for log, last in self.lines.items()}
        ends |= {appender.writer: appender.number for appender in self.appenders}
        if self.appenders:  # retention may have taken one archive more than without them
            expected = self.layout()
        ends |= {mark: 5 for kept in expected.values() for _, *marks in kept for mark in marks}
        tally = oracle.count(self.folders, *self.scenario.logs, expected=ends)
        if self.scenario.copytruncate and self.appenders:
            tally = self._without_late(ends)
        elif self.scenario.copytruncate:  # cuts where a block ends: a line goes on in the next archive
            tally = dataclasses.replace(oracle.count_joined(self.folders, "app.log", ends), strays=tally.strays)
        if unfinished:
            spoilt = [what for what in tally.broken if not _is_reservation(what.partition(": ")[0])]
            if tally.lost or spoilt or (tally.torn and not self.scenario.copytruncate):
                yield str(tally)
            return
        if not tally.clean:
            yield str(tally)
        for log in self.scenario.logs if not (self.appenders and self.scenario.copytruncate) else ():
            joined = oracle.count_joined(self.folders, log)
            if any(line.writer not in {each.writer for each in self.appenders} for line in joined.disorder):
                yield f"out of order: {joined}"

    def _without_late(self, ends: dict[str, int]) -> oracle.Tally:
        """A copy may end within a line, and somebody appends to it: those lines are counted, and taken out."""
        data = oracle.joined(self.folders, "app.log")
        found = [int(number) for number in re.findall(rb"lateapp (\d+) \d+=*#\d+\n", data)]
        assert sorted(found) == list(range(1, self.appenders[0].number + 1)), f"late lines {found}"
        folder = self.root / "joined"
        folder.mkdir(exist_ok=True)
        (folder / "app.log").write_bytes(re.sub(rb"lateapp \d+ \d+=*#\d+\n", b"", data))
        ends = {writer: end for writer, end in ends.items() if writer != self.appenders[0].writer}
        strays = oracle.count(self.folders, *self.scenario.logs).strays
        return dataclasses.replace(oracle.count(folder, "app.log", expected=ends), strays=strays)

    def _wrong_hooks(self, expected: Layout) -> Iterator[str]:
        if self.scenario.hook:
            hooked = (self.root / "hooked").read_text() if (self.root / "hooked").exists() else ""
            told = {"app.log": [(os.path.relpath(path, self.root),) for path in sorted(set(hooked.split()))]}
            kept = {"app.log": sorted((name,) for name, *_ in expected["app.log"])}
            if self._comparable(told) != self._comparable(kept):
                yield f"hooks ran for {hooked!r}"


def _is_reservation(path: str) -> bool:
    """A name that was kept free, and could not be given back either."""
    status = os.stat(path)
    return status.st_size == 0 and status.st_mode & 0o7777 == 0o1600


def _without_slot(name: str) -> str:
    return re.sub(r"\.\d+\b", ".N", name)


def _story(report: Report) -> str:
    bad = [outcome for outcome in report.outcomes if outcome.status is not Status.DONE]
    return f"{bad} {report.problems} {report.plan.notes}"


def _writer(log: str) -> str:
    return log.removesuffix(".log")


@functools.cache
def _packed(suffix: str, mark: str) -> bytes:
    """An archive of five lines."""
    data = oracle.lines(mark, 1, 5, WIDTH)
    if suffix.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if suffix.endswith(".zst") else data


@contextmanager
def _without_patience() -> Iterator[None]:
    """The writers here reopen before the request returns, or never: nobody has to wait for them."""
    before = run_module._PATIENCE, run_module._BRIEF
    run_module._PATIENCE = run_module._BRIEF = 0.0
    try:
        yield
    finally:
        run_module._PATIENCE, run_module._BRIEF = before


def verdict(trial: Trial, points: int, found: Sequence[str]) -> None:
    """Fail with the first few of what was found, or if not every changing call was met."""
    print(f"{points} points")
    assert points == trial.points
    assert not found, f"{len(found)} faults:\n" + "\n".join(found[:6])


def _acl_of(file: Path) -> bytes:
    name = "system.posix_acl_access"
    return os.getxattr(file, name) if name in os.listxattr(file) else b""


def _stage(path: Path) -> str:
    """Where a copytruncate stands, as it is noted on its copy."""
    try:
        noted = os.getxattr(path, "user.logrotor.cut", follow_symlinks=False)
    except OSError:
        return ""
    return next(stage for stage in ("copied", "marked", "cut") if stage.encode() in noted)
