"""``logrotor import``: what it prints, what it writes, and what it never overwrites."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from logrotor import load_config
from tests.support import command

APP = """\
# it's "quoted" \x1b[31m, and \\ odd
/srv/app.log {
    daily
    rotate 7
    missingok
    create
    postrotate
        for each in 1 2; do
            echo "$each" '''
        done
    endscript
}
"""
LESS = "/srv/b.log {\n rotate 1\n daily\n mail root\n}\n"


@pytest.fixture
def conf(world: Path) -> Path:
    return written(world / "app", APP)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o644)
    return path


def imported(*args: Any, check: int = 0, **more: Any) -> command.Result:
    return command.logrotor("import", *args, check=check, **more)


def test_stdout_is_a_configuration(conf: Path) -> None:
    """Whole as it is: a script stands in it, and comments act on no terminal."""
    said = imported(conf)
    table = tomllib.loads(said.stdout)
    assert [rule["paths"] for rule in table["log"]] == [["/srv/app.log"]]
    ran = subprocess.run(table["reopen"]["app"]["command"], capture_output=True, text=True, check=False)
    assert "for each" in table["reopen"]["app"]["command"][2] and "unterminated" in ran.stderr.lower()
    assert "\x1b" not in said.stdout and "\n# With -o" in said.stdout
    written(conf.parent / "c.toml", said.stdout)
    assert load_config(conf.parent / "c.toml", environ={"STATE_DIRECTORY": str(conf.parent)}).problems == ()


def test_a_log_of_two_blocks(world: Path) -> None:
    """logrotate leaves out the whole second block; to work by it could remove archives that logrotate keeps."""
    (world / "a.log").touch()
    (world / "b.log").touch()
    conf = written(world / "d", f"{world}/a.log {{\n daily\n rotate 20\n}}\n{world}/*.log {{\n daily\n rotate 1\n}}\n")
    found = imported("--json", conf, check=1).json
    assert [[loss["consequence"] for loss in rule["losses"]] for rule in found["rules"]] == [[], ["keeps less"]]


def test_what_nobody_else_may_read_stays_so(world: Path) -> None:
    """A script may hold a password."""
    conf = written(world / "app", APP.replace(" '''", ""))
    conf.chmod(0o600)
    imported(conf, "-o", "made.toml", cwd=world)
    assert [stat.S_IMODE((world / name).stat().st_mode) for name in ("made.toml", "made-app.sh")] == [0o600, 0o700]


def test_a_script_becomes_a_program(world: Path) -> None:
    """Beside the file, for everybody to run; the configuration names it."""
    conf = written(world / "app", APP.replace(" '''", ""))
    imported(conf, "-o", "made.toml", cwd=world)
    (target,) = tomllib.loads((world / "made.toml").read_text())["reopen"].values()
    assert target == {"manager": "command", "command": [f"{world}/made-app.sh"]}
    assert [stat.S_IMODE((world / name).stat().st_mode) for name in ("made.toml", "made-app.sh")] == [0o644, 0o755]
    assert subprocess.run(target["command"], capture_output=True, text=True, check=True).stdout == "1\n2\n"
    assert sorted(os.listdir(world)) == ["app", "made-app.sh", "made.toml"]


@pytest.mark.parametrize("there", ["made.toml", "made-app.sh"])
def test_nothing_is_overwritten(conf: Path, there: str) -> None:
    """Neither file, and then none is written; with --overwrite both are."""
    folder = conf.parent
    written(folder / there, "mine\n")
    said = imported(conf, "-o", folder / "made.toml", check=1)
    assert (folder / there).read_text() == "mine\n" and f"{folder}/{there}" in said.stderr
    assert sorted(os.listdir(folder)) == ["app", there]
    imported(conf, "-o", folder / "made.toml", "--overwrite")
    assert (folder / there).read_text() != "mine\n" and sorted(os.listdir(folder)) == [
        "app",
        "made-app.sh",
        "made.toml",
    ]


def test_no_link_is_followed(conf: Path) -> None:
    """What a link at the name leads to stays, also when the link is replaced."""
    folder = conf.parent
    written(folder / "precious", "mine\n")
    (folder / "made.toml").symlink_to("precious")
    imported(conf, "-o", folder / "made.toml", check=1)
    imported(conf, "-o", folder / "made.toml", "--overwrite")
    assert (folder / "precious").read_text() == "mine\n" and not (folder / "made.toml").is_symlink()


def test_the_example_of_the_help(world: Path) -> None:
    """What it shows is what comes out."""
    shown = command.logrotor("import", "--help", check=0).stdout
    _, _, example = shown.partition("This block\n")
    block, _, made = example.partition("becomes\n")
    wanted = [line.strip() for line in made.partition("Exit codes")[0].splitlines() if line.strip()]
    said = imported(written(world / "nginx", block)).stdout.splitlines()
    assert [line for line in said if line and not line.startswith("#")] == wanted


def test_no_folder(conf: Path) -> None:
    """It is named, with what to do."""
    said = imported(conf, "-o", conf.parent / "none" / "made.toml", check=1)
    assert f"{conf.parent}/none" in said.stderr


def test_what_is_lost_is_an_exit_code(world: Path, conf: Path) -> None:
    """1 for what keeps less, and for a file that cannot be read; 2 for nothing at all."""
    less, empty = written(world / "less", LESS), written(world / "empty", "# nothing\nweekly\n")
    assert "keeps less: " in imported(less, check=1).stderr
    assert tomllib.loads(imported(conf, world / "none", check=1).stdout)["log"][0]["paths"] == ["/srv/app.log"]
    for files in ([], [empty], [world / "none"]):
        assert imported(*files, check=2).stdout == ""


def test_json(world: Path, conf: Path) -> None:
    """The same as fields, and the file is written all the same."""
    less = written(world / "less", LESS)
    found = json.loads(imported(conf, less, "--json", "-o", world / "made.toml", check=1).stdout)
    assert found["exit_code"] == 1 and found["files"] == [str(conf), str(less)]
    first, second = found["rules"]
    assert first["keys"]["backup_count"] == 7 and first["target"]["script"].startswith("for each")
    assert [(loss["consequence"], loss["word"], loss["line"]) for loss in second["losses"]] == [
        ("keeps less", "mail", 4)
    ]
    assert (world / "made.toml").exists()


def test_an_ordinary_user(world: Path, conf: Path) -> None:
    """Reads what logrotate would not believe as root, and writes where it may."""
    conf.chmod(0o666)
    imported(conf, check=2)
    home = world / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    imported(conf, "-o", home / "made.toml", user="nobody", cwd=home)
    assert (home / "made.toml").stat().st_uid == 65534


def test_a_rule_that_would_do_harm_is_a_comment(world: Path) -> None:
    """``copy`` leaves the log where it is, which no rule of ours does."""
    said = imported(
        written(world / "app", "/srv/a.log {\n copy\n rotate 2\n daily\n}\n/srv/b.log {\n rotate 2\n daily\n}\n")
    )
    assert [rule["paths"] for rule in tomllib.loads(said.stdout)["log"]] == [["/srv/b.log"]]
    assert '# paths        = ["/srv/a.log"]' in said.stdout
