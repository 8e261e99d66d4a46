"""One page: every fact in it as text, nothing from elsewhere, fit for a phone; looked at by a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from logrotor.cli import call
from tests.observe.conftest import Deployment
from tests.support.fixtures import world_tree
from tests.support.need import need

# Measures the page in frames of two widths, and what it asked for; the answers stand in its own DOM.
FRAME = """<!doctype html><body><script>
function measure(event) {
  const page = event.target.contentWindow, root = page.document.documentElement;
  document.body.appendChild(document.createElement("pre")).textContent = JSON.stringify({
    inner: page.innerWidth, scroll: root.scrollWidth, text: page.document.body.innerText,
    requests: page.performance.getEntriesByType("resource").map(entry => entry.name),
    scripts: page.document.scripts.length,
  });
}
for (const width of [390, 1440]) {
  const frame = document.createElement("iframe");
  Object.assign(frame, {src: "page.html", width, height: 900, onload: measure, style: "border:0"});
  document.body.appendChild(frame);
}
</script>"""


class Text(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.loads = "", [], []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value for key, value in attributes if key in ("src", "href", "data", "action")]


@pytest.fixture(scope="module")
def here() -> Iterator[Deployment]:
    """A deployment with a past and with something to see to; made once, for the tests only look at it."""
    with world_tree() as folder:
        made = Deployment(folder)
        _fill(made)
        yield made


@pytest.fixture(scope="module")
def page(here: Deployment) -> Path:
    assert call(["-c", str(here.file), "page", "-o", str(here.folder / "page.html")]) == 0
    return here.folder / "page.html"


def _fill(here: Deployment) -> None:
    for hours in (3, 2, 1):
        here.log(size=32_000)
        here.run(time.time() - hours * 3600)
    here.log("<script>alert(1)</script>.log".replace("/", "\u2215"), size=320, mode=0o600)
    os.link(here.log("x" * 120 + ".log", size=320), here.folder / "second-name")
    here.log(size=20_000)
    here.configure('[queue]\nhost = "h1"', paths='["logs/*.log", "logs/gone.log"]')
    assert call(["-c", str(here.file), "queue", "dispatch"]) == 0


def test_every_fact_is_in_it_as_text(page: Path, here):
    """Attention, findings, logs with their numbers, archives by size, queues, file systems, what is missing."""
    found = Text(page.read_text())
    for fact in ("1 due", "Needs attention", "The doctor's findings", "logs.modes", "mode 0600, but create_mode = 0664",
                 "app.log", "19.5 KiB of 10.0 KiB", "now: larger than max_size: 20000 > 10240 bytes", "app.log.3.zst",
                 "3 archives", "3 rotations since", "log-rotation-h1", "pending", "free", f"{here.logs}/gone.log",
                 "unknown", "has 2 hard links"):  # fmt: skip
        assert fact in found.text, fact


def test_it_loads_and_runs_nothing(page: Path):
    """No script, no image, no link: it can be opened anywhere, and a policy forbids the rest."""
    text = page.read_text()
    found = Text(text)
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(found.tags) and found.loads == []
    assert "default-src 'none'" in html.unescape(text) and "url(" not in text and "@import" not in text


def test_a_name_that_is_markup_is_text(page: Path):
    """A log named <script>… is shown as it is named."""
    assert "<script>alert(1)" in Text(page.read_text()).text and "<script" not in page.read_text()


def test_tags_are_balanced(page: Path):
    """What is opened is closed."""
    text = page.read_text()
    for tag in ("section", "article", "dl", "svg", "table", "tr", "td", "ul", "li", "details", "figure", "div", "p"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_it_is_replaced_at_once_and_readable(page: Path, here, logrotor):
    """For a web server that runs as another user; nothing else is left beside it."""
    before = page.read_text()
    with page.open() as reader:
        logrotor("page", "-o", page, code=0)
        assert reader.read() == before
    assert page.stat().st_mode & 0o777 == 0o644 and not [n for n in os.listdir(here.folder) if n.endswith(".tmp")]


def test_to_stdout(here, logrotor):
    """-o - prints it, also for a deployment without any log."""
    assert logrotor("page", "-o", "-", code=0).out.startswith("<!doctype html>")


def test_in_a_browser(page: Path):
    """In headless Chromium: no wider than the window, no request, no message on the console, the name as text."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    need(browser, "chromium")
    frame = page.parent / "frame.html"
    frame.write_text(FRAME)
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom",
            f"--user-data-dir={page.parent}/profile", "--enable-logging=stderr", "--window-size=1500,1000",
            "--virtual-time-budget=2000", frame.as_uri()]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    answers = [json.loads(html.unescape(a)) for a in re.findall(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)]
    assert sorted(answer["inner"] for answer in answers) == [390, 1440]
    for answer in answers:
        assert answer["scroll"] <= answer["inner"] and answer["requests"] == [] and answer["scripts"] == 0
        assert "<script>alert(1)" in answer["text"]
    assert "CONSOLE" not in done.stderr
