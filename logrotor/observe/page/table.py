"""The table of logs: one line each, with its plot; what more there is to say of one is folded behind its name.

There may be ten thousand of them: a line is one template, and the plots get coarser as the logs get more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime

from logrotor import text
from logrotor.observe import attention
from logrotor.observe.page import plots
from logrotor.observe.page.content import Facts
from logrotor.observe.page.markup import Child, Column, Html, filled, head, section, tag
from logrotor.observe.status import LogStatus

FOLDED = 60  # healthy logs from which on they are behind one line together
_FINE = 1000  # logs of which each plot is drawn in all its points
_COLUMNS = (Column("Log", "lead"), Column("Size over time"), Column("Size", "right"), Column("Rate", "right"),
            Column("Due"), Column("Last rotation"), Column("Archives", "right"))  # fmt: skip
_LINE = (
    "<tr role=row><td role=cell><details{open}><summary>{name}{state}</summary><p>{more}</p></details></td>"
    "<td role=cell>{plot}</td><td role=cell>{size}</td><td role=cell>{rate}</td><td role=cell>{due}</td>"
    "<td role=cell>{last}</td><td role=cell>{archives}</td></tr>"
)


def logs(facts: Facts) -> Html:
    """Sick ones first and open, then the others; each in natural order."""
    found = facts.status.logs
    if not found:
        return section("Logs", tag("p", "No log exists now that the configuration names."), _missing(facts))
    top = common(os.path.dirname(log.path) for log in found)
    sick = [log for log in found if is_sick(log, facts)]
    well = sorted((log for log in found if not is_sick(log, facts)), key=lambda log: text.natural(log.path))
    hint = ("In ", tag("code", top), ". In a plot: dots are rotations, crosses failed ones, dashes the limit.")
    if len(well) <= FOLDED:
        shown: Child = _table([*sick, *well], top, facts)
    else:
        summary = tag("summary", text.count(len(well), "healthy log"))
        shown = [_table(sick, top, facts) if sick else None, tag("details", summary, _table(well, top, facts))]
    return section("Logs", shown, _missing(facts), hint=hint)


def is_sick(log: LogStatus, facts: Facts) -> bool:
    """Whether it needs a person."""
    return log.path in facts.concerned or bool(log.refused or log.failures or log.request_failed)


def common(directories: Iterable[str]) -> str:
    """The directory that all are in."""
    return os.path.commonpath(list(directories))


def _table(found: Sequence[LogStatus], top: str, facts: Facts) -> Html:
    below = top.rstrip("/") + "/"
    lines = Html("".join(_line(log, log.path.removeprefix(below), facts) for log in found))
    return tag("table", head(_COLUMNS), tag("tbody", lines, role="rowgroup"), role="table", class_="logs")


def _line(log: LogStatus, name: str, facts: Facts) -> Html:
    now, sick, many = facts.status.now, is_sick(log, facts), len(facts.status.logs) > _FINE
    done, samples = facts.by_log.get(log.path, ()), facts.samples.get(log.path, ())
    if many:
        course = plots.course(done, samples, log.size, now.timestamp(), most=plots.FEW)
        plot = plots.coarse(course, log.size, log.max_size) if course else None
    else:
        course = plots.course(done, samples, log.size, now.timestamp())
        plot = plots.sparkline(name, course, log.size, log.max_size) if course else None
    state = attention.state(log)
    return filled(
        _LINE,
        open=Html(" open" if sick else ""),
        name=name,
        state=tag("b", state or "see above", class_="bad") if sick else state and tag("i", state),
        more=_more(log, course.caption if course and not many else ""),
        plot=plot,
        size="missing" if log.size is None else text.size(log.size),
        rate=attention.rate(log),
        due=attention.due(log, now),
        last=attention.ago(log.last_rotation, now, known=log.known),
        archives=f"{log.archives}, {text.size(log.archive_bytes)}" if log.archives else "-",
    )


def _more(log: LogStatus, caption: str) -> str:
    """What the line has no room for."""
    used = f" ({100 * (log.size or 0) // log.max_size} % used)" if log.max_size else ""
    said = [f"rule {log.rule}", f"max_size {text.size(log.max_size)}{used}" if log.max_size else ""]
    said.append(f"schedule {log.schedule}" if log.schedule else "")
    if log.due:
        said.append(f"due: {log.reason}")
    elif log.next_due is not None and not log.refused:
        said.append(f"due {_moment(log.next_due)}")
    if log.last_rotation is not None:
        said.append(f"rotated {_moment(log.last_rotation)}")
    said.append(caption)
    said.append("" if log.ratio is None else f"ratio {log.ratio:.1f}:1")
    return "; ".join(filter(None, (*said, *(f"{each.name}: {each.reason}" for each in log.pending[:3]))))


def _moment(moment: datetime) -> str:
    return text.stamp(moment.replace(microsecond=0))


def _missing(facts: Facts) -> Html | None:
    """Configured logs that do not exist, which is fine."""
    paths = facts.status.missing
    if not paths:
        return None
    items = [tag("div", tag("code", path)) for path in paths]
    return tag("details", tag("summary", f"{text.count(len(paths), 'configured log')} missing, which is fine"), items)
