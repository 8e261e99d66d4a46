"""The page: one HTML document without scripts or anything from elsewhere; every fact stands in it as text."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from logrotor.cli import text
from logrotor.cli.page_plot import Growth, bar, growth
from logrotor.cli.page_style import STYLE
from logrotor.model import Finding
from logrotor.observe.history import Rotation
from logrotor.observe.status import LogStatus, Status, SystemStatus

# Nothing may be fetched or run, whatever a file name tries.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MOST_ARCHIVES = 25
_MOST_ROTATIONS = 60  # in a plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the page shows."""

    host: str
    status: Status
    attention: Sequence[str]
    rotations: Mapping[str, Sequence[Rotation]]  # by log, oldest first
    archives: Sequence[tuple[str, int]]  # path and bytes
    queues: Sequence[Mapping[str, object]]  # one row each; empty without a queue
    findings: Sequence[tuple[str, Finding]]  # the id of the check, and what it found


def document(facts: Facts) -> str:
    """The whole page."""
    title = f"logrotor on {facts.host}"
    parts = [
        _head(facts, title),
        _attention(facts.attention),
        _findings(facts.findings),
        _logs(facts),
        _archives(facts.archives),
        _queues(facts.queues),
        _systems(facts.status.file_systems, facts.status.now),
        _missing(facts.status.missing),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_t(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        + "\n".join(filter(None, parts))
        + "\n</body>\n</html>\n"
    )


def _t(value: object) -> str:
    """Text for HTML: nothing in it can be markup or act on the reader."""
    return html.escape(text.printable(str(value)))


def _head(facts: Facts, title: str) -> str:
    found = facts.status
    verdict = f"{len(facts.attention)} to see to" if facts.attention else "all well"
    kind = "bad" if facts.attention else "good"
    counts = f"{text.count(len(found.logs), 'log')}, {sum(log.due for log in found.logs)} due"
    last = "never" if found.last_run is None else text.moment(found.last_run.replace(microsecond=0), found.now)
    when = text.stamp(found.now.replace(microsecond=0))
    return (
        f'<header><h1>{_t(title)} <span class="{kind}">{_t(verdict)}</span></h1>'
        f"<p>{_t(when)}. {_t(counts)}. Last run {_t(last)}.</p></header>"
    )


def _section(name: str, body: str) -> str:
    return f"<section><h2>{_t(name)}</h2>\n{body}</section>" if body else ""


def _attention(told: Iterable[str]) -> str:
    items = "".join(f"<li>{_t(each)}</li>" for each in told)
    return _section("Needs attention", f'<ul class="attention">{items}</ul>' if items else "")


def _findings(found: Iterable[tuple[str, Finding]]) -> str:
    items = "".join(
        f"<details><summary><b>{_t(check)}</b> {_t(finding.subject)}: {_t(finding.problem)}</summary>"
        f"<p>Why it matters: {_t(finding.why)}.</p><p>What to do: {_t(finding.advice)}</p></details>"
        for check, finding in found
    )
    return _section("The doctor's findings", items)


# ---------------------------------------------------------------- logs


def _logs(facts: Facts) -> str:
    now, logs = facts.status.now, facts.status.logs
    top = os.path.commonpath([os.path.dirname(log.path) for log in logs]) if logs else ""
    cards = "\n".join(_log(log, os.path.relpath(log.path, top), facts.rotations.get(log.path, ()), now) for log in logs)
    return _section(f"Logs in {top}", f'<div class="cards">\n{cards}\n</div>\n' if cards else "")


def _log(log: LogStatus, name: str, done: Sequence[Rotation], now: datetime) -> str:
    rows = "".join(f"<dt>{_t(key)}</dt><dd>{_t(value)}</dd>" for key, value in _rows(log, now))
    share = (log.size or 0) / log.max_size if log.max_size else 0.0
    notes = "".join(f'<p class="note">{_t(note)}</p>' for note in _notes(log))
    filled = bar(share, alarming=log.due) if log.max_size else ""
    return f"<article><h3>{_t(name)}</h3>{notes}{filled}<dl>{rows}</dl>{_plot(log, done, now)}</article>"


def _rows(log: LogStatus, now: datetime) -> Iterator[tuple[str, str]]:
    limit = f" of {text.size(log.max_size)}" if log.max_size else ""
    yield "size", "missing" if log.size is None else text.size(log.size) + limit
    if log.schedule:
        yield "schedule", log.schedule
    yield "due", _due(log, now)
    last = "never" if log.last_rotation is None else text.moment(log.last_rotation.replace(microsecond=0), now)
    yield "last rotation", last + (f", then {log.last_outcome}" if log.last_outcome not in (None, "done") else "")
    ratio = f", {log.ratio:.1f}:1" if log.ratio else ""
    yield "archives", f"{log.archives}, {text.size(log.archive_bytes)}{ratio}" if log.archives else "none"
    yield "rule", log.rule


def _due(log: LogStatus, now: datetime) -> str:
    if log.refused:
        return "refused"
    if log.due:
        return f"now: {log.reason}"
    if log.next_due is None:
        return "unknown" if log.size else "when written"
    return f"{text.moment(log.next_due.replace(microsecond=0), now)} by {log.next_due_by}"


def _notes(log: LogStatus) -> Iterator[str]:
    if log.refused:
        yield log.refused
    if log.failures:
        yield f"failed in {text.count(log.failures, 'run')} in a row"
    if log.request_failed:
        yield "the last request to reopen it failed"
    for each in log.pending:
        yield f"{each.name}: {each.reason}"


def _plot(log: LogStatus, done: Sequence[Rotation], now: datetime) -> str:
    points = [(r.time, r.bytes) for r in done if r.status == "done" and r.bytes is not None][-_MOST_ROTATIONS:]
    if not points:
        return ""
    since = datetime.fromtimestamp(points[0][0], now.tzinfo).date()
    dotted = "; dotted: max_size" if log.max_size else ""
    told = _t(f"size over time: {text.count(len(points), 'rotation')} since {since}{dotted}")
    plot = growth(Growth(points, log.size or 0, now.timestamp(), log.max_size), told)
    return f"<figure>{plot}<figcaption>{told}</figcaption></figure>"


# ---------------------------------------------------------------- the rest


def _archives(found: Sequence[tuple[str, int]]) -> str:
    largest = sorted(found, key=lambda each: (-each[1], each[0]))
    most = largest[0][1] or 1 if largest else 1
    rows = "".join(
        f"<tr><td>{_t(os.path.basename(path))}</td><td class='number'>{_t(text.size(size))}</td>"
        f"<td class='wide'>{bar(size / most)}</td></tr>"
        for path, size in largest[:_MOST_ARCHIVES]
    )
    more = len(largest) - _MOST_ARCHIVES
    rest = f"<p>{_t(text.count(more, 'smaller archive'))} besides.</p>" if more > 0 else ""
    total = _t(f"{text.count(len(largest), 'archive')}, {text.size(sum(size for _, size in largest))}")
    return _section("Archives by size", f"<p>{total}</p><table>{rows}</table>{rest}" if rows else "")


def _queues(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_t(key)}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_t('-' if value is None else value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return _section("Queues", f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>')


def _systems(found: Iterable[SystemStatus], now: datetime) -> str:
    return _section("File systems", "".join(_system(system, now) for system in found))


def _system(system: SystemStatus, now: datetime) -> str:
    used = 1 - system.free / system.total if system.total else 0.0
    words = {"unknown": "when it will be full is unknown", "never": "not filled by these logs"}
    full = (
        f"full {text.moment(system.full_on.replace(microsecond=0), now)}" if system.full_on else words[system.forecast]
    )
    inodes = "" if system.free_inodes is None else f", {system.free_inodes} inodes free"
    told = f"{text.size(system.free)} of {text.size(system.total)} free{inodes}; {full}"
    return f"<p><b>{_t(system.mount)}</b> ({_t(system.type)}): {_t(told)}</p>{bar(used, alarming=used > 0.9)}"


def _missing(paths: Sequence[str]) -> str:
    items = "".join(f"<li>{_t(path)}</li>" for path in paths)
    return _section("Missing, which is fine", f"<ul>{items}</ul>" if items else "")
