"""The page in a real browser: it fits, asks for nothing, complains of nothing, and runs nothing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from itertools import pairwise
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

# What is wider than its box: the card that it is in, or the window. What a line of the table unfolds may be as wide as
# the table.
STICKING_OUT = """[...document.body.querySelectorAll("*")].filter(e => {
    const around = e.closest(".logs p") ? "table" : "td, li, section, body";
    const box = e.parentElement.closest(around).getBoundingClientRect();
    return !e.closest("thead, svg") && e.getBoundingClientRect().right > Math.min(box.right, innerWidth) + 0.5;
}).map(e => e.outerHTML.slice(0, 200))"""

# Numbers and heads that stand on more than one line.
BROKEN = """[...document.querySelectorAll(".number, th")]
    .filter(e => e.getClientRects().length > 1).map(e => e.outerHTML)"""
ODD = (LONG, "a \"b\" 'c'", "new\nline", os.fsdecode(b"\xff"), "\u202egol", "\x1b[31m", "</td></table><b>")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with world_tree() as folder, chromium(folder, env=command.environment()) as found:
        yield found


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """The page of a deployment with a past, with failures, and with names that are not meant well."""
    with world_tree() as folder:
        here = Deployment(folder)
        here.configure(
            'create_mode = "0664"\n[queue]\nhost = "h1"', paths='["logs/*.log", "logs/*/*.log", "logs/*/*/*.log"]'
        )
        for hours in (3, 2, 1):
            here.log("app.log", size=20_000 * hours)
            here.log("other.log", size=15_000)
            here.run(time.time() - hours * 3600)
        (here.logs / "<script>alert(1)<").mkdir()
        (here.logs / "<script>alert(1)<" / "script>.log").write_text("x")
        for name in ODD:
            if "/" in name:
                (here.logs / name).parent.mkdir(parents=True, exist_ok=True)
            here.log(f"{name}.log", size=20_000, mode=0o600)
        os.link(here.log("app.log", size=40_000), folder / "second-name")
        here.run()
        for name in ODD:
            (here.logs / f"{name}.log").chmod(0o600)
        told = command.logrotor("page", "-c", here.file, "-o", folder / "page.html", check=0)
        assert isinstance(told, command.Result) and Said(told.code, told.stdout, told.stderr).out == ""
        yield folder / "page.html"


@pytest.fixture(scope="module")
def thirty() -> Iterator[Path]:
    """The page of thirty logs of which three are sick, for two reasons."""
    with world_tree() as folder:
        here = Deployment(folder)
        here.configure('create_mode = "0664"')
        names = [f"{name}{number}.log" for name in ("a", "b", "c") for number in range(1, 11)]
        for hours in (2, 1):
            for name in names:
                here.log(name, size=20_000)
            here.run(time.time() - hours * 3600)
        for name in names:
            here.log(name, size=3200)
        os.link(here.logs / "a2.log", folder / "second")
        os.link(here.logs / "a10.log", folder / "another")
        (here.logs / "b3.log").chmod(0o600)
        here.run()
        command.logrotor("page", "-c", here.file, "-o", folder / "page.html", check=0)
        yield folder / "page.html"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "most"), [(1440, 900), (390, 2 * 844)])
def test_what_needs_a_person_is_on_the_first_screen(browser: Browser, thirty: Path, width: int, most: int, dark: bool):
    """The verdict and each cause with its advice; on a phone within two screens. On a desk the sick logs too."""
    browser.open(thirty.as_uri(), width=width, dark=dark)
    end = "document.querySelector('main > section').getBoundingClientRect().bottom"
    assert browser.value("document.querySelectorAll('.causes > li').length") == 2 and 0 < browser.value(end) < most
    sick = "[...document.querySelectorAll('details[open]')].map(e => [e.closest('tr').getBoundingClientRect().bottom])"
    assert len(found := browser.value(sick)) == 3 and (width < 1440 or max(found)[0] < most)


def test_a_healthy_log_is_one_line(browser: Browser, thirty: Path):
    """And what it folds away opens with the keyboard, and is found by a search."""
    browser.open(thirty.as_uri(), width=1440)
    high = "[...document.querySelectorAll('.logs tbody tr')].map(e => e.getBoundingClientRect().height)"
    assert max(browser.value(high)[3:]) < 40
    browser.value("document.querySelectorAll('.logs summary')[5].focus()")
    for kind in ("keyDown", "keyUp"):
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        browser.ask("Input.dispatchKeyEvent", type=kind, **key)
    assert browser.value("document.querySelectorAll('.logs details')[5].open") is True
    assert browser.value("window.find('c10.log')") is True and browser.value("window.find('c11.log')") is False


def test_what_is_folded_together_is_found(browser: Browser, tmp_path: Path):
    """The browser's search goes into what is closed."""
    with world_tree() as folder:
        here = Deployment(folder)
        for number in range(70):
            here.log(f"{number}.log", size=320)
        command.logrotor("page", "-c", here.file, "-o", folder / "page.html", check=0)
        browser.open((folder / "page.html").as_uri(), width=1440)
    assert browser.value("document.querySelector('section > details').open") is False
    assert browser.value("window.find('69.log')") is True and browser.value("window.find('70.log')") is False


CONTRASTS = """[...document.querySelectorAll("body *")].filter(e => [...e.childNodes].some(n => n.nodeType == 3 &&
    n.data.trim()) && e.getClientRects().length && !e.closest("svg")).map(e => {
        let b = e; while (getComputedStyle(b).backgroundColor == "rgba(0, 0, 0, 0)") b = b.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor, e.outerHTML.slice(0, 90)];
    })"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_each_text_can_be_read(browser: Browser, file: Path, dark: bool):
    """WCAG AA, 4.5 to 1, as the browser has the colours of each text and of what is behind it."""
    browser.open(file.as_uri(), width=1440, dark=dark)
    found = browser.value(CONTRASTS)
    assert len(found) > 50 and [each for each in found if _contrast(each[0], each[1]) < 4.5] == []


def _contrast(one: str, other: str) -> float:
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_headings_go_down_step_by_step(browser: Browser, file: Path):
    """One h1, no level left out; each head of a table says what it is the head of."""
    browser.open(file.as_uri(), width=1440)
    levels = [int(name[1]) for name in browser.value("[...document.querySelectorAll('h1,h2,h3')].map(e => e.tagName)")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert browser.value("[...document.querySelectorAll('th')].every(e => e.scope == 'col')") is True


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
    assert "</td></table><b>.log" in tree.text and "\\u202egol.log" in tree.text and "\\x1b[31m.log" in tree.text
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
