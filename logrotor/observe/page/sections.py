"""The sections of the page, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from logrotor import text
from logrotor.model import Finding
from logrotor.observe import attention
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.page import plots
from logrotor.observe.page.content import DAYS, Facts, Queue
from logrotor.observe.page.markup import (
    NOTHING,
    Child,
    Column,
    Html,
    dash,
    paragraphs,
    section,
    soft,
    table,
    tag,
    when,
    when_epoch,
)
from logrotor.observe.rotations import Rotation
from logrotor.observe.status import LogStatus

_TIGHT, _LOW = 0.05, 0.15  # shares of a file system that are free
MOST = 500  # logs, those first that need attention: a page of thousands is no page
_ARCHIVES = 15
_ROTATIONS = 15


def needs_attention(facts: Facts) -> Html:
    """What passes a threshold; said also if nothing does."""
    nothing = "Nothing: runs come, no log is overdue, no failure repeats itself, no file system fills up."
    told = [tag("li", paragraphs(str(each)), class_="bad") for each in facts.attention]
    findings = sum(not found.note for each in facts.examined for found in each.findings)
    if findings:
        link = tag("a", f"The doctor has {text.count(findings, 'finding')}", href="#doctor")
        told.append(tag("li", link, " that may cause trouble.", class_="warn"))
    return section("Needs attention", tag("ul", told, class_="list") if told else tag("p", nothing, class_="good"))


# ---------------------------------------------------------------- logs


def logs(facts: Facts) -> Html:
    """Each log: size against limit, when due, how it grew, what it has."""
    found, done = facts.status.logs, facts.by_log
    if not found:
        return section("Logs", tag("p", "No log exists now that the configuration names."))
    columns = [Column("Log", "lead"), Column("Size"), Column("Due"), Column("Over time"), Column("Last rotation"),
               Column("Archives")]  # fmt: skip
    top = common(os.path.dirname(log.path) for log in found)
    rows = [_row(log, top, done.get(log.path, []), facts) for log in found[:MOST]]
    hint = ("In ", tag("code", top), ". Plot: size over time; dot: a rotation, cross: a failed one, dashes: max_size.")
    return section("Logs", table(columns, rows), _rest(len(found)), hint=hint)


def _rest(number: int) -> Html | None:
    more = number - MOST
    return soft(f"{text.count(more, 'more log')} that need it less: {text.ours('status')}") if more > 0 else None


def common(directories: Iterable[str]) -> str:
    """The directory that all are in."""
    return os.path.commonpath(list(directories))


def _row(log: LogStatus, top: str, done: Sequence[Rotation], facts: Facts) -> list[Child]:
    now, name = facts.status.now, os.path.relpath(log.path, top)
    plot = plots.sparkline(name, done, log.size, log.max_size, now.timestamp())
    return [
        [tag("div", name, class_="name"), soft(f"rule {log.rule}"), _notes(log)],
        _size(log),
        [tag("div", attention.due(log, now), class_="warn" if log.due or log.refused else None), _moment(log)],
        [plot, soft(plots.caption(done, now.timestamp()))] if plot else NOTHING,
        _last(log, facts),
        _stored(log) if log.archives else NOTHING,
    ]


def _notes(log: LogStatus) -> list[Html]:
    return [tag("div", note, class_="note") for note in attention.notes(log)]


def _size(log: LogStatus) -> Child:
    if log.size is None:
        return "missing"
    shown = tag("span", text.size(log.size), class_="number")
    if not log.max_size:
        return [shown, soft(log.schedule or "")]
    share = log.size / log.max_size
    return [shown, tag("span", f" of {text.size(log.max_size)}", class_="soft number"),
            plots.bar(share, "warn" if share > 1 else "")]  # fmt: skip


def _moment(log: LogStatus) -> Html | None:
    if log.due:
        return soft(log.reason)
    return soft(when(log.next_due)) if log.next_due is not None and not log.refused else None


def _last(log: LogStatus, facts: Facts) -> Child:
    ago = attention.ago(log.last_rotation, facts.status.now, known=log.known)
    if log.last_rotation is None:
        return tag("span", ago, class_="soft")
    failed = f"{log.last_outcome}: {log.last_problem.words}" if log.last_problem is not None else None
    return [tag("span", ago, class_="number"), soft(when(log.last_rotation)),
            tag("div", f"then {failed}", class_="note") if failed else None]  # fmt: skip


def _stored(log: LogStatus) -> Child:
    """How many archives, their bytes, how well compressed."""
    ratio = soft(tag("span", f"ratio {log.ratio:.1f}:1", class_="number")) if log.ratio else None
    return [tag("span", f"{log.archives}, {text.size(log.archive_bytes)}", class_="number"), ratio]


# ---------------------------------------------------------------- what was done


def activity(facts: Facts) -> Html:
    """Day by day, and the latest rotations."""
    days = plots.by_day(facts.takes, facts.status.now, DAYS)
    ends = tag("div", tag("span", days[0].date), tag("span", days[-1].date), class_="ends soft small")
    most = max(day.bytes for day in days)
    hint = f"Bytes a day in {DAYS} days, {text.size(most)} at most; a red foot: something failed that day."
    return section("Rotations", plots.columns(days), ends, _latest(facts), hint=hint)


def _latest(facts: Facts) -> Child:
    latest = list(reversed(facts.rotations[-_ROTATIONS:]))
    if not latest:
        return tag("p", "No rotation is known yet.")
    columns = [
        Column("When", "lead"),
        Column("Log"),
        Column("Outcome", "wide"),
        Column("Size"),
        Column("Took", "right"),
    ]
    return table(columns, [_rotation(each, facts) for each in latest])


def _rotation(each: Rotation, facts: Facts) -> list[Child]:
    outcome = tag("span", "rotated" if each.status == "done" else each.status, class_=_tone(each))
    return [
        when_epoch(each.time, facts.status.now),
        os.path.basename(each.log),
        [outcome, soft(each.reason)],
        tag("span", _sizes(each), class_="number"),
        text.brief(each.seconds) if each.seconds is not None else "-",
    ]


def _tone(each: Rotation) -> str:
    return {"done": "good", "failed": "bad"}.get(each.status, "warn")


def _sizes(each: Rotation) -> str:
    if each.status != "done":
        return "-"
    if each.archive_bytes is None:
        return text.size(each.bytes)
    ratio = f" ({each.ratio:.1f}:1)" if each.ratio else ""
    return f"{text.size(each.bytes)} → {text.size(each.archive_bytes)}{ratio}"


# ---------------------------------------------------------------- archives


def archives(facts: Facts) -> Html:
    """The largest first."""
    found = facts.archives
    if not found:
        return section("Archives", tag("p", "None yet."))
    shown, rest = found[:_ARCHIVES], found[_ARCHIVES:]
    top = common(os.path.dirname(each.path) for each in found)
    columns = [Column("Archive", "lead"), Column("Size"), Column("Last written")]
    rows: list[list[Child]] = [
        [tag("div", os.path.relpath(each.path, top), class_="name"),
         [tag("span", text.size(each.size), class_="number"), plots.bar(each.size / max(1, found[0].size))],
         when_epoch(each.time, facts.status.now)]
        for each in shown
    ]  # fmt: skip
    total = (
        f"{text.count(len(found), 'archive')}, {text.size(sum(each.size for each in found))}, the largest first; in "
    )
    hint = (total, tag("code", top))
    more = f"{text.count(len(rest), 'smaller one')}, {text.size(sum(each.size for each in rest))}"
    return section("Archives by size", table(columns, rows), soft(more) if rest else None, hint=hint)


# ---------------------------------------------------------------- queues


def queues(facts: Facts) -> Html | None:
    """The rotation as a job; nothing where there is no queue."""
    found = facts.queues
    if found is None:
        return None
    if found.problem is not None:
        return section("Queues", tag("p", paragraphs(found.problem.words), class_="bad"), hint=found.engine)
    numbers = ("Pending", "At work", "Scheduled", "Failed", "Stuck", "Oldest waits")
    columns = [Column("Queue", "lead"), *(Column(head, "right") for head in numbers)]
    rows = [_queue(queue) for queue in found.rows]
    body = table(columns, rows) if rows else tag("p", "No job was ever queued.")
    return section("Queues", body, soft(found.attempts) if found.attempts else None, hint=found.engine)


def _queue(queue: Queue) -> list[Child]:
    name = [tag("span", queue.queue, class_="name"), soft(f"host {queue.host}{', this one' if queue.is_ours else ''}")]
    oldest = "-" if queue.oldest_age is None else text.span(queue.oldest_age)
    return [name, str(queue.pending), dash(queue.reserved), str(queue.scheduled), _bad(queue.failed),
            _bad(queue.stuck), oldest]  # fmt: skip


def _bad(number: int | None) -> Html:
    return tag("span", dash(number), class_="bad name" if number else None)


# ---------------------------------------------------------------- file systems


def file_systems(facts: Facts) -> Html | None:
    """How much is free, and when it will not be."""
    found = facts.status.file_systems
    if not found:
        return None
    columns = [Column("Mounted at", "lead"), Column("Used"), Column("Free"), Column("Forecast")]
    return section("File systems", table(columns, [_system(each, facts) for each in found]))


def _system(system: SystemStatus, facts: Facts) -> list[Child]:
    free = system.free / system.total if system.total else 1.0
    kind = "bad" if free < _TIGHT else "warn" if free < _LOW else ""
    return [
        [tag("span", system.mount, class_="name"), soft(system.type)],
        [f"{100 * (1 - free):.0f} %", plots.bar(1 - free, kind)],
        attention.free(system),
        tag("span", attention.full(system, facts.status.now), class_="bad" if system.full_on else None),
    ]


# ---------------------------------------------------------------- the doctor


def doctor(facts: Facts) -> Html:
    """What the checks found when the page was written."""
    made = text.count(len(facts.examined), "check")
    hint = (f"{made}, made at ", when(facts.status.now), f"; {text.ours('doctor --fix')} fixes what is safe to fix.")
    items = [_finding(each.check.id, finding) for each in facts.examined for finding in each.findings]
    if not facts.examined:
        return section("Doctor", tag("p", "Its checks were not made for this page."))
    if not items:
        return section("Doctor", tag("p", "Nothing found.", class_="good"), hint=hint)
    return section(
        f"Doctor: {text.count(len(items), 'finding')}", tag("ul", items, class_="list"), hint=hint, id="doctor"
    )


def _finding(check: str, finding: Finding) -> Html:
    rows = [("why", finding.why), ("do", finding.advice)]
    said = [(tag("dt", key), tag("dd", paragraphs(value))) for key, value in rows]
    head = [tag("span", finding.subject, class_="name"), paragraphs(finding.problem)]
    return tag("li", tag("div", tag("div", head), soft(tag("code", check)), tag("dl", said), class_="finding"),
               class_="warn")  # fmt: skip


def missing(facts: Facts) -> Html | None:
    """Configured logs that do not exist, which is fine."""
    paths: Iterable[str] = facts.status.missing
    items = [tag("div", tag("code", path)) for path in paths]
    return section("Missing logs", items, hint="Configured, and not there: fine.") if items else None
