"""``logrotor check``: the configuration, and where it came from. Its words are in golden/check.txt."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from logrotor.cli import call
from tests.support import command


def test_how_it_was_found(here, logrotor, monkeypatch, capsys):
    """check says which file it is, and why it is that one."""
    monkeypatch.chdir(here.folder)
    monkeypatch.setenv("LOGROTOR_CONFIG", str(here.file))
    found = [logrotor("check", "--json", code=0).json]
    for variable in (str(here.file), ""):
        monkeypatch.setenv("LOGROTOR_CONFIG", variable)
        assert call(["check"]) == 0
        found.append({"found": capsys.readouterr().out.splitlines()[0]})
    assert found[0]["file"] == str(here.file)
    assert len({each["found"] for each in found}) == 3


@pytest.mark.parametrize(
    ("wrong", "code", "keys"),
    [
        ('[[log]]\nname = "b"\npaths = ["b"]\nmax_sise = 1', 1, ["log[2].max_sise"]),
        ('[queue]\nengine = "hui"\nurl = "x"', 1, ["queue.engine"]),
        ('[[log]]\nname = "b"\npaths = ["b"]\nmax_size = 1\nschedul = 5\nbackup_cont = 1', 1,
         ["log[2].backup_cont", "log[2].schedul"]),
    ],
    ids=["a rule", "an engine that is not there", "two keys"],
)  # fmt: skip
def test_what_is_wrong_alone(here, logrotor, wrong, code, keys):
    """Each problem has its file, line and key; the other rules can run, so the exit code is 1."""
    here.configure(wrong)
    found = logrotor("check", "--json", code=code).json
    assert sorted(problem["key"] for problem in found["problems"]) == keys and found["exit_code"] == code
    assert {problem["file"] for problem in found["problems"]} == {str(here.file)}
    assert all(problem["problem"] in problem["message"] and "advice" in problem for problem in found["problems"])
    assert [rule["name"] for rule in found["config"]["logs"]] == ["app"]


def test_an_engine_that_is_not_installed(here, logrotor, tmp_path, monkeypatch):
    """Its entry point is there, its package is not: told before the first job, with what installs it."""
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / "rq.py").write_text("raise ImportError('no rq here')\n")
    here.configure('[queue]\nengine = "rq"\nurl = "redis://localhost/0"')
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lacking")}
    done = subprocess.run(
        command.arguments("check", "--json", "-c", here.file), env=environment, capture_output=True, check=False
    )
    (problem,) = json.loads(done.stdout)["problems"]
    assert done.returncode == 1 and problem["key"] == "queue.engine" and "logrotor[rq]" in problem["message"]
    argv = command.arguments("doctor", "--json", "--only", "queue", "-c", here.file)
    looked = subprocess.run(argv, env=environment, capture_output=True, check=False)
    found = {check["id"]: [f["advice"] for f in check["findings"]] for check in json.loads(looked.stdout)["checks"]}
    assert found["queue.reachable"] == [f"{sys.executable} -m pip install 'logrotor[rq]'"], "what helps, just here"
    assert found["queue.arguments"] == [], "said once"


def test_a_name_with_brackets(here, logrotor):
    """As a pattern it does not match itself: check says how to name it, and that way works."""
    log = here.folder / "[www].log"
    log.write_text("a line\n")
    rule = '[[log]]\nname = "pool"\npaths = ["{}"]\nmax_size = 1\ncreate_mode = "0664"'
    here.configure(rule.format(log))
    (found,) = logrotor("check", "--json", code=0).json["literal"]
    assert found == {"rule": "pool", "path": str(log), "literal": str(here.folder / "[[]www].log")}
    assert found["literal"] in logrotor("check", code=0).out
    here.configure(rule.format(found["literal"]))
    assert logrotor("check", "--json", code=0).json["literal"] == []
    assert str(log) in [each["path"] for each in logrotor("plan", "--json", code=0).json["logs"]]


def test_nothing_can_run(here, logrotor):
    """All problems are told: exit code 2."""
    here.file.write_text(f'state_dir = "{here.state}"\n[[log]]\nname = "a"\nmax_sise = 1\n')
    found = logrotor("check", "--json", code=2).json
    assert found["config"] is None and {problem["key"] for problem in found["problems"]} >= {"log[1].max_sise"}


def test_a_state_directory_with_which_every_run_would_end(here, logrotor):
    """check tells of it beforehand, and ends with 2 as the run would; not where run_as names somebody else."""
    here.state.touch()
    (problem,) = logrotor("check", "--json", code=2).json["problems"]
    assert problem["key"] == "state_dir" and str(here.state) in problem["message"]
    assert logrotor("run", code=2).out == ""
