"""The sections about logs and archives."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from logrotor import text
from logrotor.observe import words
from logrotor.observe.history import Rotation
from logrotor.observe.page import plots
from logrotor.observe.page.facts import Facts
from logrotor.observe.page.html import Child, Html, tag
from logrotor.observe.page.parts import NOTHING, Column, section, soft, table, when, when_epoch
from logrotor.observe.status import LogStatus

MOST = 500  # logs, those first that need attention: a page of thousands is no page
_ARCHIVES = 15
_ROTATIONS = 15
_DAYS = 30


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
    return soft(f"{text.count(more, 'more log')} that need it less: logrotor status") if more > 0 else None


def common(directories: Iterable[str]) -> str:
    """The directory that all are in."""
    return os.path.commonpath(list(directories))


def _row(log: LogStatus, top: str, done: Sequence[Rotation], facts: Facts) -> list[Child]:
    now, name = facts.status.now, os.path.relpath(log.path, top)
    plot = plots.sparkline(name, done, log.size, log.max_size, now.timestamp())
    return [
        [tag("div", name, class_="name"), soft(f"rule {log.rule}"), _notes(log)],
        _size(log),
        [tag("div", words.due(log, now), class_="warn" if log.due or log.refused else None), _moment(log)],
        [plot, soft(plots.caption(done, now.timestamp()))] if plot else NOTHING,
        _last(log, facts),
        _stored(log) if log.archives else NOTHING,
    ]


def _notes(log: LogStatus) -> list[Html]:
    return [tag("div", note, class_="note") for note in words.notes(log)]


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
    if log.last_rotation is None:
        return tag("span", "never", class_="soft")
    failed = log.last_outcome if log.last_outcome not in (None, "done") else None
    ago = words.ago(log.last_rotation, facts.status.now)
    return [tag("span", ago, class_="number"), soft(when(log.last_rotation)),
            tag("div", f"then {failed}", class_="note") if failed else None]  # fmt: skip


def _stored(log: LogStatus) -> Child:
    """How many archives, their bytes, how well compressed."""
    ratio = soft(tag("span", f"ratio {log.ratio:.1f}:1", class_="number")) if log.ratio else None
    return [tag("span", f"{log.archives}, {text.size(log.archive_bytes)}", class_="number"), ratio]


# ---------------------------------------------------------------- what was done


def activity(facts: Facts) -> Html:
    """Day by day, and the latest rotations."""
    days = plots.by_day(facts.rotations, facts.status.now, _DAYS)
    ends = tag("div", tag("span", days[0].date), tag("span", days[-1].date), class_="ends soft small")
    most = max(day.bytes for day in days)
    hint = f"Bytes a day in {_DAYS} days, {text.size(most)} at most; a red foot: something failed that day."
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
