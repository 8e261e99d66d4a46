"""The README: everything in it that can be run is run, everything that can be compared is compared."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from keyword import iskeyword
from pathlib import Path

import pytest
from cronsim import CronSim

from logrotor.cli import group, queue
from logrotor.cli.session import EXIT_CODES
from logrotor.config import load_config
from logrotor.config.find import usual_places
from tests.papers import sections
from tests.papers.blocks import Block, alike, blocks, command, session
from tests.papers.machine import machine, ways_to_the_index
from tests.papers.scenario import as_anywhere, scenario
from tests.papers.story import Reader
from tests.support import mounts
from tests.support.command import CHECKOUT, environment
from tests.support.need import need

README = CHECKOUT / "README.md"
NODE = re.compile(r"`(\w+/test_\w+\.py::test_\w+)`")
BLOCKS = blocks(README)
STORY = [block for block in BLOCKS if block.kind in ("", "file", "cron")]


def test_every_block_is_run_or_says_why_not():
    """At most three blocks are not run, each with its reason; the others are of a kind that is run."""
    kinds = {"": {"toml", "console", "python"}, "file": {"toml"}, "cron": {""}, "command": {"bash"}}
    kinds["scenario"] = {"console"}
    not_run = [block for block in BLOCKS if block.kind == "not run"]
    assert len(not_run) <= 3 and all(len(block.value) > 10 for block in not_run)
    for block in BLOCKS:
        assert block in not_run or block.language in kinds.get(block.kind, ()), str(block)


def test_blocks_in_their_order(world: Path):
    """A reader who does what the README shows gets what it shows."""
    reader = Reader(world)
    (reader.app / "logs").mkdir()
    (reader.app / "logs/app.log").write_bytes(b"2026-11-21 23:29:59 a line of the log, as it may be\n" * 248_288)
    (reader.app / "logs/worker.log").write_bytes(b"one line\n")
    reader.own()
    for block in STORY:
        _follow(reader, block)


def test_blocks_of_the_scenario(world: Path):
    """On the deployment of examples/scenario, in their order."""
    (world / "probe").mkdir()
    need(mounts.collapses(world / "probe"), "a file system that can collapse a range")
    with scenario(world / "scenario") as reader:
        for block in BLOCKS:
            for shown in session(block) if block.kind == "scenario" else ():
                output = as_anywhere(reader.shell(shown.command)[1])
                assert alike(as_anywhere(shown.output), output), f"{block}: $ {shown.command}\n{output}"


def _follow(reader: Reader, block: Block) -> None:
    if block.kind == "file":
        (reader.app / block.value).write_text(block.text)
        reader.own()
    if block.kind == "cron":
        _run_cron(reader, block)
    elif block.language == "toml":
        _load(reader, block)
    elif block.language == "python":
        _run_python(reader, block)
    else:
        for shown in session(block):
            _, output = reader.shell(shown.command)
            assert alike(shown.output, output), f"{block}: $ {shown.command}\n{output}"


def _load(reader: Reader, block: Block) -> None:
    path = reader.folder / "block.toml"
    path.write_text(block.text)
    assert load_config(path, environ={"STATE_DIRECTORY": str(reader.folder)}, euid=12345).problems == (), str(block)


def _run_python(reader: Reader, block: Block) -> None:
    path = reader.folder / "block.py"
    path.write_text(block.text)
    code, output = reader.shell(f"PYTHONPATH={CHECKOUT} {sys.executable} -W error {path}")
    assert code == 0, f"{block}\n{output}"


def _run_cron(reader: Reader, block: Block) -> None:
    line = block.text.strip()
    assert next(CronSim(" ".join(line.split()[:5]), datetime(2026, 11, 21, tzinfo=UTC)))
    code, output = reader.shell(reader.here(" ".join(line.split()[5:])), shell="/bin/sh", terminal=False)
    assert (code, output) == (0, ""), str(block)


@pytest.mark.parametrize("name", sections.SECTIONS)
def test_generated_parts(name: str):
    """The tables of keys and events are those of the code: ``python -m tests.papers.sections`` writes them."""
    text = README.read_text()
    assert f"<!-- generated: {name} -->" in text
    assert sections.generated(text) == text


def test_exit_codes():
    """The README has the exit codes of ``--help``."""
    told = dict(re.findall(r"^ +([\d/]+) +(.*)$", EXIT_CODES, re.MULTILINE))
    rows = dict(re.findall(r"^\| ([\d, ]+) \| (.*) \|$", README.read_text(), re.MULTILINE))
    assert {key.replace("/", ", ") for key in told} == rows.keys()
    for key, meaning in told.items():
        assert rows[key.replace("/", ", ")].startswith(meaning)


def test_the_commands_without_json():
    """Those that the README names, and no others."""
    known = {**group.COMMANDS, **{f"queue {name}": entry for name, entry in queue.COMMANDS.items()}}
    del known["queue"]
    modules = {name: import_module(module) for name, (module, _) in known.items()}
    names = {name: name.split()[-1] for name in modules}
    commands = {name: getattr(modules[name], word + "_" * iskeyword(word)) for name, word in names.items()}
    without = {name for name, made in commands.items() if not any(p.name == "as_json" for p in made.params)}
    sentence = re.search(r"and all but (.*?) have\s+`--json`", README.read_text())
    assert sentence and set(re.findall(r"`([^`]+)`", sentence[1])) == without


def test_usual_places():
    """The README says where a configuration is looked for, in this order."""
    text = README.read_text().split("The configuration is looked for with")[1]
    written = [place.replace("/home/you", "~") for place in usual_places({"HOME": "/home/you"}, 12345)]
    places = ["-c", "$LOGROTOR_CONFIG", *written]
    places[2] = "./logrotor.toml"
    assert re.findall(r"`([^`]+)`", text)[: len(places)] == places


def _tests_of(file: Path) -> set[str]:
    """As pytest finds them; it would need seconds to collect them."""
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_the_comparison_names_tests_that_exist():
    """Every claim about logrotate names a test of tests/rival for it, and one for logrotor."""
    text = README.read_text().split("## Compared with logrotate")[1].split("\n## ")[0]
    rows = [row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| |")][1:]
    assert len(rows) >= 10
    known = {name for path in (CHECKOUT / "tests/rival").glob("test_*.py") for name in _tests_of(path)}
    for row in rows:
        theirs, ours = (re.findall(r"`(test_\w+)`", cell) for cell in row.split(" | ")[1:])
        assert theirs and ours and {*theirs, *ours} <= known, row
        assert "logrotate" in theirs[0] and "logrotor" in ours[0], row


def test_each_promise_names_tests_that_are_run():
    """Every promise names the tests that keep it; each of them is there, and CI runs them all."""
    text = README.read_text().split("## Guarantees and limits")[1].split("\nNot promised")[0]
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")][2:]
    assert len(rows) >= 20
    for row in rows:
        assert len(row) > 1 and NODE.search(row[1]), row
        assert len(row) < 3 or NODE.search(row[2]), row
    named = {f"tests/{node}" for node in NODE.findall(text)}
    files = {node.partition("::")[0] for node in named}
    assert named <= {f"{file}::{name}" for file in files for name in _tests_of(CHECKOUT / file)}


def test_links_lead_somewhere():
    """Links within the repository and within the page lead to something."""
    text = README.read_text()
    headings = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall("^#+ (.*)", text, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        there = target[1:] in headings if target.startswith("#") else (CHECKOUT / target).exists()
        assert there, target


def test_every_example_is_named():
    """The README lists every folder of examples."""
    listed = set(re.findall(r"\]\(examples/([\w-]+)/\)", README.read_text()))
    assert listed == {path.name for path in (CHECKOUT / "examples").iterdir() if path.is_dir()}


def test_ci_runs_the_very_test_command():
    """.ci/run takes the second line of the README as it stands, with nothing skipped."""
    script = (CHECKOUT / ".ci/run").read_text()
    assert "readme_command second" in script and "LOGROTOR_NO_SKIP=1" in script
    packages = re.search(r"`sudo apt-get install -y (acl [^`]+)`", README.read_text())
    assert packages and f'packages="python3-venv {packages[1]}"' in script
    function = re.search(r"^readme_command\(\) \{\n.*?^\}", script, re.MULTILINE | re.DOTALL)
    assert function
    for name in ("first", "second"):
        argv = ["bash", "-c", f"{function[0]}; readme_command {name}"]
        done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == command(README, name)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The checkout as a clone would be."""
    need(os.path.exists("/usr/bin/python3"), "Debian's own Python")
    skipped = shutil.ignore_patterns(".*_cache", ".venv", ".hypothesis", "__pycache__", "logs", "state", "dist")
    shutil.copytree(CHECKOUT, tmp_path / "checkout", ignore=skipped, symlinks=True)
    return tmp_path / "checkout"


def _as_newcomer(line: str, cwd: Path) -> str:
    """On a machine that has nothing but Debian's Python and its ways to the package index."""
    env = {**environment(), **ways_to_the_index(), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    del env["PYTHONPATH"]
    done = subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"$ {line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
def test_the_first_command(fresh: Path):
    """The first line sets up and rotates real logs, without a line lost."""
    told = _as_newcomer(command(README, "first"), fresh)
    assert re.search(r"\n([\d,]+) lines written, \1 lines found: 0 lost, 0 doubled\n$", told), told


@pytest.mark.long
def test_the_installation(fresh: Path, world: Path):
    """What root runs to install it makes /opt/logrotor/bin/logrotor, on a throwaway copy of this machine."""
    with machine(world, {"/usr/src/logrotor": fresh}) as made:
        words = ["sh", "-c", f"cd /usr/src/logrotor && {command(README, 'install')}"]
        made.run(*words, env={"PATH": "/usr/bin:/bin", "HOME": "/root", **ways_to_the_index()})
        assert "logrotor" in made.run("/opt/logrotor/bin/logrotor", "--version", user="www-data").stdout


@pytest.mark.long
def test_the_second_command(fresh: Path):
    """The second line sets up and passes tests; .ci/run runs it with all of them."""
    told = _as_newcomer(command(README, "second") + " tests/unit/test_oracle.py tests/papers/test_packaging.py", fresh)
    assert re.search(r"\n=+ \d+ passed", told), told
