"""Metrics of the last run and of how everything stands, in Prometheus's text format for the textfile collector.

Names and units by https://prometheus.io/docs/practices/naming/; the format is version 0.0.4 of
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from logrotor.disk import state
from logrotor.disk.publish import METRICS, Output
from logrotor.model import Config, LastReport
from logrotor.observe.deployment import HOUR, Deployment
from logrotor.observe.status import Status, status

MODE = 0o644  # the node exporter runs as a user of its own

Sample = tuple[Mapping[str, str], float | None]  # labels, value; None: not known, so not told


class Metric(Struct, frozen=True):
    """One metric. A histogram's samples bear its suffix in the label ``""``: _bucket, _sum, _count."""

    name: str
    help: str
    samples: tuple[Sample, ...]
    kind: str = "gauge"  # "counter", "histogram"
    labels: tuple[str, ...] = ()


def write(path: str, config: Config, now: datetime, *, more: Iterable[Metric] = ()) -> None:
    """Replace the file whole. Raises Busy where somebody writes it just now, another LogrotorError, or OSError."""
    with Output(path, METRICS) as output:
        output.write(text(config, now, more=more).encode(), MODE)


def text(config: Config, now: datetime, *, more: Iterable[Metric] = ()) -> str:
    """Everything at one moment, from the state directory, the history and the disk: whoever asks gets the same.

    ``more`` are the metrics of other rooms. Raises LogrotorError or OSError.
    """
    last = state.last_report(config.state_dir)
    run, deadlines = _told(Deployment(config, now), last)
    return render((*run, *more, *deadlines))


def known() -> tuple[Metric, ...]:
    """All of them, of a deployment that has nothing yet."""
    nothing = Config(state_dir=os.devnull, state_dir_origin="", logs=(), targets={})
    run, deadlines = _told(Deployment(nothing, datetime.fromtimestamp(0, UTC)), None)
    return (*run, *deadlines)


def _told(deployment: Deployment, last: LastReport | None) -> tuple[list[Metric], list[Metric]]:
    found = status(deployment)
    return [*of_run(last, found), *of_status(found)], list(of_deadlines(deployment, last))


# ---------------------------------------------------------------- what is told


def of_run(last: LastReport | None, found: Status) -> Iterator[Metric]:
    """The last run."""
    by = _epoch(found.run_by)
    if by is None and found.last_run is not None:
        by = found.last_run.timestamp() + HOUR

    def told(name: str, help: str) -> Metric:
        return _one(f"logrotor_last_run_{name}", help, None if last is None else getattr(last, name))

    yield _one("logrotor_last_run_timestamp_seconds", "When the last run ended.", _epoch(found.last_run))
    yield _one("logrotor_run_deadline_timestamp_seconds", "When the next run must have ended.", by)
    success = "When the last run without a failure ended."
    yield _one("logrotor_last_success_timestamp_seconds", success, None if last is None else last.succeeded)
    took = None if last is None else last.duration
    yield _one("logrotor_last_run_duration_seconds", "How long the last run took.", took)
    yield told("exit_code", "Its exit code: 0 all well, 1 something failed.")
    yield told("due", "Logs that were due.")
    yield told("rotated", "Logs that were rotated.")
    yield told("failed", "Steps that failed.")
    yield told("deferred", "Archives that wait, for a writer to let go or the like.")
    yield told("removed", "Archives that retention removed.")
    yield told("rotated_bytes", "Bytes of the logs that were rotated.")
    yield told("compressed_input_bytes", "Bytes before compression.")
    yield told("compressed_output_bytes", "Bytes after it.")
    yield told("compression_seconds", "Time that compression took.")


def of_deadlines(deployment: Deployment, last: LastReport | None) -> Iterator[Metric]:
    """By when something must have happened, for rules: they know neither the schedule nor its thresholds."""
    now = deployment.now.timestamp()
    succeeded = None if last is None or last.succeeded is None else deployment.overdue_after(last.succeeded)
    yield _one("logrotor_success_deadline_timestamp_seconds", "When a run must have succeeded again.", succeeded)
    yield _one("logrotor_metrics_timestamp_seconds", "When these metrics were written.", now)
    by = "When they must have been written again."
    yield _one("logrotor_metrics_deadline_timestamp_seconds", by, deployment.overdue_after(now))


def of_status(found: Status) -> Iterator[Metric]:
    """How each log and each file system stands."""

    def logs(name: str, help: str, *values: float | None) -> Metric:
        labels = ({"log": log.path, "rule": log.rule} for log in found.logs)
        samples = tuple(zip(labels, values, strict=True))
        return Metric(f"logrotor_log_{name}", help, samples, labels=("log", "rule"))

    def systems(name: str, help: str, *values: float | None) -> Metric:
        labels = ({"mountpoint": system.mount} for system in found.file_systems)
        samples = tuple(zip(labels, values, strict=True))
        return Metric(f"logrotor_filesystem_{name}", help, samples, labels=("mountpoint",))

    yield logs("size_bytes", "Size of the live log.", *(log.size for log in found.logs))
    yield logs("limit_bytes", "Its max_size.", *(log.max_size for log in found.logs))
    yield logs("due", "Whether it is due now.", *(log.due for log in found.logs))
    yield logs("next_due_timestamp_seconds", "When it will be due.", *(_epoch(log.next_due) for log in found.logs))
    last = (_epoch(log.last_rotation) for log in found.logs)
    yield logs("last_rotation_timestamp_seconds", "When it was last rotated.", *last)
    yield logs("archives", "How many archives it has.", *(log.archives for log in found.logs))
    yield logs("archive_bytes", "Bytes of its archives.", *(log.archive_bytes for log in found.logs))
    yield logs("pending", "Archives that wait for their writer to let go.", *(len(log.pending) for log in found.logs))
    held = (log.held_bytes for log in found.logs)
    yield logs("held_bytes", "Bytes of archives that a writer still writes, instead of the log.", *held)
    yield logs("failures", "Runs in a row in which something of it failed.", *(log.failures for log in found.logs))
    yield logs("refused", "Whether it is refused.", *(log.refused is not None for log in found.logs))
    yield systems("free_bytes", "Bytes free.", *(system.free for system in found.file_systems))
    full = (_epoch(system.full_on) for system in found.file_systems)
    yield systems("full_timestamp_seconds", "When it will be full at the present pace.", *full)


def _one(name: str, help: str, value: float | None) -> Metric:
    return Metric(name, help, (({}, value),))


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


# ---------------------------------------------------------------- the format


def render(metrics: Iterable[Metric]) -> str:
    """The text of a file for the collector; what is not known is left out."""
    return "".join(_lines(metric) for metric in metrics)


def _lines(metric: Metric) -> str:
    name = metric.name
    known = [(labels, value) for labels, value in metric.samples if value is not None]
    head = f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n" if known else ""
    told = (f"{name}{labels.get('', '')}{_labels(labels)} {_number(value)}\n" for labels, value in known)
    return head + "".join(told)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items() if key)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    """The format's three escapes; bytes of a name that are no UTF-8 are shown as escapes of their own."""
    shown = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return re.sub("[\ud800-\udfff]", lambda m: f"\\\\x{ord(m[0]) & 0xFF:02x}", shown)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(float(value), 6))
