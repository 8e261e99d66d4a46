"""Put the page together, and into its place."""

from __future__ import annotations

from logrotor import text
from logrotor.disk.publish import GENERATOR, Output
from logrotor.observe.attention import last_run
from logrotor.observe.page import sections
from logrotor.observe.page.content import Facts
from logrotor.observe.page.markup import CSS, POLICY, Child, Html, soft, tag, when

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
        _tiles(facts),
        sections.needs_attention(facts),
        sections.logs(facts),
        sections.activity(facts),
        sections.archives(facts),
        sections.queues(facts),
        sections.file_systems(facts),
        sections.doctor(facts),
        sections.missing(facts),
    ]


# ---------------------------------------------------------------- the top


def _header(facts: Facts) -> Html:
    kind, said = _verdict(facts)
    top = [tag("h1", f"logrotor on {facts.origin.host}"), tag("span", said, class_=f"verdict {kind}")]
    return tag("header", tag("div", top, class_="head"), tag("p", _written(facts), class_="age"))


def _verdict(facts: Facts) -> tuple[str, str]:
    """The worst first: what needs attention, then what the doctor found."""
    if facts.attention:
        return "bad", text.count(len(facts.attention), "issue")
    findings = sum(not found.note for each in facts.examined for found in each.findings)
    return ("warn", text.count(findings, "finding")) if findings else ("good", "All well")


def _written(facts: Facts) -> list[Child]:
    """When this was true."""
    late = ", and true for that moment. Long ago? Then logrotor no longer runs, or this is an old copy."
    return ["Written ", tag("strong", when(facts.status.now)), late]


def _tiles(facts: Facts) -> Html:
    status, done = facts.status, [r for r in facts.rotations if r.status == "done"]
    due = sum(log.due for log in status.logs)
    week = [r for r in facts.takes if r.time > status.now.timestamp() - 7 * 86400]
    failed = sum(r.status == "failed" for r in week)
    stored = sum(each.size for each in facts.archives)
    before, after = (sum(getattr(r, key) for r in done if r.ratio) for key in ("bytes", "archive_bytes"))
    ratio = f"compressed {before / after:.1f}:1" if after else "nothing compressed yet"
    last = when(status.last_run) if status.last_run is not None else "no run is known"
    return tag("dl", [
        _tile("Last run", last_run(status), last),
        _tile("Logs", str(len(status.logs)), f"{due} due"),
        _tile("Rotations in 7 days", str(sum(r.status == "done" for r in week)), f"{failed} failed"),
        _tile("Archives", text.size(stored), ratio),
    ], class_="tiles")  # fmt: skip


def _tile(label: str, value: str, more: Child) -> Html:
    return tag("div", tag("dt", label), tag("dd", tag("div", value, class_="big"), soft(more)), class_="tile")


def _footer(facts: Facts) -> Html:
    origin = facts.origin
    return tag("footer", f"logrotor {origin.version} · configuration {origin.configuration} · state {origin.state_dir}")
