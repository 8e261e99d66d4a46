"""The sections about what stands around the logs: attention, queues, file systems, the doctor's findings."""

from __future__ import annotations

from collections.abc import Iterable

from logrotor import text
from logrotor.model import Finding
from logrotor.observe import words
from logrotor.observe.page import plots
from logrotor.observe.page.facts import Facts, Queue
from logrotor.observe.page.html import Child, Html, paragraphs, tag
from logrotor.observe.page.parts import Column, dash, section, soft, table, when
from logrotor.observe.status import SystemStatus

_TIGHT, _LOW = 0.05, 0.15  # shares of a file system that are free


def attention(facts: Facts) -> Html:
    """What passes a threshold; said also if nothing does."""
    nothing = "Nothing: runs come, no log is overdue, no failure repeats itself, no file system fills up."
    told = [tag("li", paragraphs(each), class_="bad") for each in facts.told]
    findings = sum(len(each.findings) for each in facts.examined)
    if findings:
        link = tag("a", f"The doctor has {text.count(findings, 'finding')}", href="#doctor")
        told.append(tag("li", link, " that may become a trouble.", class_="warn"))
    return section("Needs attention", tag("ul", told, class_="list") if told else tag("p", nothing, class_="good"))


# ---------------------------------------------------------------- queues


def queues(facts: Facts) -> Html | None:
    """The rotation as a job; nothing where there is no queue."""
    found = facts.queues
    if found is None:
        return None
    if found.problem is not None:
        return section("Queues", tag("p", paragraphs(found.problem), class_="bad"), hint=found.engine)
    numbers = ("Pending", "At work", "Scheduled", "Failed", "Stuck", "Oldest waits")
    columns = [Column("Queue", "lead"), *(Column(head, "right") for head in numbers)]
    rows = [_queue(queue) for queue in found.rows]
    body = table(columns, rows) if rows else tag("p", "No job was ever queued.")
    return section("Queues", body, soft(found.attempts) if found.attempts else None, hint=found.engine)


def _queue(queue: Queue) -> list[Child]:
    name = [tag("span", queue.name, class_="name"), soft(f"host {queue.host}{', this one' if queue.is_ours else ''}")]
    oldest = "-" if queue.oldest is None else text.span(queue.oldest)
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
        words.free(system),
        tag("span", words.full(system, facts.status.now), class_="bad" if system.full_on else None),
    ]


# ---------------------------------------------------------------- the doctor


def doctor(facts: Facts) -> Html:
    """What the checks found when the page was written."""
    made = text.count(len(facts.examined), "check")
    hint = (f"{made}, made at ", when(facts.status.now), "; logrotor doctor --fix mends what is safe to mend.")
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
