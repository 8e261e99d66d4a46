"""``logrotor check``: the configuration, and where it came from."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from logrotor.model import ConfigProblem, Manager, Problem, QueueSettings, ReopenTarget

PROBLEM = ConfigProblem("/etc/logrotor.toml", "log[2].max_sise", "unknown key", 12, "b", "did you mean 'max_size'?")


def test_fine(logrotor, world, monkeypatch):
    """check says which file is used and how it was found, where state is kept, its rules and targets."""
    monkeypatch.delenv("LOGROTOR_CONFIG", raising=False)
    target = ReopenTarget(name="workers", manager=Manager.SUPERVISORD)
    files = ("/etc/logrotor.toml", "/etc/logrotor.d/app.toml")
    world.config = replace(world.config, targets={"workers": target}, files=files, run_as="www-data")
    result = logrotor("check")
    assert result.code == 0
    assert [line.split(None, 1) for line in result.out.splitlines()] == [
        ["configuration", "/etc/logrotor.toml (found in the usual places)"],
        ["included", "/etc/logrotor.d/app.toml"],
        ["state_dir", "/var/lib/logrotor (state_dir in /etc/logrotor.toml)"],
        ["run", "as         www-data"],
        ["rules", "1: workers"],
        ["targets", "workers (supervisord)"],
        ["No", "problem."],
    ]


@pytest.mark.parametrize(
    ("args", "variable", "how"), [(("-c", "a"), "b", "given with -c"), ((), "b", "named by $LOGROTOR_CONFIG")]
)
def test_how_it_was_found(logrotor, monkeypatch, args, variable, how):
    """check says why it is this file."""
    monkeypatch.setenv("LOGROTOR_CONFIG", variable)
    assert f"({how})" in logrotor("check", *args).out


def test_one_rule_wrong(logrotor, world):
    """A wrong rule is told with file, line and key: exit code 1, the others can run."""
    world.config = replace(world.config, problems=(PROBLEM,))
    result = logrotor("check")
    assert result.code == 1
    assert "/etc/logrotor.toml:12: log[2].max_sise: unknown key; did you mean 'max_size'?" in result.out
    assert result.out.endswith("1 problem; 1 rule can run.\n")


def test_nothing_can_run(logrotor, world):
    """If nothing can run, all problems are told: exit code 2."""
    world.broken = (PROBLEM, replace(PROBLEM, key="state_dir"))
    result = logrotor("check")
    assert result.code == 2 and result.out.endswith("2 problems; nothing can run.\n")
    assert result.out.count("/etc/logrotor.toml:12") == 2


UNUSABLE = Problem(
    subject="state_dir /etc/passwd/x (state_dir in /etc/logrotor.toml)", problem="is a file", advice="name a directory"
)


def test_a_state_directory_with_which_every_run_would_end(logrotor, world):
    """check tells of it beforehand, and ends with 2 as the run would."""
    world.state_problem = UNUSABLE
    result = logrotor("check")
    assert result.code == 2 and result.out.endswith("1 problem; nothing can run.\n")
    (problem,) = logrotor("check", "--json").json["problems"]
    assert (problem["file"], problem["key"]) == ("/etc/logrotor.toml", "state_dir") and UNUSABLE.words in result.out


def test_a_state_directory_of_the_user_of_the_runs(logrotor, world):
    """Where run_as names somebody else, what this user may do there says nothing."""
    world.state_problem = UNUSABLE
    world.config = replace(world.config, run_as="nobody")
    assert logrotor("check").code == 0


def test_an_engine_that_is_not_there(logrotor, world):
    """Every job would end at once: check tells, with the nearest one; the rules can run."""
    world.config = replace(world.config, queue=QueueSettings(engine="hui", url="x"))
    result = logrotor("check")
    assert result.code == 1 and result.out.endswith("1 problem; 1 rule can run.\n")
    assert "/etc/logrotor.toml: queue.engine: 'hui' is not known; did you mean 'huey'?; installed: " in result.out


def test_json(logrotor, world):
    """check --json has the loaded rules, the problems and the exit code."""
    world.config = replace(world.config, problems=(PROBLEM,))
    found = logrotor("check", "--json").json
    assert found["exit_code"] == 1
    assert found["problems"] == [
        {
            "file": "/etc/logrotor.toml",
            "key": "log[2].max_sise",
            "line": 12,
            "rule": "b",
            "problem": "unknown key",
            "advice": "did you mean 'max_size'?",
            "message": "unknown key; did you mean 'max_size'?",
        }
    ]
    assert found["config"]["logs"][0]["name"] == "workers" and found["file"] == "/etc/logrotor.toml"
