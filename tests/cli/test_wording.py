"""What the commands say, word for word: the one place where English is pinned. Everywhere else tests compare fields.

Each file in ``golden`` is the transcript of one command in several situations, with paths, times and sizes made alike.
After a change of wording, renew them and read the diff::

    LOGROTOR_RENEW_GOLDEN=1 python -m pytest tests/cli/test_wording.py; git diff tests/cli/golden
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from logrotor.cli.group import COMMANDS
from logrotor.disk import snapshot
from logrotor.observe import forecast
from tests.observe.conftest import Deployment, Said
from tests.support.markup import Markup
from tests.support.need import need

GOLDEN = Path(__file__).parent / "golden"
SAME = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?( ?[+-]\d\d:\d\d|Z)?", "DATE"),
    (r"\b\d+ (d|h|min|s)( \d+ (h|min|s))?( ago)?(?= |$|[;:,.)])", r"TIME\4"),
    (r"\b\d+\.\d\d s\b", "SECONDS"),
    (r"\bprocess \d+ \(python[\d.]*\)", "process PID (python)"),
    (r"\bprocess \d+", "process PID"),
    (r"-> [\d.]+ \w+ \([\d.]+:1\)", "-> SIZE (RATIO)"),
    (r"(\d+), [\d.]+ \w+ \([\d.]+:1\)", r"\1, SIZE (RATIO)"),
    (r"^  /\S*  \w+  .* free .*$", "  MOUNT  TYPE  FREE of TOTAL free (N %), N inodes  full: FORECAST"),
    (r"[\d.]+ \w+/h\b", "RATE"),
    (r"\* \* \* \* \* \S+( -m logrotor)? run", "* * * * * logrotor run"),
    (r"(?<=\S) {2,}", "  "),
    (r"(seconds|bytes_out)=[\d.]+", r"\1=N"),
    (r"; proof that nobody writes: .*", "; proof that nobody writes: PROOF"),
)

SECOND = '[[log]]\nname = "second"\npaths = ["logs/b*.log"]\nmax_size = "1MB"'


def fresh(here: Deployment) -> None:
    """before the first run"""
    here.log("a.log"), here.log("small.log", size=320)
    here.configure(paths='["logs/*.log", "logs/gone.txt"]')


def rotated(here: Deployment) -> None:
    """two logs were rotated, twice"""
    fresh(here)
    for hours in (3, 2):
        here.log("a.log"), here.log("b.log", size=40_000)
        here.run(time.time() - hours * 3600)
    here.log("a.log", size=3200)
    here.run(time.time() - 3600)  # idle: the third sample


def broken(here: Deployment) -> None:
    """a rule is wrong, a log is in two rules"""
    here.log("b.log")
    here.configure(SECOND + '\n[[log]]\nname = "bad"\npaths = ["x"]\nmax_sise = 1')


def nothing_runs(here: Deployment) -> None:
    """no rule is right"""
    here.file.write_text(
        f'state_dir = "{here.state}"\n[[log]]\nname = "bad"\npaths = ["x"]\nmax_size = "10 potatoes"\n'
    )


def no_state(here: Deployment) -> None:
    """the state directory is a file"""
    here.log("a.log")
    here.state.touch()


def failing(here: Deployment) -> None:
    """the reopen target is gone"""
    here.cannot_ask()
    for _ in range(3):
        here.hold("a.log")
        here.run()
    here.hold("a.log")


def odd(here: Deployment) -> None:
    """a refused log, an odd mode, leftovers, a damaged archive, files of no rule"""
    here.configure('create_mode = "0664"')
    here.log("a.log"), here.log("mode.log", size=320, mode=0o644)
    here.run()
    archive = here.logs / "a.log.1.zst"
    archive.write_bytes(archive.read_bytes()[:-20])
    os.link(here.log("linked.log"), here.folder / "second-name")
    (here.logs / ".a.log.1.zst.tmp").write_text("half an archive")
    for day in ("08", "09"):
        here.log(f"other-2025-10-{day}.txt", size=320)
    here.state.chmod(0o755)


def other(here: Deployment) -> None:
    """by a schedule, by copytruncate, and what a killed run left"""
    here.log("a.log", size=320), here.log("b.log")
    here.configure('schedule = "daily"\nexclude = ["b.log"]\n[[log]]\nname = "copied"\nmethod = "copytruncate"\n'
                   'paths = ["logs/b.log"]\nmax_size = "1KB"\n[[log]]\nname = "none"\npaths = ["logs/*.lgo"]\n'
                   'max_size = 1')  # fmt: skip
    here.log("c.log").rename(here.logs / ".c.log.new")
    here.log("c.log", size=320)
    (here.logs / ".a.log.1.zst.tmp").write_text("half an archive")


def moving(here: Deployment) -> None:
    """files of logrotate's, one of which cannot be read"""
    (here.folder / "d").mkdir(mode=0o755)
    (here.folder / "d/app").write_text(APP)
    (here.folder / "logrotate.conf").write_text(f"rotat 4\nweekly\ninclude {here.folder}/d\ninclude /srv/none\n")
    for name in ("d/app", "logrotate.conf"):
        (here.folder / name).chmod(0o644)


APP = """\
# the application
/srv/*.log {
    daily
    maxsize 10M
    rotate 7  # a week
    compress
    create 0640 deploy adm
    prerotate
        /usr/local/bin/warn
    endscript
    postrotate
        [ ! -f /run/app.pid ] || kill -USR1 `cat /run/app.pid`
    endscript
}
/srv/other.log {
    rotate 3
    mail root
    postrotate
        for each in /run/*.pid; do kill -HUP $(cat $each); done
    endscript
}
"""


def lost(here: Deployment) -> None:
    """directories and outputs that are not there"""
    here.log("a.log")
    here.configure('archive_dir = "../file"\n[page]\nfile = "web/page.html"\n[metrics]\ntextfile = "prom/x.prom"',
                   paths='["logs/*.log", "lgos/*.log"]')  # fmt: skip
    (here.folder / "file").touch()


Scene = Callable[[Deployment], None]
CHECKS = [word for theme in ("config", "state", "directories", "logs", "writers", "reopen.targets")
          for word in ("--only", theme)]  # fmt: skip
# The lines of a command, each with the situation in which it is said.
TRANSCRIPTS: dict[str, list[tuple[Scene, list[str]]]] = {
    "run": [(fresh, []), (fresh, ["-vv", "--log-format", "console"]), (failing, ["--log-format", "console"]),
            (broken, ["--log-format", "console"]), (nothing_runs, ["--log-format", "console"]),
            (no_state, ["--log-format", "console"]), (fresh, ["--only", "c.log", "--log-format", "console"])],
    "plan": [(fresh, []), (fresh, ["-v"]), (rotated, ["-v"]), (rotated, ["a.log"]), (rotated, ["a.log.1.zst"]),
             (rotated, ["nothing.log"]), (broken, []), (odd, []), (lost, []), (other, []),
             (other, ["a.log"]), (no_state, []),
             (fresh, ["--at", "tomorrow"])],
    "check": [(fresh, []), (broken, []), (nothing_runs, []), (no_state, [])],
    "status": [(fresh, []), (rotated, []), (rotated, ["-v"]), (failing, []), (odd, []), (broken, []),
               (fresh, ["--check"]), (failing, ["--check"]), (fresh, ["--check", "--no-run", "soon"])],
    "history": [(fresh, []), (rotated, []), (rotated, ["-v", "-n", "1"]), (failing, ["--failed"]),
                (rotated, ["c.log"]), (rotated, ["app"]), (rotated, ["--since", "soon"])],
    "verify": [(rotated, []), (rotated, ["-v"]), (odd, []), (lost, [])],
    "cat": [(odd, ["a.log"]), (rotated, ["c.log"]), (rotated, ["a.log.1.zst"])],
    "grep": [(rotated, ["--count", "line", "a.log"]), (rotated, ["(", "a.log"]), (odd, ["--count", "x", "a.log"])],
    "metrics": [(fresh, []), (lost, []), (fresh, ["-o", "x.prom"]), (fresh, ["-o", "logs/a.log"])],
    "page": [(rotated, ["-o", "-"]), (failing, ["-o", "-"]), (fresh, []), (fresh, ["-o", "logs/a.log"]), (lost, [])],
    "import": [(moving, ["logrotate.conf"]), (moving, ["d/app", "-o", "new.toml"]), (moving, ["none.conf"]),
               (moving, ["d/app", "-o", "logrotor.toml"])],
    "doctor": [(fresh, CHECKS), (rotated, [*CHECKS, "-v"]), (broken, CHECKS), (failing, CHECKS), (odd, CHECKS),
               (odd, [*CHECKS, "--fix", "--yes"]), (lost, [*CHECKS, "--only", "page", "--only", "metrics"]),
               (no_state, CHECKS), (fresh, ["--only", "quee"])],
}  # fmt: skip


@pytest.fixture
def say(world: Path, logrotor: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Iterator[str]]:
    """The transcript of a command, each situation in a folder of its own."""
    system = snapshot.look(str(world)).file_system
    need(system is not None and system.collapse and system.protocol == "exchange", "ext4, XFS or overlay for TMPDIR")
    monkeypatch.delenv("LOGROTOR_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    # Whether the disk of this machine will be full soon is no wording; a small one was in CI, and the page said so.
    monkeypatch.setattr(forecast, "full_on", lambda *_: None)

    def transcript(command: str) -> Iterator[str]:
        for number, (scene, words) in enumerate(TRANSCRIPTS[command]):
            folder = world / str(number)
            folder.mkdir(mode=0o755)
            here = Deployment(folder)
            scene(here)
            monkeypatch.chdir(folder)
            said = logrotor(command, *words, file=here.file)
            if said.out.startswith("<!doctype html>"):
                said = replace(said, out=_texts(Markup(said.out)))
            yield f"# {scene.__doc__}\n$ logrotor {' '.join([command, *words])}\n{said.out}{said.err}exit {said.code}\n"

    return lambda command: (_same(block, world) for block in transcript(command))


def _texts(page: Markup) -> str:
    """The words of a page that are the same on every machine: headings and hints down to its file systems."""
    words = [each.text for each in page.elements if each.name in ("h2", "p", "dt", "th")]
    shown = "\n".join(words[: words.index("File systems") + 1])
    return re.sub(r"[\d.]+ (B|KiB|MiB)\b", "SIZE", shown) + "\n"


def _same(block: str, world: Path) -> str:
    block = re.sub(rf"{world}/\d+", "/srv/app", block)
    for pattern, word in SAME:
        block = re.sub(pattern, word, block, flags=re.MULTILINE)
    return block


@pytest.mark.parametrize("command", TRANSCRIPTS)
def test_wording(say: Callable[[str], Iterator[str]], command: str) -> None:
    """Each command says in each situation what its file says."""
    file, said = GOLDEN / f"{command}.txt", "\n".join(say(command))
    if os.environ.get("LOGROTOR_RENEW_GOLDEN"):
        file.write_text(said)
    assert said == file.read_text()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(logrotor: Callable[..., Said], command: str) -> None:
    """Every --help has examples and the exit codes."""
    said = logrotor(*command.split(), "--help", code=0).out
    assert "Examples:" in said and "Exit codes" in said and "130/143" in said


def test_every_command_has_a_transcript() -> None:
    """Those of the queue have theirs where their engines are; init tells of this machine, a watch of its runs."""
    about = {name for name, (module, _) in COMMANDS.items() if module in ("logrotor.cli.about", "logrotor.cli.manual")}
    assert TRANSCRIPTS.keys() == COMMANDS.keys() - {"queue", "init", "watch"} - about
    assert sorted(file.stem for file in GOLDEN.iterdir()) == sorted(TRANSCRIPTS)
