"""Metrics of the last run and of how everything stands, in Prometheus's text format for the textfile collector.

Names and units by https://prometheus.io/docs/practices/naming/; the format is version 0.0.4 of
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from logrotor.disk.publish import METRICS, Output
from logrotor.model import Config, Outcome, Report
from logrotor.model import Status as Ended
from logrotor.observe.deployment import Deployment
from logrotor.observe.status import Status, status

MODE = 0o644  # the node exporter runs as a user of its own
SUCCESS = "logrotor_last_success_timestamp_seconds"
_TAKES = frozenset({"take", "copytruncate"})

Sample = tuple[Mapping[str, str], float | None]  # labels, value; None: not known, so not told


class Gauge(Struct, frozen=True):
    """One metric; all of ours are gauges, since each run tells how things are then."""

    name: str
    help: str
    samples: tuple[Sample, ...]


def write(path: str, config: Config, report: Report, now: datetime, *, more: Iterable[Gauge] = ()) -> None:
    """Write the metrics after a run; ``more`` are those of other rooms. Raises LogrotorError or OSError."""
    with Output(path, METRICS) as output:
        went_well = report.exit_code == 0 and not report.interrupted
        success = now.timestamp() if went_well else _last_success(output.head)
        gauges = [*of_run(report, now, success), *of_status(status(Deployment(config, now))), *more]
        output.write(render(gauges).encode(), MODE)


def _last_success(head: bytes) -> float | None:
    """What the file of an earlier run says, near its beginning."""
    found = re.search(rf"^{SUCCESS} ([0-9.e+]+)$".encode(), head, re.MULTILINE)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


# ---------------------------------------------------------------- what is told


def of_run(report: Report, now: datetime, success: float | None) -> Iterator[Gauge]:
    """The run that has just ended."""
    packed = [o for o in report.outcomes if o.action == "compress" and o.status is Ended.DONE]
    deferred = sum(1 for o in report.outcomes if o.status is Ended.DEFERRED)
    yield _one("logrotor_last_run_timestamp_seconds", "When the last run ended.", now.timestamp())
    yield _one(SUCCESS, "When the last run without a failure ended.", success)
    yield _one("logrotor_last_run_duration_seconds", "How long the last run took.", report.duration)
    yield _one("logrotor_last_run_exit_code", "Its exit code: 0 all well, 1 something failed.", report.exit_code)
    yield _one("logrotor_last_run_due", "Logs that were due.", report.plan.due)
    yield _one("logrotor_last_run_rotated", "Logs that were rotated.", report.rotated)
    yield _one("logrotor_last_run_failed", "Steps that failed.", len(report.failed))
    yield _one("logrotor_last_run_deferred", "Archives that wait, for a writer to let go or the like.", deferred)
    yield _one("logrotor_last_run_removed", "Archives that retention removed.", report.count("remove"))
    yield _one("logrotor_last_run_rotated_bytes", "Bytes of the logs that were rotated.", _sum(report, _TAKES, "bytes"))
    yield _one("logrotor_last_run_compressed_input_bytes", "Bytes before compression.", _total(packed, "bytes"))
    yield _one("logrotor_last_run_compressed_output_bytes", "Bytes after it.", _total(packed, "bytes_out"))
    yield _one("logrotor_last_run_compression_seconds", "Time that compression took.", _total(packed, "seconds"))


def of_status(found: Status) -> Iterator[Gauge]:
    """How each log and each file system stands."""

    def logs(name: str, text: str, *values: float | None) -> Gauge:
        labels = ({"log": log.path, "rule": log.rule} for log in found.logs)
        return Gauge(f"logrotor_log_{name}", text, tuple(zip(labels, values, strict=True)))

    def systems(name: str, text: str, *values: float | None) -> Gauge:
        labels = ({"mountpoint": system.mount} for system in found.file_systems)
        return Gauge(f"logrotor_filesystem_{name}", text, tuple(zip(labels, values, strict=True)))

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


def _one(name: str, text: str, value: float | None) -> Gauge:
    return Gauge(name, text, (({}, value),))


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _sum(report: Report, actions: frozenset[str], key: str) -> float:
    return _total((o for o in report.outcomes if o.action in actions and o.status is Ended.DONE), key)


def _total(outcomes: Iterable[Outcome], key: str) -> float:
    return float(sum(outcome.details.get(key) or 0 for outcome in outcomes))


# ---------------------------------------------------------------- the format


def render(gauges: Iterable[Gauge]) -> str:
    """The text of a file for the collector; what is not known is left out."""
    return "".join(_lines(gauge) for gauge in gauges)


def _lines(gauge: Gauge) -> str:
    known = [(labels, value) for labels, value in gauge.samples if value is not None]
    head = f"# HELP {gauge.name} {gauge.help}\n# TYPE {gauge.name} gauge\n" if known else ""
    return head + "".join(f"{gauge.name}{_labels(labels)} {_number(value)}\n" for labels, value in known)


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    """The format's three escapes; bytes of a name that are no UTF-8 are shown as escapes of their own."""
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return re.sub("[\ud800-\udfff]", lambda m: f"\\\\x{ord(m[0]) & 0xFF:02x}", text)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(float(value), 6))
