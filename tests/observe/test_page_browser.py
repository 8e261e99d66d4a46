"""The page in a real browser: it fits, asks for nothing, complains of nothing, and runs nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.observe.conftest import Deployment, Said
from tests.support import command
from tests.support.browser import Browser, chromium
from tests.support.fixtures import world_tree
from tests.support.markup import Markup

pytestmark = pytest.mark.servers
WIDTHS = (320, 390, 768, 1200, 1440)
TOLD = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening")
LONG = "a-name-without-any-place-to-break-" * 6

# What is wider than its box: the card that it is in, or the window.
STICKING_OUT = """[...document.body.querySelectorAll("*")].filter(e => {
    const box = e.parentElement.closest("td, li, .tile, section, body").getBoundingClientRect();
    return !e.closest("thead") && e.getBoundingClientRect().right > Math.min(box.right, innerWidth) + 0.5;
}).map(e => e.outerHTML.slice(0, 200))"""

# Numbers and heads that stand on more than one line, but for those of the narrow tiles.
BROKEN = """[...document.querySelectorAll(".number, th")]
    .filter(e => !e.closest(".tile") && e.getClientRects().length > 1).map(e => e.outerHTML)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with world_tree() as folder, chromium(folder, env=command.environment()) as found:
        yield found


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """The page of a deployment with a past, with failures, and with names that are not meant well."""
    with world_tree() as folder:
        here = Deployment(folder)
        here.configure('[queue]\nhost = "h1"', paths='["logs/*.log", "logs/*/*.log"]')
        for hours in (3, 2, 1):
            here.log("app.log", size=20_000 * hours)
            here.log("other.log", size=15_000)
            here.run(time.time() - hours * 3600)
        (here.logs / "<script>alert(1)<").mkdir()
        (here.logs / "<script>alert(1)<" / "script>.log").write_text("x")
        for name in (LONG, "a \"b\" 'c'", "new\nline", os.fsdecode(b"\xff")):
            here.log(f"{name}.log", size=20_000, mode=0o600)
        os.link(here.log("app.log", size=40_000), folder / "second-name")
        here.run()
        told = command.logrotor("page", "-c", here.file, "-o", folder / "page.html", check=0)
        assert isinstance(told, command.Result) and Said(told.code, told.stdout, told.stderr).out == ""
        yield folder / "page.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits(browser: Browser, file: Path, width: int, dark: bool):
    """Nothing sticks out of the window; one request, for the file itself; not a word on the console."""
    browser.open(file.as_uri(), width=width, dark=dark)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(STICKING_OUT) == []
    assert browser.value(BROKEN) == [] or width < 380
    assert [each["request"]["url"] for each in browser.named("Network.requestWillBeSent")] == [file.as_uri()]
    assert browser.named(*TOLD) == []
    assert len(browser.picture()) > 20_000


def test_it_is_light_and_dark(browser: Browser, file: Path):
    """As the reader's system is."""
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(file.as_uri(), width=1440)
    light = browser.value(ground)
    browser.open(file.as_uri(), width=1440, dark=True)
    assert (light, browser.value(ground)) == ("rgb(244, 245, 247)", "rgb(16, 20, 24)")


def test_all_is_there_without_scripts(browser: Browser, file: Path):
    """What the browser has in its tree, scripts off, is what the file says; names stay names."""
    browser.open(file.as_uri(), width=390, scripts=False)
    tree = Markup(browser.ask("DOM.getOuterHTML", nodeId=browser.ask("DOM.getDocument")["root"]["nodeId"])["outerHTML"])
    assert tree.text.split() == Markup(file.read_text()).text.split()
    assert "<script>alert(1)</script>.log" in tree.text and f"{LONG}.log" in tree.text
    assert "a \"b\" 'c'.log" in tree.text and "new\\nline.log" in tree.text and "\\xff.log" in tree.text
    assert len(tree.all("svg", class_="spark")) >= 2 and tree.all("script") == []


def test_plots_have_a_name_for_who_cannot_see_them(browser: Browser, file: Path):
    """The accessibility tree has each as an image with its text; bars beside a number are left out of it."""
    browser.open(file.as_uri(), width=1440)
    nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    images = [n["name"]["value"] for n in nodes if n.get("role", {}).get("value") in ("image", "img") and "name" in n]
    assert any(name.startswith("app.log: 3 rotations of ") for name in images), images
    assert any("rotations in 30 days" in name for name in images) and all(images)


def test_cards_are_still_a_table(browser: Browser, file: Path):
    """On a phone too, for who has it read out."""
    browser.open(file.as_uri(), width=390)
    roles = [n.get("role", {}).get("value") for n in browser.ask("Accessibility.getFullAXTree")["nodes"]]
    assert roles.count("table") >= 4 and "columnheader" in roles and "cell" in roles


@pytest.mark.parametrize("policy", [False, True], ids=["unguarded", "guarded"])
def test_the_judge_is_judged(browser: Browser, file: Path, tmp_path: Path, policy: bool):
    """A planted script, request and wide line are seen; and the page's own policy stops the first two."""
    text = file.read_text()
    head = text if policy else text.replace("Content-Security-Policy", "x-nothing")
    planted = tmp_path / "planted.html"
    planted.write_text(head.replace("<main>", (
        "<main><script>console.log(1); document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
        f"<pre>{'x' * 3000}</pre><p style='color: red' id='red'>.</p>"
    )))  # fmt: skip
    browser.open(planted.as_uri(), width=390)
    assert browser.value("document.documentElement.scrollWidth") > 390
    assert (browser.value("document.title") == "ran") is not policy
    assert (browser.value("getComputedStyle(document.querySelector('#red')).color") == "rgb(255, 0, 0)") is not policy
    fetched = {each["requestId"] for each in browser.named("Network.responseReceived")}
    assert len(fetched) <= 1 and browser.named(*TOLD) != []
