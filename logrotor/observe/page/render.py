"""Put the page together, and into its place."""

from __future__ import annotations

from logrotor import text
from logrotor.disk.publish import GENERATOR, Output
from logrotor.observe.attention import last_run
from logrotor.observe.page import sections
from logrotor.observe.page.content import Facts
from logrotor.observe.page.markup import CSS, POLICY, Child, Html, mark, tag, when
from logrotor.observe.page.table import logs

MODE = 0o644  # a web server runs as a user of its own


def write(output: Output, facts: Facts) -> None:
    """Replace the page: readers find the old one or the new one. Raises LogrotorError or OSError."""
    output.write(render(facts).encode(), MODE)


def render(facts: Facts) -> str:
    """The page, UTF-8 when encoded; all text in it is escaped."""
    body = tag("body", _header(facts), tag("main", _sections(facts)), _footer(facts))
    return f"<!doctype html>\n{tag('html', _head(facts), body, lang='en')}\n"


def _head(facts: Facts) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="generator", content=f"{GENERATOR} {facts.origin.version}"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),  # else a browser asks a server for one
        tag("title", f"{_verdict(facts)[1]} · logrotor on {facts.origin.host}"),
        tag("style", Html(CSS)),
    )


def _sections(facts: Facts) -> list[Child]:
    return [
        sections.problems(facts),
        logs(facts),
        sections.file_systems(facts),
        sections.queues(facts),
        sections.archives(facts),
        sections.history(facts),
    ]


# ---------------------------------------------------------------- the top


def _header(facts: Facts) -> Html:
    kind, said = _verdict(facts)
    top = tag("h1", mark(kind), " ", said, tag("span", f" on {facts.origin.host}", class_="soft"), class_=kind)
    return tag("header", top, tag("p", _standing(facts), class_="soft"))


def _verdict(facts: Facts) -> tuple[str, str]:
    """How it stands, in one line: what needs attention first, then what the doctor found."""
    logs = text.count(len(facts.status.logs), "log")
    sick = sum(log.path in facts.concerned for log in facts.status.logs)
    concerned = f", {sick} of {logs} concerned" if sick else ""
    problems, findings = facts.count("bad"), facts.count("warn")
    told = [text.count(problems, "problem")] * bool(problems) + [text.count(findings, "finding")] * bool(findings)
    if not told:
        return "good", f"All well: {logs}"
    return "bad" if problems else "warn", " and ".join(told) + concerned


def _standing(facts: Facts) -> list[Child]:
    """When this was true, and what was done lately."""
    status = facts.status
    due = sum(log.due for log in status.logs)
    week = [take for take in facts.takes if take.time > status.now.timestamp() - 7 * 86400]
    done, failed = (sum(take.status == end for take in week) for end in ("done", "failed"))
    late = " An old page means that logrotor no longer runs."
    return [
        f"Last run {last_run(status)}, {due} due, {text.count(done, 'rotation')} in 7 days, {failed} failed. Written ",
        when(status.now), f".{late}",
    ]  # fmt: skip


def _footer(facts: Facts) -> Html:
    origin = facts.origin
    return tag("footer", f"logrotor {origin.version} · configuration {origin.configuration} · state {origin.state_dir}")
