"""Metrics for Prometheus, read by its official parser."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from logrotor import load_config
from logrotor.cli.gather import all_checks, queue_metrics
from logrotor.cli.group import COMMANDS
from logrotor.disk import state
from logrotor.disk.publish import publish
from logrotor.errors import Busy, Refused
from logrotor.observe.deployment import Deployment
from logrotor.observe.metrics import Metric, of_deadlines, of_run, of_status, render
from logrotor.observe.status import status
from tests.support import command

EXAMPLES = command.CHECKOUT / "examples/prometheus"


@pytest.fixture
def metrics(here):
    """A deployment that writes metrics: what its file says, by name."""
    here.configure('[metrics]\ntextfile = "logrotor.prom"')

    def read() -> dict[str, list[tuple[dict[str, str], float]]]:
        families = text_string_to_metric_families((here.folder / "logrotor.prom").read_text())
        return {family.name: [(s.labels, s.value) for s in family.samples] for family in families}

    return read


def value(found, name: str) -> float:
    ((_, number),) = found[name]
    return number


def test_a_run_is_measured(here, metrics, logrotor):
    """Counts, bytes, durations and times of the run; each log with its labels; each file system."""
    log = here.log(size=32_000)
    before = time.time()
    logrotor("run", code=0)
    found = metrics()
    assert value(found, "logrotor_last_run_rotated") == value(found, "logrotor_last_run_due") == 1
    assert value(found, "logrotor_last_run_rotated_bytes") == 32_000
    assert value(found, "logrotor_last_run_compressed_input_bytes") == 32_000
    size = (here.logs / "app.log.1.zst").stat().st_size
    assert value(found, "logrotor_last_run_compressed_output_bytes") == size
    assert value(found, "logrotor_last_run_exit_code") == value(found, "logrotor_last_run_failed") == 0
    assert before - 1 <= value(found, "logrotor_last_success_timestamp_seconds") <= time.time()
    assert found["logrotor_log_archive_bytes"] == [({"log": str(log), "rule": "app"}, size)]
    assert found["logrotor_filesystem_free_bytes"][0][1] > 0


def test_an_idle_run_is_measured_too(here, metrics, logrotor):
    """The dead man's switch: each run tells that it was there, and prints nothing."""
    for _ in range(2):
        said = logrotor("run", code=0)
        assert (said.out, said.err) == ("", "") and value(metrics(), "logrotor_last_run_rotated") == 0
        assert value(metrics(), "logrotor_last_run_timestamp_seconds") >= time.time() - 60


def test_a_failed_run_keeps_the_time_of_the_last_success(here, metrics, logrotor):
    """Between the two an alert can see how long nothing has gone well."""
    logrotor("run", code=0)
    success = value(metrics(), "logrotor_last_success_timestamp_seconds")
    os.link(here.log(), here.folder / "second")
    logrotor("run", code=1)
    found = metrics()
    assert value(found, "logrotor_last_success_timestamp_seconds") == success
    assert value(found, "logrotor_last_run_exit_code") == 1 and found["logrotor_log_refused"][0][1] == 1


def test_the_file_is_readable_under_any_umask(here, metrics):
    """The exporter runs as another user."""
    argv = ["sh", "-c", 'umask 077; exec "$@"', "sh", *command.arguments("run", "-c", here.file)]
    command.run(argv, check=0)
    assert (here.folder / "logrotor.prom").stat().st_mode & 0o777 == 0o644
    assert [name for name in os.listdir(here.folder) if name.endswith(".tmp")] == []


def test_metrics_that_cannot_be_written_fail_the_run(here, logrotor):
    """The log is rotated, the exit code is 1, and so the report and the last event have it."""
    here.configure('[metrics]\ntextfile = "nowhere/logrotor.prom"')
    here.log()
    said = logrotor("run", "-v", "--log-format", "json", code=1)
    *_, problem, end = map(json.loads, said.err.splitlines())
    assert (problem["event"], problem["level"]) == ("problem.found", "error") and "metrics" in problem["error"]
    assert (end["event"], end["exit_code"]) == ("run.completed", 1) and (here.logs / "app.log.1.zst").exists()
    report = logrotor("run", "--json", code=1).json
    assert report["exit_code"] == 1 and "metrics" in report["problems"][0]["problem"]


def test_a_page_that_cannot_be_written_shows_in_the_metrics(here, metrics, logrotor):
    here.configure('[metrics]\ntextfile = "logrotor.prom"\n[page]\nfile = "nowhere/x.html"')
    logrotor("run", code=1)
    assert value(metrics(), "logrotor_last_run_exit_code") == 1


def test_names_follow_the_conventions(here, metrics, logrotor):
    """A prefix, base units, no type in the name, a help text for each (https://prometheus.io/docs/practices/naming/)."""
    here.log()
    logrotor("run", code=0)
    text = (here.folder / "logrotor.prom").read_text()
    names = set(re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE))
    assert names == set(re.findall(r"^# HELP (\w+) \w", text, re.MULTILINE)) == metrics().keys()
    for name in names:
        assert re.fullmatch(r"logrotor_[a-z_]+", name) and not name.endswith(("_total", "_count", "_sum", "_gauge"))
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", name), name
    assert all(name.endswith("_seconds") for name in names if "timestamp" in name or "duration" in name)


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "new\nline", "ümläut ☃", os.fsdecode(b"\xff\xfe")])
def test_any_name_is_a_label(name):
    """What a path may hold comes through, or as an escape where it is no text."""
    text = render([Metric("logrotor_x", "Help.", (({"log": name}, 1.5),))])
    ((family,),) = [list(text_string_to_metric_families(text.encode().decode()))]
    expected = "\\xff\\xfe" if "\udcff" in name else name
    assert [(s.labels, s.value) for s in family.samples] == [({"log": expected}, 1.5)]


def test_what_is_not_known_is_left_out():
    """No sample, and no header without one."""
    assert render([Metric("logrotor_x", "Help.", (({}, None),))]) == ""


# ---------------------------------------------------------------- publishing


def test_a_reader_finds_the_old_file_or_the_new_one(tmp_path: Path):
    """It is replaced by a rename: who has the old one open still has it whole."""
    path = tmp_path / "x.prom"
    publish(str(path), b"old\n", 0o644)
    with path.open() as reader:
        publish(str(path), b"new\n", 0o600)
        assert reader.read() == "old\n"
    assert path.read_text() == "new\n" and path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["x.prom"]


def test_a_temp_that_was_left_or_planted(tmp_path: Path):
    """One of ours is used again; one that another run holds, a link, or a file with two names is not."""
    path, temp = tmp_path / "x.prom", tmp_path / ".x.prom.tmp"
    temp.write_text("left by a run that was killed, and longer")
    publish(str(path), b"new\n", 0o644)
    assert path.read_text() == "new\n"
    temp.touch()
    with temp.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            publish(str(path), b"x", 0o644)
    os.link(temp, tmp_path / "victim")
    with pytest.raises(Refused):
        publish(str(path), b"x", 0o644)
    temp.unlink()
    temp.symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        publish(str(path), b"x", 0o644)
    assert path.read_text() == "new\n" and (tmp_path / "victim").read_text() == ""


# ---------------------------------------------------------------- configuration


def test_a_wrong_table_leaves_the_rules_alone(here):
    """What is wrong in [metrics] is told, and the logs are rotated."""
    said_of = {
        "textfil = 'x'": "did you mean 'textfile'",
        "textfile = 1": "accepted",
        "textfile = 'x.txt'": "does not end in .prom, and the collector reads no other file",
    }
    for line, said in said_of.items():
        here.configure(f"[metrics]\n{line}")
        config = load_config(here.file, environ={})
        assert config.metrics_textfile is None and said in str(config.problems[0]) and len(config.logs) == 1


def test_the_queue_is_measured(here, logrotor):
    """Its counts stand beside those of the run."""
    pytest.importorskip("huey")
    here.configure('[metrics]\ntextfile = "logrotor.prom"\n[queue]\nhost = "h1"')
    logrotor("queue", "dispatch", code=0)
    logrotor("run", code=0)
    assert 'logrotor_queue_pending_jobs{queue="log-rotation-h1"} 1\n' in (here.folder / "logrotor.prom").read_text()


@pytest.mark.parametrize(
    ("queue", "seconds"),
    [("", 3600), ('[queue]\nschedule = "* * * * *"', 180), ('[queue]\nschedule = "0 3 * * *"', 3 * 86400),
     ('[queue]\nschedule = "* * * * *"\n[queue.monitor]\nticks = 10', 600)],
)  # fmt: skip
def test_deadlines_follow_the_schedule(here, metrics, logrotor, queue: str, seconds: float):
    """Three ticks of it, or as many as are configured; a rule knows neither."""
    here.configure(f'[metrics]\ntextfile = "logrotor.prom"\n{queue}')
    logrotor("run", code=0)
    found = metrics()
    for deadline, since in (("metrics_deadline", "metrics"), ("success_deadline", "last_success")):
        by, at = (value(found, f"logrotor_{name}_timestamp_seconds") for name in (deadline, since))
        assert seconds * 2 / 3 - 1 < by - at <= seconds


# ---------------------------------------------------------------- examples


def known_names(here) -> set[str]:
    """Every metric that may be written."""
    here.run()
    (here.folder / "queued.toml").write_text(here.file.read_text() + '[queue]\nhost = "h1"\n')
    config = load_config(here.folder / "queued.toml", environ={})
    found = status(here.seen(datetime.now(UTC)))
    last = state.last_report(str(here.state))
    told = (*of_run(last, found), *of_status(found), *queue_metrics(config, found.now),
            *of_deadlines(Deployment(config, found.now), last))  # fmt: skip
    suffixes = ("", "_bucket", "_sum", "_count")
    return {f"{each.name}{suffix}" for each in told for suffix in suffixes}


def expressions(folder: Path) -> list[str]:
    alerts = re.findall(r"^ +expr: (.*)$", (folder / "alerts.yml").read_text(), re.MULTILINE)
    board = json.loads((folder / "dashboard.json").read_text())
    targets = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return alerts + targets + [variable["query"] for variable in board["templating"]["list"]]


def test_alerts_and_dashboard_ask_for_metrics_that_exist(here):
    """A misspelt name in a rule would never fire, and nobody would know."""
    here.log()
    known = known_names(here)
    asked = {name for each in expressions(EXAMPLES) for name in re.findall(r"\blogrotor_\w+", each)}
    assert asked <= known and len(asked) >= 12


def test_alerts_say_what_to_do(here):
    """Each has a severity, a summary, and a description with a command of logrotor or a question."""
    blocks = (EXAMPLES / "alerts.yml").read_text().split("- alert: ")[1:]
    commands = set(COMMANDS)
    here.configure('[metrics]\ntextfile = "x.prom"\n[queue]\nhost = "h1"')
    ids = [check.id for check in all_checks(here.seen())]
    assert len(blocks) >= 8
    for block in blocks:
        assert "severity: " in block and "summary: " in block
        described = re.search(r'description: "(.*)"', block)
        assert described and (described[1].endswith("?") or set(re.findall(r"logrotor (\w+)", described[1])) & commands)
        assert all(any(i.startswith(only) for i in ids) for only in re.findall(r"--only (\w+)", described[1]))
