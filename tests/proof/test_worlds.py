"""Whole worlds, drawn from a seed: real writers, runs that are killed, told to end or suspended, two
configurations beside each other, settings that change, on tmpfs, ext4 and XFS; judged from outside.

Each line once, in order, in one file; no opener finds no log; modes kept; and after the last clean runs nothing is left
unfinished. What a seed draws is fixed, when its processes get to run is not: a world that failed may need a few tries.

    LOGROTOR_SEED=17 pytest tests/proof/test_worlds.py -m "" -k worlds     one of them
    LOGROTOR_WORLDS=2000 pytest tests/proof/test_worlds.py -m long         more of them
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.proof.interfere import before
from tests.proof.places import Places, places
from tests.support import mounts, oracle
from tests.support.writers import Kind, Writer

__all__ = ["places"]

WORLDS = int(os.environ.get("LOGROTOR_WORLDS", "100"))
ONE = os.environ.get("LOGROTOR_SEED")
PARTS, QUICK = 10, range(3)
LINES = 40  # at most, between two runs
CODECS = ("none", "gzip", "zstd")
CALLS = 40  # changing calls among which a run is struck: more than most have

RENAMED = (Kind.SIGNAL, Kind.SIGNAL, Kind.FOLLOW, Kind.PER_LINE, Kind.HOLD, Kind.NO_APPEND)
CUT = (Kind.HOLD, Kind.PER_LINE)


class Log(NamedTuple):
    """One log: its writer, and what its rule never changes."""

    base: str
    kind: Kind
    cut: bool  # copytruncate
    kept: int | None  # backup_count
    mode: int


class Ended(NamedTuple):
    code: int
    said: str


class World:
    """Everything of one seed. Its folder is made anew, and removed at the end."""

    def __init__(self, seed: int, folders: list[Path]) -> None:
        self.dice = dice = random.Random(seed)
        self.story: list[str] = []
        place = dice.choice(folders)
        self.root = place / f"world-{os.getpid()}"
        self.logs, self.archive = self.root / "logs", self.root / "old"
        self.logs.mkdir(parents=True)
        self.archive.mkdir()
        cuts = mounts.collapses(self.logs)
        self.all = [self._log(number, cuts) for number in range(dice.randint(1, 3))]
        self.late = dict.fromkeys((log.base for log in self.all), 0)  # lines that somebody appended to archives by name
        self.twice = dice.random() < 0.4  # two configurations
        self.appends = dice.random() < 0.3
        self.renamed = False  # the naming has changed: the order of archives is not to be told from their names
        self.rules = {log.base: self._rule(log) for log in self.all}
        self.writers: dict[str, Writer] = {}

    def _log(self, number: int, cuts: bool) -> Log:
        dice = self.dice
        cut = cuts and dice.random() < 0.4
        kind = dice.choice(CUT if cut else RENAMED)
        kept = dice.choice([None, None, 1, 3]) if not cut else None  # a line may go on in the next archive
        return Log(f"log{number}.log", kind, cut, kept, dice.choice([0o600, 0o640, 0o644, 0o664]))

    def _rule(self, log: Log) -> dict[str, Any]:
        dice = self.dice
        rule: dict[str, Any] = {"max_size": 2000, "compress": dice.choice(CODECS), "create_mode": "keep"}
        rule["naming"] = dice.choice(["numbered", "dated"])
        if dice.random() < 0.3:
            rule["archive_dir"] = str(self.archive)
        if dice.random() < 0.2:
            rule["keep_uncompressed"] = 1
        if log.kept is not None:
            rule["backup_count"] = log.kept
        if log.cut:
            rule["method"] = "copytruncate"
        elif log.kind is Kind.SIGNAL:
            rule["reopen"] = log.base.removesuffix(".log")
        return rule

    # ------------------------------------------------------------ what happens

    def live(self, steps: int) -> None:
        with ExitStack() as stack:
            for log in self.all:
                path = self.logs / log.base
                path.touch()
                path.chmod(log.mode)
                writer = Writer(path, log.kind, name=log.base, on_order=True, strict=True, width=60)
                self.writers[log.base] = stack.enter_context(writer)
            self.configure()
            self.write()
            for _ in range(steps):
                self.step()
            self.write()
        for log in self.all:
            assert self.writers[log.base].missed() == 0, f"no {log.base} for its writer"

    def step(self) -> None:
        dice = self.dice
        self.dice.choice([self.write, self.write, self.append, self.change])()
        how = dice.choice([self.clean, self.clean, self.killed, self.killed, self.told, self.suspended])
        how(self.root / dice.choice(["one.toml", "two.toml"] if self.twice else ["one.toml"]))

    def write(self) -> None:
        for log in self.all:
            if (lines := self.dice.randint(0, LINES)) > 0:
                self.writers[log.base].write(lines)

    def append(self) -> None:
        """To the newest archive, by its name, if it is plain and no name that is kept free."""
        for log in self.all if self.appends else ():
            newest = oracle.archives([self.logs, self.archive], log.base)[-1:]
            if log.cut or log.kind is Kind.NO_APPEND or not newest or newest[0].endswith((".gz", ".zst")):
                continue
            fd = os.open(newest[0], os.O_WRONLY | os.O_APPEND)
            if os.fstat(fd).st_mode & 0o7777 != 0o1600:
                self.late[log.base] += 1
                os.write(fd, oracle.line(f"late-{log.base}", self.late[log.base], 60))
            os.close(fd)

    def change(self) -> None:
        """Other settings from now on."""
        for log in self.all:
            new = self._rule(log)
            if log.cut:  # a line may be split over two archives, which only their order puts together
                new |= {key: self.rules[log.base][key] for key in ("naming",)}
                new.pop("archive_dir", None)
                new |= {k: v for k, v in self.rules[log.base].items() if k == "archive_dir"}
            self.renamed |= new["naming"] != self.rules[log.base]["naming"]
            self.rules[log.base] = new
        self.story.append(f"change to {self.rules}")
        self.configure()

    def configure(self) -> None:
        for name in ("one", "two"):
            tables = [f'state_dir = "{self.root}/{name}"', "compress_jobs = 1", 'lock_timeout = "0s"']
            for base, rule in self.rules.items():
                if "reopen" in rule:
                    ask = json.dumps(["/bin/kill", "-USR1", str(self.writers[base].pid)])
                    tables += [f"[reopen.{rule['reopen']}]", 'manager = "command"', f"command = {ask}"]
            for base, rule in self.rules.items():
                keys = {"name": base, "paths": [str(self.logs / base)], **rule}
                tables += ["[[log]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
            (self.root / f"{name}.toml").write_text("\n".join(tables) + "\n")

    # ------------------------------------------------------------ runs

    def clean(self, config: Path, *, force: bool | None = None) -> Ended:
        forced = self.dice.random() < 0.3 if force is None else force
        ended = self.wait(self.start(config, forced, 0, lambda: None), config, "run")
        assert ended.code in (0, 1, 3), ended
        return ended

    def killed(self, config: Path) -> None:
        nth = self.dice.randint(1, CALLS)
        self.wait(self.start(config, True, nth, lambda: os.kill(os.getpid(), signal.SIGKILL)), config, f"kill {nth}")

    def told(self, config: Path) -> None:
        """To end, as systemd does it."""
        nth = self.dice.randint(1, CALLS)
        term = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        ended = self.wait(self.start(config, True, nth, term), config, f"term {nth}")
        assert ended.code in (0, 1, 143), ended

    def suspended(self, config: Path) -> None:
        """Meanwhile writers write, and other runs begin."""
        nth = self.dice.randint(1, CALLS)
        child = self.start(config, True, nth, lambda: os.kill(os.getpid(), signal.SIGSTOP))
        _, status = os.waitpid(child[0], os.WUNTRACED)
        if os.WIFSTOPPED(status):
            self.story.append(f"stop {nth} of {config.name}")
            self.write()
            for other in ["one.toml", "two.toml"] if self.twice else ["one.toml"]:
                self.clean(self.root / other)
            self.write()
            os.kill(child[0], signal.SIGCONT)
            _, status = os.waitpid(child[0], 0)
        ended = self.ended(child, status, config, "continued")
        assert ended.code in (0, 1, 3), ended

    def start(self, config: Path, force: bool, nth: int, action: Callable[[], object]) -> tuple[int, int]:
        """The command in a fork, with something before its ``nth`` changing call: its process, and what it says."""
        said = os.memfd_create("said")
        pid = os.fork()
        if pid:
            return pid, said
        code = 70
        try:
            os.setsid()
            for stream in (1, 2):
                os.dup2(said, stream)
            sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
            code = _command(["run", "-c", str(config), *(["--force"] if force else [])], nth, action)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        os._exit(code)

    def wait(self, child: tuple[int, int], config: Path, what: str) -> Ended:
        return self.ended(child, os.waitpid(child[0], 0)[1], config, what)

    def ended(self, child: tuple[int, int], status: int, config: Path, what: str) -> Ended:
        with open(child[1], "rb") as file:
            file.seek(0)
            ended = Ended(os.waitstatus_to_exitcode(status), file.read().decode(errors="replace"))
        self.story.append(f"{what} of {config.name}: {ended.code} {ended.said[-400:]}")
        assert "Traceback" not in ended.said and "a bug" not in ended.said, ended
        return ended

    # ------------------------------------------------------------ judging

    def judge(self) -> None:
        """Nobody writes any more: what is left is finished by runs of each configuration."""
        configs = [self.root / name for name in (("one.toml", "two.toml", "one.toml") if self.twice else ("one.toml",))]
        for config in configs * 2:
            ended = self.clean(config, force=False)
            assert ended.code == 0, ended
        for config in configs:
            assert self.is_idle(config), f"{config.name} is not idle"
        folders = [self.logs, self.archive]
        for log in self.all:
            self.judge_lines(log, folders)
            for path in [str(self.logs / log.base), *oracle.archives(folders, log.base)]:
                mode = os.stat(path).st_mode & 0o7777
                assert mode == log.mode, f"{path} has mode {mode:o} instead of {log.mode:o}"

    def judge_lines(self, log: Log, folders: list[Path]) -> None:
        written = {log.base: self.writers[log.base].lines_written()}
        late = {f"late-{log.base}": self.late[log.base]} if self.late[log.base] else {}
        count = oracle.count_joined(folders, log.base, written) if log.cut else None
        tally = count or oracle.count(folders, log.base, expected=written | late)
        lost = [line.number for line in tally.lost if line.writer == log.base]
        if log.kept is not None:  # retention takes the oldest, and no more than it says
            assert lost == list(range(1, len(lost) + 1)), f"{log.base} is not whole: {tally}"
            archives = oracle.archives(folders, log.base)
            assert not lost or len(archives) >= log.kept, f"{log.base} has only {archives}: {tally}"
        else:
            assert not tally.lost, f"{log.base}: {tally}"
        rest = (tally.doubled, tally.torn, tally.unexpected, tally.broken, tally.strays, tally.nuls)
        assert not any(rest), f"{log.base}: {tally}"
        joined = oracle.count_joined(folders, log.base) if not self.renamed else tally
        assert not [line for line in joined.disorder if line.writer == log.base], f"{log.base}: {joined}"

    def is_idle(self, config: Path) -> bool:
        from logrotor import Rotator, load_config

        return Rotator(load_config(config, environ={})).plan().is_idle

    def end(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def _command(args: list[str], nth: int, action: Callable[[], object]) -> int:
    """In a fork: the command line, with little patience for writers that never reopen their logs."""
    from logrotor.act import run
    from logrotor.cli import main

    run._PATIENCE, run._BRIEF = 0.3, 0.02
    sys.argv = ["logrotor", *args]
    try:
        with before(nth, action):
            main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@pytest.fixture(scope="module")
def folders(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """A tmpfs, what can collapse a range, and an XFS where it is worth its mkfs."""
    with ExitStack() as mounted:
        found = [places.fast, places.collapsing]
        if WORLDS > 100 or ONE is not None:
            found.append(mounted.enter_context(mounts.loop_mount(tmp_path_factory.mktemp("xfs"), "xfs")).path)
        yield found


def try_all(seeds: range, folders: list[Path]) -> None:
    for seed in seeds:
        world = World(seed, folders)
        try:
            world.live(world.dice.randint(2, 7))
            world.judge()
        except BaseException as error:
            again = f'LOGROTOR_SEED={seed} pytest tests/proof/test_worlds.py -m "" -k worlds'
            told = "\n".join(world.story)
            raise AssertionError(f"seed {seed}, repeat it with: {again}\n{world.all}\n{told}\n{error}") from error
        finally:
            world.end()


def test_some_worlds(folders: list[Path]) -> None:
    """A sample of the seeds."""
    try_all(QUICK, folders)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(PARTS) if ONE is None else [0])
def test_worlds(folders: list[Path], part: int) -> None:
    """All of them."""
    seeds = (
        range(WORLDS * part // PARTS, WORLDS * (part + 1) // PARTS) if ONE is None else range(int(ONE), int(ONE) + 1)
    )
    try_all(seeds, folders)
