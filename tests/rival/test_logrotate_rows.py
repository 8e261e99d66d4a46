"""How today's standard tool loses data: each row of the table in FINDINGS, shown with logrotate, passed by logrotor.

A scenario is a function of a rival; the test of logrotate asserts the loss, the test of logrotor that there is none.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rival.rivals import Logrotate, Logrotor, Rival, Rule, touched
from tests.support import command, mounts, oracle, strace
from tests.support.command import Result
from tests.support.need import need
from tests.support.oracle import Tally, lines
from tests.support.writers import Writer

DEADLINE = 60


def append(path: Path, first: int, last: int) -> None:
    with open(path, "ab") as file:
        file.write(lines("w1", first, last))


def counted(logs: Path, last: int) -> Tally:
    return oracle.count(logs, "app.log", expected={"w1": last})


def numbers(tally: Tally) -> list[int]:
    return [line.number for line in tally.lost]


def until(condition: Callable[[], object], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert process is None or process.poll() is None, f"ended before: {what}: {process.communicate()}"
        assert time.monotonic() < deadline, f"waited {DEADLINE} s for {what}"
        time.sleep(0.005)


# ---------------------------------------------------------------- 1: compression fails, or dies


def compression_fails(rival: Rival, logs: Path, *, kill: bool) -> tuple[Result, Result, Tally]:
    """100 lines whose compression does not succeed, 100 more, and an undisturbed run."""
    rule = Rule([logs / "app.log"], compress=True)
    append(logs / "app.log", 1, 100)
    failed = rival.rotate_with_compressor_failing(rule, kill=kill)
    append(logs / "app.log", 101, 200)
    return failed, rival.rotate(), counted(logs, 200)


@pytest.mark.parametrize("kill", [False, True], ids=["failed", "killed"])
def test_1_logrotate_renames_over_the_intact_generation(logrotate: Logrotate, logs: Path, kill: bool) -> None:
    """After a failed compression the next run destroys the generation that was left uncompressed, with exit 0."""
    _, second, tally = compression_fails(logrotate, logs, kill=kill)
    assert (second.code, numbers(tally)) == (0, list(range(1, 101)))


@pytest.mark.parametrize("kill", [False, True], ids=["failed", "killed"])
def test_1_logrotor_keeps_and_compresses_it_later(logrotor: Logrotor, logs: Path, kill: bool) -> None:
    """The generation stays, and the next run compresses it."""
    first, second, tally = compression_fails(logrotor, logs, kill=kill)
    assert first.code == (-9 if kill else 1), first
    assert second.code == 0, second
    tally.check()
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1.gz", "app.log.2.gz"]


# ---------------------------------------------------------------- 2: a typing mistake


def misspelt(rival: Rival, logs: Path, wrong: str) -> tuple[Result, Tally]:
    """The number of generations to keep, misspelt."""
    append(logs / "app.log", 1, 100)
    rival.configure(Rule([logs / "app.log"], odd=wrong))
    config = next(path for path in rival.folder.iterdir() if path.suffix in (".conf", ".toml"))
    config.write_text(re.sub(r".*(rotate|backup_count)( =)? 7\n", "", config.read_text()))
    return rival.rotate(), counted(logs, 100)


def test_2_logrotate_deletes_the_log_for_a_misspelt_word(logrotate: Logrotate, logs: Path) -> None:
    """An unknown word is passed over, and the default then keeps nothing: exit 0."""
    result, tally = misspelt(logrotate, logs, "rotat 7")
    assert (result.code, len(tally.lost)) == (0, 100)


def test_2_logrotor_refuses_a_misspelt_word(logrotor: Logrotor, logs: Path) -> None:
    """An unknown key is an error that names the right one, and nothing is touched."""
    result, tally = misspelt(logrotor, logs, "backup_cuont = 7")
    assert result.code == 2, result
    assert "backup_cuont" in result.stderr
    assert "backup_count" in result.stderr
    assert tally.check().per_file == {str(logs / "app.log"): 100}


def without_a_trigger(rival: Rival, logs: Path) -> Result:
    """A log of 2 MB, and neither a size nor a schedule."""
    (logs / "app.log").write_bytes(bytes(2_000_000))
    rival.configure(Rule([logs / "app.log"]))
    config = next(path for path in rival.folder.iterdir() if path.suffix in (".conf", ".toml"))
    config.write_text(re.sub(r'  size 2\n|max_size = "1"\n', "", config.read_text()))
    return rival.rotate()


def test_2_logrotate_makes_a_limit_up(logrotate: Logrotate, logs: Path) -> None:
    """Without any trigger 1 MiB applies silently."""
    assert without_a_trigger(logrotate, logs).code == 0
    assert (logs / "app.log.1").stat().st_size == 2_000_000


def test_2_logrotor_asks_for_a_trigger(logrotor: Logrotor, logs: Path) -> None:
    """Neither size nor schedule is an error that names both."""
    result = without_a_trigger(logrotor, logs)
    assert result.code == 2, result
    assert "max_size" in result.stderr
    assert "schedule" in result.stderr
    assert os.listdir(logs) == ["app.log"]


# ---------------------------------------------------------------- 3: failed, but recorded as done


@contextmanager
def unmovable(path: Path) -> Iterator[None]:
    """A file that nobody can rename."""
    done = subprocess.run(["chattr", "+i", path], capture_output=True, text=True, check=False)
    need(done.returncode == 0, f"chattr: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def daily_rotation_fails_once(rival: Rival, logs: Path) -> tuple[Result, Result, Tally]:
    """A daily log that is due; the first run cannot move it, the second could."""
    append(logs / "app.log", 1, 100)
    rival.configure(Rule([logs / "app.log"], size=False))
    rival.let_days_pass(logs / "app.log")
    with unmovable(logs / "app.log"):
        first = rival.rotate()
    return first, rival.rotate(), counted(logs, 100)


def test_3_logrotate_does_not_try_again(logrotate: Logrotate, logs: Path) -> None:
    """A failed rotation is recorded as done."""
    first, second, _ = daily_rotation_fails_once(logrotate, logs)
    assert (first.code, second.code, os.listdir(logs)) == (1, 0, ["app.log"])


def test_3_logrotor_tries_again_in_the_next_run(logrotor: Logrotor, logs: Path) -> None:
    """A failed rotation is due again at the next run."""
    first, second, tally = daily_rotation_fails_once(logrotor, logs)
    assert (first.code, second.code) == (1, 0), f"{first}\n{second}"
    tally.check()
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1"]


def no_inode_for_the_replacement(rival: Rival, logs: Path, mark: Path) -> tuple[Writer, Result]:
    """A disk without a free inode, and a daemon that reopens its log when told to."""
    writer = Writer(logs / "app.log", "signal", on_order=True)
    writer.write(50)
    rival.configure(Rule([logs / "app.log"], reopen=f"kill -USR1 {writer.pid}; {touched(mark)}"))
    for number in range(100):
        try:
            (logs / f"filler{number}").touch()
        except OSError:
            break
    result = rival.rotate()
    writer.write(50)
    return writer, result


def test_3_logrotate_leaves_the_writer_on_the_archive(logrotate: Logrotate, world: Path) -> None:
    """If ``create`` fails there is no live log, the reopen script is skipped and the writer stays on ``.1``."""
    with mounts.tmpfs(world, "1m", inodes=12) as logs:
        writer, result = no_inode_for_the_replacement(logrotate, logs, world / "mark")
        with writer:
            assert result.code == 1
            assert not (world / "mark").exists()
            assert not (logs / "app.log").exists()
            assert counted(logs, 100).per_file == {str(logs / "app.log.1"): 100}


def test_3_logrotor_leaves_the_log_in_place(logrotor: Logrotor, world: Path) -> None:
    """Without a replacement nothing is moved; when there is room again the next run does it all."""
    with mounts.tmpfs(world, "1m", inodes=12) as logs:
        writer, result = no_inode_for_the_replacement(logrotor, logs, world / "mark")
        with writer:
            assert result.code == 1, result
            assert counted(logs, 100).check().per_file == {str(logs / "app.log"): 100}
            (logs / "filler0").unlink()
            (logs / "filler1").unlink()
            result = logrotor.rotate()
            assert result.code == 0, result
            until(writer.reopened, "the writer to reopen")
            writer.write(50)
            assert counted(logs, 150).check().per_file == {str(logs / "app.log"): 50, str(logs / "app.log.1"): 100}


# ---------------------------------------------------------------- 4: two runs at once


def waiting(mark: Path, go: Path) -> str:
    """A shell command that says it is there and waits until it may go on."""
    return f"{touched(mark)}; while ! test -e {go}; do sleep 0.01; done"


def test_4_logrotate_works_twice_at_once_and_forgets(logrotate: Logrotate, logs: Path, world: Path) -> None:
    """The state file is the lock and is replaced by rename: who opened the old one locks nothing."""
    for name in "abc":
        append(logs / f"{name}.log", 1, 10)
    logrotate.let_days_pass()
    config = logrotate.folder / "logrotate.conf"
    slow = Rule([logs / "a.log"], odd=f"prerotate\n{waiting(world / 'inside', world / 'go')}\nendscript")
    with slow_start(logrotate, slow) as (first, go_on):
        logrotate.configure(Rule([logs / "b.log"]))
        assert logrotate.rotate().code == 0
        logrotate.configure(slow)
        go_on()
        until((world / "inside").exists, "the first run to work", first)
        config.rename(config.with_suffix(".slow"))
        logrotate.configure(Rule([logs / "c.log"]))
        assert logrotate.rotate().code == 0  # while the first one works and believes that it holds the lock
        assert (logs / "c.log.1").exists()
        (world / "go").touch()
        assert first.wait(DEADLINE) == 0
    assert "a.log" in logrotate.state.read_text()
    assert "c.log" not in logrotate.state.read_text()


@contextmanager
def slow_start(logrotate: Logrotate, rule: Rule) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], None]]]:
    """logrotate, stopped between opening its state file and locking it; and a function that lets it go on."""
    logrotate.configure(rule)
    argv = strace.argv(logrotate.argv(), strace.stop("openat"), paths=[logrotate.state])
    process = command.start(argv)
    stopped: list[int] = []

    def is_stopped() -> bool:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            stat = Path(f"/proc/{child}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] in "tT" and str(logrotate.state) in open_files(child):
                stopped[:] = [int(child)]
        return bool(stopped)

    try:
        until(is_stopped, "logrotate to stop", process)
        yield process, lambda: os.kill(stopped[0], 18)
    finally:
        command.end(process)


def open_files(pid: str) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(entry))
    return found


def test_4_logrotor_lets_one_run_at_a_time(logrotor: Logrotor, logs: Path, world: Path) -> None:
    """Another run waits a bounded time and exits 3; the lock file is never replaced; afterwards nothing is missing."""
    logrotor.lock_timeout = "0.2s"
    for name in "ac":
        append(logs / f"{name}.log", 1, 10)
    logrotor.configure(Rule([logs / "a.log"], reopen=waiting(world / "inside", world / "go")))
    with ExitStack() as cleanup:
        first = command.start(logrotor.argv())
        cleanup.callback(command.end, first)
        until((world / "inside").exists, "the first run to work", first)
        before = inodes(logrotor.state_dir)
        logrotor.configure(Rule([logs / "c.log"]))
        assert logrotor.rotate().code == 3
        assert not (logs / "c.log.1").exists()
        (world / "go").touch()
        _, stderr = first.communicate(timeout=DEADLINE)
        assert first.returncode == 0, stderr
    assert logrotor.rotate().code == 0
    assert sorted(os.listdir(logs)) == ["a.log", "a.log.1", "c.log", "c.log.1"]
    assert {name: inode for name, inode in inodes(logrotor.state_dir).items() if "lock" in name} == {
        name: inode for name, inode in before.items() if "lock" in name
    }


def inodes(folder: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(folder)}


# ---------------------------------------------------------------- 5: a changed setting


def compression_turned_on(rival: Rival, logs: Path) -> Tally:
    """Three rotations without compression, three with."""
    for number in range(6):
        append(logs / "app.log", 100 * number + 1, 100 * number + 100)
        rival.configure(Rule([logs / "app.log"], compress=number >= 3))
        assert rival.rotate().code == 0
    return counted(logs, 600)


def test_5_logrotate_overwrites_and_orphans(logrotate: Logrotate, logs: Path) -> None:
    """One generation is overwritten, two stay for ever beside the new ones."""
    tally = compression_turned_on(logrotate, logs)
    assert numbers(tally) == list(range(201, 301))
    assert {"app.log.2", "app.log.3", "app.log.2.gz", "app.log.3.gz"} <= set(os.listdir(logs))


def test_5_logrotor_keeps_all_generations_in_one_row(logrotor: Logrotor, logs: Path) -> None:
    """Each generation is there once, in one row of slots."""
    compression_turned_on(logrotor, logs).check()
    names = sorted(os.listdir(logs))
    assert [name.removesuffix(".gz") for name in names] == ["app.log", *(f"app.log.{n}" for n in range(1, 7))]
    oracle.count_joined(logs, "app.log", {"w1": 600}).check()


def count_lowered(rival: Rival, logs: Path) -> list[str]:
    """Five generations, then only two are wanted."""
    for number in range(8):
        append(logs / "app.log", 100 * number + 1, 100 * number + 100)
        rival.configure(Rule([logs / "app.log"], keep=5 if number < 5 else 2))
        assert rival.rotate().code == 0
    return sorted(os.listdir(logs))


def test_5_logrotate_keeps_old_archives_for_ever(logrotate: Logrotate, logs: Path) -> None:
    """Archives past the lowered count are forgotten on the disk."""
    assert {"app.log.4", "app.log.5"} <= set(count_lowered(logrotate, logs))


def test_5_logrotor_retires_down_to_the_count(logrotor: Logrotor, logs: Path) -> None:
    """The newest two stay, whole."""
    assert count_lowered(logrotor, logs) == ["app.log", "app.log.1", "app.log.2"]
    assert numbers(counted(logs, 800)) == list(range(1, 601))


def dry_run_with_archive_dir(rival: Rival, logs: Path) -> Result:
    append(logs / "app.log", 1, 100)
    rival.configure(Rule([logs / "app.log"], archive_dir=logs / "old"))
    return rival.dry_run()


def test_5_logrotate_creates_directories_in_a_dry_run(logrotate: Logrotate, logs: Path) -> None:
    """``--debug`` promises to change nothing."""
    assert dry_run_with_archive_dir(logrotate, logs).code == 0
    assert (logs / "old").is_dir()


def test_5_logrotor_dry_run_changes_nothing(logrotor: Logrotor, logs: Path) -> None:
    """A dry run leaves all as it is, the state directory too."""
    assert dry_run_with_archive_dir(logrotor, logs).code == 0
    assert os.listdir(logs) == ["app.log"]
    assert os.listdir(logrotor.folder) == ["logrotor.toml"]


# ---------------------------------------------------------------- 6: killed, then run again

GENERATIONS, KEPT = 5, 3


def full_chain(rival: Rival, logs: Path) -> None:
    """Three compressed generations of 100 lines, the oldest of five gone already, and a due live log."""
    rival.configure(Rule([logs / "app.log"], keep=KEPT, compress=True))
    for number in range(GENERATIONS - 1):
        append(logs / "app.log", 100 * number + 1, 100 * number + 100)
        assert rival.rotate().code == 0
    append(logs / "app.log", 100 * GENERATIONS - 99, 100 * GENERATIONS)


def harm(rival: Rival, logs: Path) -> set[str]:
    """What is wrong after the run that follows a kill, compared with an undisturbed one."""
    recovery = rival.rotate()
    tally = counted(logs, 100 * GENERATIONS)
    lost, gone = set(numbers(tally)), 100 * (GENERATIONS - KEPT)
    found = {
        "doubled": tally.doubled,
        "generation lost": lost - set(range(1, gone + 1)),
        "generation too many": set(range(1, gone + 1)) - lost,
        "broken": tally.broken or tally.torn,
        "stray": tally.strays,
        "no live log": not (logs / "app.log").exists(),
        "exit": recovery.code,
    }
    return {word for word, wrong in found.items() if wrong}


def killed_everywhere(rival: Rival, world: Path, sample: int | None = None) -> dict[str, set[str]]:
    """Kill one run before each changing call that concerns the logs (or before ``sample`` of them), then run again."""
    logs = world / "recorded"
    logs.mkdir()
    full_chain(rival, logs)
    _, calls = strace.changes(rival.argv(), check=0)
    points = strace.points(call for call in calls if str(logs) in call.arguments)
    if sample is not None:
        points = points[:: max(1, len(points) // sample)]
    harms = {}
    for name, when in points:
        logs = world / f"logs-{name}-{when}"
        logs.mkdir()
        full_chain(rival, logs)
        if rival.rotate(strace.kill(name, when)).code == -9:
            harms[f"{name}#{when}"] = harm(rival, logs)
    return harms


def test_6_logrotate_doubles_and_deletes_after_a_kill(logrotate: Logrotate, world: Path) -> None:
    """At some points of its run a kill leaves data twice, deletes one generation too many, or leaves no live log."""
    harms = killed_everywhere(logrotate, world)
    assert len(harms) >= 10
    assert {"doubled", "generation lost", "no live log", "broken"} <= set().union(*harms.values())


def test_6_logrotor_recovers_after_a_kill(logrotor: Logrotor, world: Path) -> None:
    """A sample (the full sweep is elsewhere): one ordinary run afterwards leaves what an undisturbed one leaves."""
    harms = killed_everywhere(logrotor, world, sample=4)
    assert len(harms) >= 3
    assert not any(harms.values()), harms


# ---------------------------------------------------------------- 7: fsync fails


def copy_not_durable(rival: Rival, logs: Path) -> Result:
    """copytruncate, and the disk says EIO when the copy is to be made durable."""
    rival.configure(Rule([logs / "app.log"], copytruncate=True))
    append(logs / "app.log", 1, 1000)
    copies = [logs / name for name in ("app.log.1", ".app.log.1.tmp", ".app.log.new")]
    return rival.rotate(strace.fail("fsync", "EIO"), paths=copies)


def compressed_not_durable(rival: Rival, logs: Path) -> Result:
    """The same for the compressed archive."""
    rival.configure(Rule([logs / "app.log"], compress=True))
    append(logs / "app.log", 1, 1000)
    copies = [logs / name for name in ("app.log.1.gz", ".app.log.1.gz.tmp")]
    return rival.rotate(strace.fail("fsync", "EIO"), paths=copies)


def test_7_logrotate_truncates_though_the_copy_is_not_durable(logrotate: Logrotate, logs: Path) -> None:
    """The original is emptied, exit 0."""
    assert copy_not_durable(logrotate, logs).code == 0
    assert (logs / "app.log").stat().st_size == 0


def test_7_logrotate_unlinks_though_the_archive_is_not_durable(logrotate: Logrotate, logs: Path) -> None:
    """The original is gone, exit 0."""
    assert compressed_not_durable(logrotate, logs).code == 0
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1.gz"]


@pytest.fixture
def collapsible(logs: Path, tmp_path: Path) -> Iterator[Path]:
    """A log directory in which a range can be collapsed."""
    if mounts.collapses(logs):
        yield logs
    else:
        with mounts.loop_mount(tmp_path, "ext4") as mount:
            (mount.path / "logs").mkdir()
            yield mount.path / "logs"


def test_7_logrotor_keeps_the_original_of_a_copy(logrotor: Logrotor, collapsible: Path) -> None:
    """The log stays as it is, exit 1; the next run does it."""
    result = copy_not_durable(logrotor, collapsible)
    assert result.code == 1, result
    assert counted(collapsible, 1000).check().per_file == {str(collapsible / "app.log"): 1000}
    assert logrotor.rotate().code == 0
    oracle.count_joined(collapsible, "app.log", {"w1": 1000}).check()
    assert (collapsible / "app.log.1").stat().st_size > 0


def test_7_logrotor_keeps_the_original_of_an_archive(logrotor: Logrotor, logs: Path) -> None:
    """The plain archive stays, the unfinished one does not, exit 1; the next run compresses it."""
    result = compressed_not_durable(logrotor, logs)
    assert result.code == 1, result
    counted(logs, 1000).check()
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1"]
    assert logrotor.rotate().code == 0
    counted(logs, 1000).check()
    assert sorted(os.listdir(logs)) == ["app.log", "app.log.1.gz"]


# ---------------------------------------------------------------- 8: opens by name

RENAMES = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,openat,fchmod"


def opened_by_name(rival: Rival, logs: Path, *, strict: bool, rotations: int = 2) -> tuple[int, set[int], Tally]:
    """A writer that opens its log for each line, while all that is done to names is slow: misses, modes, lines."""
    live = logs / "app.log"
    live.touch()
    live.chmod(0o664)
    rival.configure(Rule([live]))
    modes = set()
    with Writer(live, "per_line", strict=strict, rate=5000) as writer:
        for _ in range(rotations):
            writer.wait_for_more(100)
            slow = strace.delay(RENAMES, 0.2)
            assert rival.rotate(slow, paths=[logs, live]).code in (0, 1)
            modes.add(live.stat().st_mode & 0o777)
        writer.wait_for_more(100)
    return writer.missed(), modes, oracle.count(logs, "app.log", expected=writer.expected)


def test_8_logrotate_leaves_a_moment_without_a_log(logrotate: Logrotate, logs: Path) -> None:
    """Between rename and create an open by name finds no file."""
    missed, _, _ = opened_by_name(logrotate, logs, strict=True)
    assert missed > 0


def test_8_logrotate_loses_the_race_for_the_mode(logrotate: Logrotate, logs: Path) -> None:
    """A writer that is faster makes the file with its own mode, and that stays."""
    _, modes, _ = opened_by_name(logrotate, logs, strict=False)
    assert 0o600 in modes


@pytest.mark.parametrize("strict", [True, False])
def test_8_logrotor_always_has_a_log(logrotor: Logrotor, logs: Path, strict: bool) -> None:
    """No open misses, the mode is right, no line is lost."""
    missed, modes, tally = opened_by_name(logrotor, logs, strict=strict)
    assert (missed, modes) == (0, {0o664})
    tally.check()
    assert len(tally.per_file) == 3


# ---------------------------------------------------------------- 9: copytruncate


def copied_under_a_writer(rival: Rival, logs: Path, rotations: int = 3) -> Tally:
    """A writer that never reopens, while the steps between copy and truncation are slow."""
    rival.configure(Rule([logs / "app.log"], copytruncate=True))
    slow = strace.delay("fsync,ftruncate,fallocate", 0.1)
    with Writer(logs / "app.log", "hold", rate=20_000) as writer:
        for _ in range(rotations):
            writer.wait_for_more(1000)
            result = rival.rotate(slow)
            assert result.code == 0, result
        writer.wait_for_more(1000)
    return oracle.count_joined(logs, "app.log", writer.expected)


def test_9_logrotate_loses_lines_by_copytruncate(logrotate: Logrotate, logs: Path) -> None:
    """What is written between copy and truncation is gone."""
    assert len(copied_under_a_writer(logrotate, logs).lost) > 100


@pytest.mark.long
def test_9_logrotor_loses_none_by_collapse(logrotor: Logrotor, collapsible: Path) -> None:
    """Archives and live log join byte for byte."""
    tally = copied_under_a_writer(logrotor, collapsible)
    tally.check()
    assert len(oracle.archives(collapsible, "app.log")) == 3


# ---------------------------------------------------------------- 10: one mistake, and healthy logs


def three_logs(logs: Path) -> list[Rule]:
    """Three healthy logs, a rule for each."""
    for name in "abc":
        append(logs / f"{name}.log", 1, 10)
    return [Rule([logs / f"{name}.log"]) for name in "abc"]


def rotated(logs: Path) -> list[str]:
    return sorted(path.name[0] for path in logs.glob("*.1"))


def log_in_two_rules(rival: Rival, logs: Path) -> Result:
    first, *_ = three_logs(logs)
    rival.configure(first, Rule([logs / "*.log"]))
    return rival.rotate()


def test_10_logrotate_drops_the_rule_with_a_duplicate(logrotate: Logrotate, logs: Path) -> None:
    """A glob that names a log once more: the others of that glob are not rotated."""
    assert log_in_two_rules(logrotate, logs).code == 1
    assert rotated(logs) == ["a"]


def test_10_logrotor_takes_the_first_rule(logrotor: Logrotor, logs: Path) -> None:
    """The first rule has the log, the second the others."""
    result = log_in_two_rules(logrotor, logs)
    assert result.code == 0, result
    assert rotated(logs) == ["a", "b", "c"]


def test_10_logrotate_drops_what_stands_near_a_missing_brace(logrotate: Logrotate, logs: Path) -> None:
    """One brace too few switches off the rule that follows."""
    logrotate.configure(*three_logs(logs))
    config = logrotate.folder / "logrotate.conf"
    sections = config.read_text().split("}\n")
    config.write_text(sections[0] + "}\n" + sections[1] + "\n" + sections[2] + "}\n")
    assert logrotate.rotate().code == 1
    assert rotated(logs) == ["a"]


def test_10_logrotor_switches_off_the_wrong_rule_only(logrotor: Logrotor, logs: Path) -> None:
    """A rule that is wrong alone does not switch off the others, and sets the exit code."""
    first, second, third = three_logs(logs)
    logrotor.configure(first, replace(second, odd='max_age = "10 potatoes"'), third)
    result = logrotor.rotate()
    assert result.code == 1, result
    assert "10 potatoes" in result.stderr
    assert rotated(logs) == ["a", "c"]


def test_10_logrotor_says_where_a_file_cannot_be_read(logrotor: Logrotor, logs: Path) -> None:
    """With a bracket missing nothing can run: exit 2 and the line, nothing touched."""
    logrotor.configure(*three_logs(logs))
    text = logrotor.config.read_text().replace("[[log]]", "[[log]", 1)
    logrotor.config.write_text(text)
    result = logrotor.rotate()
    assert result.code == 2, result
    assert f"{logrotor.config}:{text[: text.index('[[log]')].count(chr(10)) + 1}" in result.stderr, result
    assert rotated(logs) == []


def daily_with_bad_state(rival: Rival, logs: Path, spoil: Callable[[], None]) -> Result:
    rival.configure(*(replace(rule, size=False) for rule in three_logs(logs)))
    rival.let_days_pass(*(logs / f"{name}.log" for name in "abc"))
    spoil()
    return rival.rotate()


def test_10_logrotate_forgets_what_follows_a_bad_state_line(logrotate: Logrotate, logs: Path) -> None:
    """One bad line, and the logs after it are taken for new: not rotated, and recorded as if they had been."""

    def spoil() -> None:
        header, first, *others = logrotate.state.read_text().splitlines()
        logrotate.state.write_text("\n".join([header, first, "rubbish", *others, ""]))

    assert daily_with_bad_state(logrotate, logs, spoil).code == 1
    assert rotated(logs) == ["a"]
    assert logrotate.rotate().code == 0
    assert rotated(logs) == ["a"]


def test_10_logrotor_survives_a_spoilt_memory(logrotor: Logrotor, logs: Path) -> None:
    """Garbage in the place of the history is set aside; the due logs are rotated."""

    def spoil() -> None:
        days, logrotor.days = logrotor.days, 0
        assert logrotor.rotate(force=False).code == 0
        logrotor.days = days
        for path in logrotor.state_dir.iterdir():
            if path.stat().st_size:
                path.write_bytes(b"rubbish" * 1000)

    result = daily_with_bad_state(logrotor, logs, spoil)
    assert result.code in (0, 1), result
    assert rotated(logs) == ["a", "b", "c"]
