"""The sections of the page, one after the other; the table of logs has a module of its own."""

from __future__ import annotations

import os

from logrotor import text
from logrotor.observe import attention
from logrotor.observe.causes import Cause, Subject
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.page import plots
from logrotor.observe.page.content import DAYS, Facts, Queue
from logrotor.observe.page.markup import (
    Child,
    Column,
    Html,
    dash,
    mark,
    paragraphs,
    section,
    soft,
    table,
    tag,
    when_epoch,
)
from logrotor.observe.page.table import common
from logrotor.observe.rotations import Rotation

_TIGHT, _LOW = 0.05, 0.15  # shares of a file system that are free
_ARCHIVES = 15
_ROTATIONS = 10
_NAMED = 6  # subjects of a cause that are named outright; the others unfold

_KINDS = {"bad": "Problem", "warn": "Finding", "note": "Note"}


def problems(facts: Facts) -> Html:
    """What is wrong, each cause once with all that it concerns; said also if nothing is."""
    hint = f"{text.count(facts.checks, 'check')} made; {text.ours('doctor --fix')} fixes what is safe to fix."
    shown, noted = ([c for c in facts.causes if (c.level == "note") is note] for note in (False, True))
    nothing = (
        "Runs come, no log is overdue, no failure repeats itself, no file system fills up, no check found anything."
    )
    body: Child = tag("ul", map(_cause, shown), class_="causes") if shown else tag("p", nothing)
    notes = tag("ul", map(_cause, noted), class_="causes")
    folded = tag("details", tag("summary", text.count(len(noted), "note")), notes) if noted else None
    return section("Problems" if shown else "No problems", body, folded, hint=hint if facts.checks else None)


def _cause(cause: Cause) -> Html:
    one = cause.subjects[0] if len(cause.subjects) == 1 and not cause.at else None
    where = cause.at or (one.name if one else "")
    what = [tag("code", where), ": ", paragraphs(cause.problem)] if where else paragraphs(cause.problem)
    title = tag("h3", what, class_=None if where else "begins")
    kind = tag("span", mark(cause.level), f" {_KINDS[cause.level]}", class_=f"kind {cause.level}")
    said = tag("div", title, soft(one.detail) if one and one.detail else None, _subjects(cause))
    do = tag("p", tag("b", "Do "), paragraphs(cause.what_to_do)) if cause.advice else None
    why = tag("p", paragraphs(cause.why), class_="soft begins") if cause.why else None
    codes = tag("p", tag("code", ", ".join(cause.codes)), class_="soft") if cause.level != "bad" else None
    return tag("li", kind, said, tag("div", do, why, codes))


def _subjects(cause: Cause) -> Child:
    """All of several, the first of them at once."""
    found = [each for each in cause.subjects if each.name != cause.at]
    if len(found) < 2 and not cause.at:
        return None
    paths = all(os.path.isabs(each.name) for each in found)
    top = common(os.path.dirname(each.name) for each in found) if paths and found else ""
    first = tag("p", [_named(found[:_NAMED], top), f" in {top}" * bool(top and not found[_NAMED:])])
    if not found[_NAMED:]:
        return first
    more = f"and {len(found) - _NAMED} more" + f" in {top}" * bool(top)
    return [first, tag("details", tag("summary", more), tag("p", _named(found[_NAMED:], top)))]


def _named(subjects: list[Subject], top: str) -> Child:
    """Each with what is so of it only; what is so of all is said once."""
    details = {each.detail for each in subjects}
    if len(details) == 1 and subjects[1:]:
        shared = f" ({''.join(details)})" * bool(*details)
        return ", ".join(os.path.relpath(each.name, top) if top else each.name for each in subjects) + shared
    names = (os.path.relpath(each.name, top) if top else each.name for each in subjects)
    said = (name + f" ({each.detail})" * bool(each.detail) for name, each in zip(names, subjects, strict=True))
    return ", ".join(said)


# ---------------------------------------------------------------- what was done


def history(facts: Facts) -> Html:
    """Day by day, and the latest rotations."""
    days = plots.by_day(facts.takes, facts.status.now, DAYS)
    ends = tag("div", tag("span", days[0].date), tag("span", days[-1].date), class_="ends soft small")
    most = max(day.bytes for day in days)
    hint = f"Bytes a day in {DAYS} days, {text.size(most)} at most; a red foot: something failed that day."
    return section("History", plots.columns(days), ends, _latest(facts), hint=hint)


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
    hint = f"The bar changes its colour where less than {_LOW:.0%} and {_TIGHT:.0%} are free."
    return section("File systems", table(columns, [_system(each, facts) for each in found]), hint=hint)


def _system(system: SystemStatus, facts: Facts) -> list[Child]:
    free = system.free / system.total if system.total else 1.0
    kind, word = ("bad", ", nearly full") if free < _TIGHT else ("warn", ", low") if free < _LOW else ("", "")
    said = f"{100 * (1 - free):.0f} %{word}"
    return [
        [tag("span", system.mount, class_="name"), soft(system.type)],
        [tag("span", said, class_="number"), plots.bar(1 - free, kind, (1 - _LOW, 1 - _TIGHT))],
        attention.free(system),
        [
            tag("span", attention.full(system, facts.status.now), class_="bad" if system.full_on else None),
            soft(attention.fillers(system)) if system.full_on is not None else None,
        ],
    ]
