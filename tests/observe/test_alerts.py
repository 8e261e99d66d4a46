"""The alert rules of examples/prometheus, by Prometheus's own promtool: each fires for its fault, none for health."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import CHECKOUT
from tests.support.need import need

pytestmark = pytest.mark.servers
EXAMPLES = CHECKOUT / "examples/prometheus"
ALERTS = re.findall(r"- alert: (\w+)", (EXAMPLES / "alerts.yml").read_text())

# A sample a minute for two days, the clock beginning at 0: "0+60x2880" is always now, "0x2880" always the beginning.
NOW, NEVER, ONE = "0+60x2880", "0x2880", "1x2880"
HEALTH = {
    "logrotor_last_run_timestamp_seconds": NOW,
    "logrotor_run_deadline_timestamp_seconds": "180+60x2880",
    "logrotor_metrics_deadline_timestamp_seconds": "180+60x2880",
    "logrotor_last_success_timestamp_seconds": NOW,
    "logrotor_success_deadline_timestamp_seconds": "180+60x2880",
    "logrotor_last_run_exit_code": NEVER,
    'logrotor_log_due{log="/l"}': NEVER,
    'logrotor_log_refused{log="/l"}': NEVER,
    'logrotor_log_failures{log="/l"}': "2x2880",
    'logrotor_log_pending{log="/l"}': NEVER,
    'logrotor_log_limit_bytes{log="/l"}': "100x2880",
    'logrotor_log_held_bytes{log="/l"}': "200x2880",
    'logrotor_filesystem_full_timestamp_seconds{mountpoint="/"}': "200000+60x2880",
    'logrotor_queue_failed_jobs{queue="q"}': NEVER,
    'logrotor_queue_stuck_jobs{queue="q"}': NEVER,
    'logrotor_queue_deadline_timestamp_seconds{queue="q"}': "180+60x2880",
    'logrotor_queue_oldest_age_seconds{queue="q"}': NEVER,
    'logrotor_queue_most_age_seconds{queue="q"}': "180x2880",
    'logrotor_queue_up{queue="q"}': ONE,
    'logrotor_queue_history_known{queue="q"}': ONE,
    'logrotor_worker_up{queue="q"}': ONE,
}
# None: the metric is not there. What a fault brings along is named as well.
FAULTS: dict[str, dict[str, str | None]] = {
    "LogrotorStopped": {"logrotor_run_deadline_timestamp_seconds": NEVER},
    "LogrotorMetricsOld": {"logrotor_metrics_deadline_timestamp_seconds": "180x2880"},
    "LogrotorJobsNotDone": {'logrotor_queue_deadline_timestamp_seconds{queue="q"}': "180x2880"},
    "LogrotorWorkerDown": {'logrotor_worker_up{queue="q"}': NEVER},
    "LogrotorQueueUnreachable": {'logrotor_queue_up{queue="q"}': NEVER},
    "LogrotorQueueUnknown": {'logrotor_queue_history_known{queue="q"}': NEVER},
    "LogrotorJobsWait": {'logrotor_queue_oldest_age_seconds{queue="q"}': "181x2880"},
    "LogrotorNeverRan": {"logrotor_last_run_timestamp_seconds": None},
    "LogrotorFailing": {"logrotor_success_deadline_timestamp_seconds": "180x2880"},
    "LogrotorNeverSucceeded": {"logrotor_last_success_timestamp_seconds": None, "logrotor_last_run_exit_code": ONE},
    "LogrotorLogNotRotated": {'logrotor_log_due{log="/l"}': ONE},
    "LogrotorLogRefused": {'logrotor_log_refused{log="/l"}': ONE},
    "LogrotorLogFailing": {'logrotor_log_failures{log="/l"}': "3x2880"},
    "LogrotorWriterHoldsOn": {'logrotor_log_pending{log="/l"}': ONE},
    "LogrotorArchiveGrows": {'logrotor_log_held_bytes{log="/l"}': "201x2880"},
    "LogrotorDiskFullSoon": {'logrotor_filesystem_full_timestamp_seconds{mountpoint="/"}': "80000+60x2880"},
    "LogrotorJobsFailed": {'logrotor_queue_failed_jobs{queue="q"}': ONE},
    "LogrotorJobsStuck": {'logrotor_queue_stuck_jobs{queue="q"}': ONE},
}


def promtool(*words: str | Path) -> str:
    program = shutil.which("promtool")
    need(program, "promtool (Debian's prometheus)")
    done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fires(tmp_path: Path, series: dict[str, str | None], expected: list[str], at: str = "30h") -> None:
    """promtool plays the series and sees exactly these alerts fire."""
    (tmp_path / "alerts.yml").write_text((EXAMPLES / "alerts.yml").read_text())
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected]
    question = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items() if values is not None],
        "promql_expr_test": [{"expr": question, "eval_time": at, "exp_samples": samples}],
    }
    played = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(played))  # JSON is YAML
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")


def test_each_alert_has_its_fault():
    """No alert that was never seen to fire."""
    assert sorted(FAULTS) == sorted(ALERTS)


def test_the_rules_are_rules():
    """Syntax, expressions and templates."""
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", EXAMPLES / "alerts.yml")


def test_health_is_silent(tmp_path: Path):
    """Nothing fires where all is well, two failures of a log in a row included."""
    fires(tmp_path, dict(HEALTH), [])


@pytest.mark.parametrize("alert", FAULTS)
def test_a_fault_fires_its_alert_alone(tmp_path: Path, alert: str):
    """One fault, one alert."""
    fires(tmp_path, {**HEALTH, **FAULTS[alert]}, [alert])


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path):
    """Each expression of it is one."""
    board = json.loads((EXAMPLES / "dashboard.json").read_text())
    asked = [target["expr"].replace("$instance", ".*") for panel in board["panels"] for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    (tmp_path / "board.yml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", tmp_path / "board.yml")
