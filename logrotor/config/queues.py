"""Read ``[queue]`` and ``[queue.job]``. What is wrong there leaves the queue out, and the rules run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from logrotor.config.document import Document
from logrotor.config.keys import JOB, QUEUE
from logrotor.config.tables import Problems, Read, Section, read_table
from logrotor.config.values import did_you_mean, shown

if TYPE_CHECKING:
    from logrotor.model import JobSettings, QueueSettings

ENGINES = ("huey", "procrastinate", "rq", "celery")  # a plugin may add others


def read_queue(document: Document, problems: Problems) -> QueueSettings | None:
    """The queue's settings; None without a ``[queue]`` table, or with one that is wrong."""
    if "queue" not in document.table:
        return None
    before = len(problems)
    section = Section(document, "queue", problems)
    table = document.table["queue"]
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [queue] with engine, url, name, host, schedule")
        return None
    read = read_table(section, {k: v for k, v in table.items() if k != "job"}, QUEUE, tables=("job",))
    job = _read_job(document, problems, table.get("job", {}))
    from logrotor.model import JobSettings, QueueSettings

    settings = QueueSettings(**_values(read), job=JobSettings(**job.values))
    _refuse_missing_url(section, read, settings)
    _refuse_short_stuck(document, problems, job, settings.job)
    return settings if len(problems) == before else None


def _read_job(document: Document, problems: Problems, table: object) -> Read:
    section = Section(document, "queue.job", problems)
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [queue.job] with {', '.join(JOB)}")
        return Read({})
    return read_table(section, table, JOB)


def _values(read: Read) -> dict[str, Any]:
    """A parsed schedule is its expression, and the name under which the user wrote it."""
    schedule = read.values.get("schedule")
    if schedule is None:
        return read.values
    return {**read.values, "schedule": schedule.expression, "schedule_name": schedule.name}


def _refuse_missing_url(section: Section, read: Read, settings: QueueSettings) -> None:
    if settings.engine != "huey" and "url" not in read.values and "url" not in read.failed:
        hint = "" if settings.engine in ENGINES else did_you_mean(settings.engine, ENGINES)
        message = f"is required with engine = {settings.engine!r}{hint}; accepted: {QUEUE['url'].accepted}"
        section.wrong("url", message)


def _refuse_short_stuck(document: Document, problems: Problems, read: Read, job: JobSettings) -> None:
    if job.stuck_after <= job.reclaim_after:
        Section(document, "queue.job", problems).wrong(
            "stuck_after" if "stuck_after" in read.values else "timeout",
            f"a job may be at work for {job.reclaim_after:g} s (timeout, grace and the engine's limits), and would "
            f"count as stuck after {job.stuck_after:g} s; accepted: stuck_after above {job.reclaim_after:g}s",
        )
