"""The page: all facts in it, everything else of the world as text, and how it gets into its place."""

from __future__ import annotations

import os
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from logrotor import load_config, text
from logrotor.disk.publish import PAGE, refuse_other
from logrotor.errors import Refused
from logrotor.model import LogPoint, PastTake
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.page import markup, plots, sections
from logrotor.observe.page.content import Facts, Origin
from logrotor.observe.page.markup import Html, escaped, tag
from logrotor.observe.page.render import render
from logrotor.observe.rotations import Rotation
from tests.observe.test_status import WELL, a_log
from tests.support import command, users
from tests.support.markup import Markup

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
EPOCH = NOW.timestamp()


@pytest.fixture
def page(here, logrotor):
    """Write the page and read it."""

    def read(*more: str) -> Markup:
        file = here.folder / "page.html"
        assert logrotor("page", "-o", file, *more, code=0).out == ""
        return Markup(file.read_text())

    return read


def rotated(here, size: int = 20_000, *, times: int = 3) -> None:
    """One log with a past of so many hours."""
    for hours in range(times, 0, -1):
        here.log(size=size)
        here.run(time.time() - hours * 3600)


# ---------------------------------------------------------------- what it tells


def test_all_facts_are_in_it(here, page, logrotor):
    """Each log with its sizes, rotations and archives; file systems; the doctor's findings; where it comes from."""
    here.configure('create_mode = "0664"')
    rotated(here)
    here.log(size=3200, mode=0o600)
    found = page()
    status = logrotor("status", "--json").json
    (log,) = status["logs"]
    row = next(each for each in found.all("tr") if "app.log" in each.text and "rule app" in each.text)
    rate = f"{text.size(round(log['pace'] * 3600))}/h"
    for fact in (text.size(log["size"]), rate, "10.0 KiB", f"3, {text.size(log['archive_bytes'])}", "(size)"):
        assert fact in row.text, row.text
    assert "app.log.3.zst" in found.text and text.size(status["file_systems"][0]["total"]) in found.text
    assert "logs.modes" in found.text and "chmod 0664" in found.text
    assert str(here.file) in found.text and str(here.state) in found.text


def test_each_rotation_is_in_it(here, page, logrotor):
    """When, why, bytes before and after."""
    rotated(here)
    (rotation,) = logrotor("history", "--json", "-n1").json["runs"][0]["rotations"]
    rows = [each for each in page().all("tr") if rotation["reason"] in each.text]
    assert len(rows) == 3
    assert f"{text.size(rotation['bytes'])} → {text.size(rotation['archive_bytes'])}" in rows[0].text
    moment = datetime.fromisoformat(rotation["time"]).replace(microsecond=0)
    assert text.stamp(moment) in rows[0].text


def test_attention_comes_first(here, page):
    """What passes a threshold stands above all else, and in the title; a quiet page says that it is quiet."""
    here.log(size=640)
    here.run()
    before = int(time.time())
    calm = page()
    assert before <= datetime.fromisoformat(calm.all("time")[0].attributes["datetime"]).timestamp() <= time.time()
    assert calm.all("span", class_="bad") == [] and calm.all("title")[0].text.startswith("All well: 1 log")
    os.utime(here.state / "last-run", (time.time() - 7200,) * 2)
    loud = page()
    assert "no run for 2 h" in loud.all("section")[0].text
    assert loud.all("title")[0].text.startswith("1 problem") and loud.all("span", class_="bad")
    assert loud.all("h1")[0].text.startswith("✕ 1 problem")


def test_a_refused_log_says_why(here, page):
    """Above, with the doctor's reason and advice; where it stands in a word, and its line is open."""
    os.link(here.log(), here.folder / "second-name")
    here.log("well.log", size=320)
    found = page()
    (cause,) = [each for each in found.all("li") if "hard links" in each.text]
    assert "remove the other names" in cause.text and "grows until the disk is full" in cause.text
    lines = {each.text.split("rule")[0]: "open" in each.attributes for each in found.all("details")}
    assert lines == {"app.logrefused": True, "well.log": False}


def test_equal_causes_are_one(here, page, logrotor):
    """Ten logs refused for one reason, by threshold, by failures and by the doctor, are one with ten subjects."""
    for number in range(1, 11):
        os.link(here.log(f"a{number}.log"), here.folder / f"second-{number}")
    for _ in range(3):
        here.run()
    found = page()
    (cause,) = [each for each in found.all("h3") if "hard links" in each.text]
    (subjects, *_) = [each.text for each in found.all("li") if "hard links" in each.text]
    assert [f"a{number}.log" in subjects for number in range(1, 12)] == [True] * 10 + [False]
    assert subjects.index("a2.log") < subjects.index("a10.log") and cause.text.startswith("has 2 hard links")
    assert found.page.count("and rotation sees one") == 1 and found.all("title")[0].text.startswith("1 problem,")


def test_natural_order(here, page, logrotor):
    """a2 before a10, sick ones first: on the page and on a terminal."""
    for number in (10, 2, 1, 11, 3):
        here.log(f"a{number}.log", size=320)
    os.link(here.logs / "a3.log", here.folder / "second")
    os.link(here.logs / "a11.log", here.folder / "other")
    names = [each.text.removesuffix("refused") for each in page().all("summary")]
    assert names == ["a3.log", "a11.log", "a1.log", "a2.log", "a10.log"]
    paths = [os.path.basename(log["path"]) for log in logrotor("status", "--json").json["logs"]]
    assert paths == names


def test_nothing_yet(here, page):
    """A page before the first run, without a log: every section says so."""
    said = page().text
    for words in ("no run is known", "No log exists now", "No rotation is known yet", "None yet"):
        assert words in said


def test_the_largest_archives_first(here, page):
    """Those that are not listed are counted."""
    here.log()
    for number in range(1, 18):
        (here.logs / f"app.log.{number}").write_bytes(b"x" * (number * 100))
    found = page()
    table = next(each for each in found.all("section") if each.text.startswith("Archives by size"))
    named = re.findall(r"app\.log\.(?:1\d|\d)", table.text)
    assert named[:2] == ["app.log.17", "app.log.16"] and len(named) == 15 and "2 smaller ones, 300 B" in table.text


def test_the_queue_is_in_it(here, page, logrotor):
    """Its jobs by their state; a queue that cannot be asked is told, and the page is there."""
    pytest.importorskip("huey")
    here.configure('[queue]\nhost = "h1"')
    assert "No job was ever queued" in page().text
    logrotor("queue", "dispatch", code=0)
    (row,) = [each for each in page().all("tr") if "log-rotation-h1" in each.text]
    assert "host h1, this one" in row.text
    here.configure('[queue]\nurl = "env:NOT_SET"')
    assert "the variable NOT_SET is not set here" in page().text


@pytest.mark.parametrize(("free", "kind", "said"), [
    (150, "", "85 %"), (149, "warn", "85 %, low"), (50, "warn", "95 %, low"), (49, "bad", "95 %, nearly full"),
])  # fmt: skip
def test_a_file_system_changes_its_colour(free: int, kind: str, said: str):
    """At its thresholds, which are ticks on the bar; a word says the same."""
    system = SystemStatus(
        mount="/srv", type="xfs", total=1000, free=free, free_inodes=None, full_on=None, forecast="unknown"
    )
    found = Markup(sections.file_systems(facts_of(file_systems=(system,))))
    (fill,) = [each for each in found.all("rect") if "fill" in each.attributes["class"].split()]
    assert fill.attributes["class"].split()[1:] == [kind] * bool(kind) and len(found.all("rect", class_="tick")) == 2
    assert found.all("span", class_="number")[0].text == said


def test_a_password_stays_where_it_is(here, page):
    """Neither the queue's address nor the message of an engine that cannot be reached shows it."""
    pytest.importorskip("rq")
    here.configure('[queue]\nengine = "rq"\nurl = "redis://:s3cret@127.0.0.1:9/0"')
    found = page()
    assert "127.0.0.1" in found.text and "s3cret" not in found.page


def test_many_healthy_logs_are_behind_one_line(here, page):
    """All of them are there, to be found by the browser's search; the sick one stands in front."""
    for number in range(80):
        here.log(f"{number}.log", size=320)
    os.link(here.logs / "70.log", here.folder / "second")
    found = page()
    outer = next(each for each in found.all("details") if each.text.startswith("79 healthy logs"))
    assert "open" not in outer.attributes and outer.text.count("rule app") == 79
    assert found.all("summary")[0].text == "70.logrefused" and found.page.count("<summary>") == 81


def facts_of(**status) -> Facts:
    """A page of nothing but a status."""
    return Facts(
        origin=Origin("host", "/etc/logrotor.toml", "/var/lib/logrotor", "1"), status=replace(WELL, now=NOW, **status),
        causes=(), concerned=frozenset(), checks=31, rotations=(), by_log={}, samples={}, takes=(), archives=(),
        queues=None,
    )  # fmt: skip


@pytest.mark.long
def test_ten_thousand_logs(here, logrotor, record_property):
    """How long it takes is for the record; the size is not."""
    for number in range(10_000):
        (here.logs / f"a-service-of-some-name-{number}.log").write_bytes(b"x" * (number % 9_000))
    here.run()
    began = time.process_time()
    logrotor("page", "-o", here.folder / "page.html", code=0)
    record_property("seconds", round(time.process_time() - began, 2))
    made = (here.folder / "page.html").read_text()
    assert made.count("<summary>") == 10_001 and len(made.encode()) < 10_000_000


@pytest.mark.long
def test_ten_thousand_logs_with_a_past_are_ten_megabytes():
    """Each with twenty rotations, days of samples and what else a line can have."""
    done = past(*((8640 * n, 10_000_000 + n) for n in range(20, 0, -1)))
    samples = sampled(*((1800 * n, n * 7919 % 10_000_000) for n in range(96, 0, -1)))
    paths = [f"/srv/a-project/storage/logs/some-worker-queue-{number}.log" for number in range(10_000)]
    moment = NOW + timedelta(hours=3)
    more = {"size": 9_876_543, "max_size": 10**7, "pace": 12_345.0, "next_due": moment, "next_due_by": "size",
            "last_rotation": NOW - timedelta(hours=2), "archives": 7, "archive_bytes": 7_654_321,
            "ratio": 8.123}  # fmt: skip
    logs = tuple(a_log(path=path, rule="queue-workers", **more) for path in paths)
    facts = facts_of(logs=logs)
    made = render(replace(facts, by_log=dict.fromkeys(paths, done), samples=dict.fromkeys(paths, samples)))
    assert made.count("class=spark") == 10_000 and len(made.encode()) < 10_000_000


def test_writing_it_changes_nothing_else(here, page):
    """No log directory, no state directory is touched."""
    here.log()
    before = sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*"))
    page()
    (here.folder / "page.html").unlink()
    assert sorted((str(p), p.lstat().st_ctime_ns) for p in here.folder.rglob("*")) == before


# ---------------------------------------------------------------- what it is made of


ODD = [
    "<script>alert(1)<",
    "a \"b\" 'c' & d",
    "new\nline",
    os.fsdecode(b"\xff\xfe"),
    "&lt;b&gt;",
    "\u202egol",
    "\x1b[31m",
]


def test_odd_names_are_text(here, page):
    """No name makes an element, an attribute or a second line."""
    here.configure('create_mode = "0664"', paths='["logs/*.log", "logs/*/*.log"]')
    here.log("plain.log", size=640)
    elements = sorted({each.name for each in page().elements})
    script = here.logs / "<script>alert(1)<"
    script.mkdir()
    (script / "script>.log").write_text("x")  # its path has the whole of <script>alert(1)</script>.log
    for name in ODD:
        here.log(f"{name}.log", size=20_000)
    here.run()
    found = page()
    assert {each.name for each in found.elements} - {*elements} <= {"path"}
    assert "<script>alert(1)</script>.log" in found.text and "<script" not in found.page
    shown = [text.printable(name) for name in ODD]
    assert all(f"{name}.log" in found.text for name in shown) and "\\xff\\xfe.log" in found.text
    assert not set("\x1b\u202e") & set(found.page) and found.page.encode()


def test_it_asks_for_nothing(here, page):
    """No script, no handler, no address outside of the page; its own policy forbids what we might have overlooked."""
    rotated(here)
    found = page()
    assert {each.name for each in found.elements} & {"script", "img", "iframe", "object", "embed", "base"} == set()
    for each in found.elements:
        assert not any(key.startswith("on") or key in ("src", "style", "srcset") for key in each.attributes), each
        assert each.attributes.get("href", "#")[0] == "#" or each.attributes["href"] == "data:,"
    policy = found.elements[[e.attributes.get("http-equiv") for e in found.elements].index("Content-Security-Policy")]
    assert policy.attributes["content"].startswith("default-src 'none'; style-src 'sha256-")
    assert "url(" not in markup.CSS and "@import" not in markup.CSS


def test_ids_and_links_fit(here, page):
    """A link within the page leads to the one element of that id."""
    here.configure('create_mode = "0664"')
    here.log(mode=0o600)
    found = page()
    ids = [each.attributes["id"] for each in found.elements if "id" in each.attributes]
    links = [each.attributes["href"][1:] for each in found.all("a")]
    assert len(ids) == len(set(ids)) and set(links) <= set(ids)


def test_markup_is_made_by_tags_only():
    """A string is text wherever it stands; only what a tag made is markup."""
    assert tag("p", "<b>", [tag("b", "&"), None], title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<b>&amp;</b></p>'
    assert tag("meta", http_equiv="x") == '<meta http-equiv="x">' and isinstance(tag("p"), Html)
    assert escaped("a\nb\udcff") == "a\\nb\\xff"


@given(st.one_of(st.text(), st.binary().map(os.fsdecode)))
def test_any_text_is_text(name: str):
    """As an element and as an attribute it comes out as it is printed, in one element."""
    (found,) = Markup(tag("p", name, title=name)).elements
    assert found.text == found.attributes["title"] == text.printable(name) and tag("p", name).encode()


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [markup.LIGHT, markup.DARK], ids=["light", "dark"])
def test_contrast(theme: str):
    """WCAG 2.1 AA: text 4.5 to 1, what a plot shows 3 to 1, on each ground that it stands on."""
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", theme))
    assert len(colours) == theme.count("--")
    texts = [(ink, ground) for ink in ("ink", "soft", "good", "warn", "bad", "accent") for ground in ("ground", "card")]
    texts += [(kind, f"{kind}-wash") for kind in ("good", "warn", "bad")]
    texts += [("ink", "warn-wash"), ("ink", "bad-wash")]
    assert {pair: _contrast(colours[pair[0]], colours[pair[1]]) for pair in texts if
            _contrast(colours[pair[0]], colours[pair[1]]) < 4.5} == {}  # fmt: skip
    plots = [("accent", "track"), ("accent", "wash"), ("warn", "track"), ("bad", "track"), ("soft", "wash")]
    assert [pair for pair in plots if _contrast(colours[pair[0]], colours[pair[1]]) < 3] == []


# ---------------------------------------------------------------- plots


def past(*points: tuple[float, int | None], status: str = "done") -> list[Rotation]:
    return [Rotation(run=1, time=EPOCH - ago, log="/l", status=status, reason="", bytes=size) for ago, size in points]


def sampled(*points: tuple[float, int | None]) -> list[LogPoint]:
    return [LogPoint(time=EPOCH - ago, size=size, archives=0, grown=None) for ago, size in points]


def drawn(done, live, limit, samples=()) -> str:
    course = plots.course(done, samples, live, EPOCH)
    assert course is not None
    return plots.sparkline("app.log", course, live, limit)


def corners(plot: str) -> list[tuple[float, float]]:
    """Of the line of growth, without its foot, which is below the frame."""
    (line,) = Markup(plot).all("path", class_="growth")
    _, shown = line.attributes["d"].split("L")
    return [(float(x), float(y)) for x, y in re.findall(r"(\d+),(\d+)", shown)]


def test_a_plot_is_told_in_words():
    """For those who cannot see it: how many rotations, how large, since when, and what failed."""
    done = past((300, 1024), (200, 2048), (100, 2048)) + past((50, None), status="failed")
    plot = drawn(done, 512, 4096)
    (title,) = Markup(plot).all("title")
    assert title.text == (
        "app.log: 3 rotations of 1.0 KiB to 2.0 KiB, the first 5 min ago, 1 failed, 512 B since, limit 4.0 KiB"
    )
    (marks,) = Markup(plot).all("path", class_="mark")
    (crosses,) = Markup(plot).all("path", class_="cross")
    assert marks.attributes["d"].count("M") == 3 and crosses.attributes["d"].count("M") == 1


def test_a_plot_goes_up_and_falls_at_each_rotation():
    """Nothing is claimed of the time before the first one."""
    plot = drawn(past((200, 100), (100, 100)), 50, 100)
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners(plot)
    assert x0 < x1 == x2 < x3 and y0 == y2 > y3 > y1
    assert x1 - x0 == pytest.approx(x3 - x2, abs=1)


def test_samples_are_drawn_between_rotations():
    """It grew in the last third only, then was rotated; and a log that was never rotated has its samples."""
    samples = sampled((300, 0), (200, 0), (150, 100))
    points = corners(drawn(past((120, 100)), 0, 200, samples))
    assert points[0][1] == points[1][1] == max(y for _, y in points)  # flat
    assert min(y for _, y in points) == points[2][1] < points[1][1]
    assert points[-1][1] == points[0][1]
    never = drawn([], 50, 200, sampled((300, 10), (200, 40)))
    assert [title.text for title in Markup(never).all("title")] == ["app.log: watched for 5 min, 50 B now, limit 200 B"]
    assert len(corners(never)) == 3


def test_nothing_known_no_plot():
    """Nor one for rotations that all failed, or that the clock has put into the future, or for one sample."""
    for done in ([], past((5, None), status="failed"), past((-100, 5))):
        assert plots.course(done, sampled((5, 1), (-5, 9)), 5, EPOCH) is None


def test_a_coarse_plot_is_small():
    """Two days of samples in a page of thousands: a few hundred bytes."""
    samples = sampled(*((300 * n, n * 7919 % 1000) for n in range(576, 0, -1)))
    done = past(*((8640 * n, 1000) for n in range(20, 0, -1)))
    course = plots.course(done, samples, 5, EPOCH, most=plots.FEW)
    assert course is not None and len(plots.coarse(course, 5, 1000)) < 600
    assert len(drawn(done, 5, 1000, samples)) < 5000


@pytest.mark.parametrize("done", [past((0, 0)), past((1, 10**15), (1, 0)), past(*((n, n) for n in range(99, 0, -1)))])
@pytest.mark.parametrize(("live", "limit"), [(None, None), (0, 0), (10**15, 1)])
def test_a_plot_stays_within_its_frame(done, live, limit):
    """Whatever the numbers are."""
    plot = drawn(done, live, limit)
    assert all(0 <= x <= plots.WIDTH and 0 <= y <= plots.HEIGHT for x, y in corners(plot))
    (marks,) = Markup(plot).all("path", class_="mark")
    assert marks.attributes["d"].count("M") <= plots.TEETH


def test_days_are_those_of_the_page():
    """A rotation belongs to the day that it had in the zone of the page; older ones are not shown."""
    found = past((3600, 5), (3600 * 4, 7), (86400 * 40, 9)) + past((60, None), status="failed")
    days = plots.by_day([PastTake(time=each.time, status=each.status, bytes=each.bytes) for each in found], NOW, 30)
    assert len(days) == 30 and days[0].date == "2026-10-24"
    assert days[-1] == plots.Day("2026-11-22", 1, 1, 5) and days[-2] == plots.Day("2026-11-21", 1, 0, 7)
    titles = [each.text for each in Markup(plots.columns(days)).all("title")]
    assert titles[0].startswith("2 rotations in 30 days, 12 B") and titles[-1] == "2026-11-22: 1 rotated, 5 B, 1 failed"


# ---------------------------------------------------------------- its place


def test_anyone_may_read_it(here):
    """Under any umask; nothing is left beside it."""
    argv = ["sh", "-c", 'umask 077; exec "$@"', "sh", *command.arguments("page", "-c", here.file, "-o", "page.html")]
    command.run(argv, check=0, cwd=here.folder)
    assert (here.folder / "page.html").stat().st_mode & 0o777 == 0o644
    assert [name for name in os.listdir(here.folder) if name.endswith(".tmp")] == []


def test_standard_output(here, logrotor):
    """``-o -`` gives the same page, in UTF-8 whatever the locale is, and writes no file."""
    rotated(here, times=1)
    done = command.logrotor("page", "-c", here.file, "-o", "-", check=0, env={"PYTHONIOENCODING": "ascii"})
    found = Markup(done.stdout)
    assert "→" in found.text and not list(here.folder.glob("*.html"))


def test_what_is_no_page_is_not_replaced(here, logrotor):
    """A slip of the pen destroys no log, no device and no link."""
    log = here.log()
    data = log.read_bytes()
    link, fifo = here.folder / "link.html", here.folder / "fifo"
    link.symlink_to(log)
    os.mkfifo(fifo)
    for place in (log, link, fifo, here.logs, "/dev/null"):
        assert "is not replaced" in logrotor("page", "-o", place, code=1).err, place
    assert log.read_bytes() == data and link.is_symlink() and fifo.is_fifo()
    (here.folder / "empty.html").touch()
    logrotor("page", "-o", here.folder / "empty.html", code=0)
    (here.folder / "second.html").symlink_to("empty.html")
    assert "is not a regular file" in logrotor("page", "-o", here.folder / "second.html", code=1).err
    with pytest.raises(Refused):
        refuse_other(str(log), PAGE)


def test_where_to(here, logrotor):
    """Without -o it goes where [page] says; without that it is a question."""
    assert "where to?" in logrotor("page", code=2).err
    here.configure('[page]\nfile = "web/page.html"')
    assert "web" in logrotor("page", code=1).err
    (here.folder / "web").mkdir()
    logrotor("page", code=0)
    assert Markup((here.folder / "web/page.html").read_text()).all("h1")


@pytest.mark.parametrize("fault", ["nowhere", "no folder", "full", "closed"])
def test_a_place_that_cannot_be_written_is_no_bug(here, logrotor, monkeypatch, fault):
    """It is told what is wrong with it, and what to do."""
    (here.folder / "file").touch()
    place = {"nowhere": "nowhere/x.html", "no folder": "file/x.html"}.get(fault, "x.html")
    if fault == "closed":
        here.folder.chmod(0o755)
        here.state.mkdir()
        shutil.chown(here.state, "www-data")
        said = users.as_user("www-data", logrotor, "page", "-o", here.folder / place)
    else:
        if fault == "full":
            full = OSError(28, "No space left on device")
            monkeypatch.setattr("logrotor.disk.publish.files.write_all", lambda fd, data: (_ for _ in ()).throw(full))
        said = logrotor("page", "-o", here.folder / place)
    assert said.code == 1 and said.err.count("\n") == 1 and "cannot be written" in said.err and "bug" not in said.err
    told = {"nowhere": "nowhere does not exist; create it", "no folder": "Not a directory", "full": "No space left",
            "closed": "as root: chgrp www-data"}  # fmt: skip
    assert told[fault] in said.err


# ---------------------------------------------------------------- after each run


def test_each_run_writes_it(here, logrotor):
    """Also an idle one, silently."""
    here.configure('[page]\nfile = "page.html"')
    here.log()
    for archives in (1, 1):
        said = logrotor("run", code=0)
        assert (said.out, said.err) == ("", "")
        found = Markup((here.folder / "page.html").read_text())
        assert len(re.findall(r"app\.log\.1\.zst", found.text)) == archives


@pytest.mark.parametrize("fault", ["nowhere", "a bug"])
def test_a_page_that_cannot_be_written_fails_the_run(here, logrotor, monkeypatch, fault):
    """It is told, the exit code is 1, and the log is rotated."""
    here.configure(f'[page]\nfile = "{"nowhere/" if fault == "nowhere" else ""}page.html"')
    if fault == "a bug":
        monkeypatch.setattr("logrotor.observe.page.render.render", lambda facts: 1 / 0)
    here.log()
    said = logrotor("run", code=1)
    assert "the page cannot be written" in said.err and (here.logs / "app.log.1.zst").exists()
    assert ("this is a bug" in said.err) == (fault == "a bug")


def test_a_wrong_table_leaves_the_rules_alone(here):
    """What is wrong in [page] is told, and the logs are rotated."""
    for line, said in (
        ("[page]\nfil = 'x'", "did you mean 'file'"),
        ("[page]\nfile = 1", "accepted"),
    ):
        here.configure(line)
        config = load_config(here.file, environ={})
        assert config.page_file is None and said in str(config.problems[0]) and len(config.logs) == 1
    here.configure(head="page = 5")
    assert [problem.key for problem in load_config(here.file, environ={}).problems] == ["page"]


def test_a_run_in_another_directory_finds_its_place(here, tmp_path: Path, monkeypatch):
    """A relative path starts at the configuration."""
    here.configure('[page]\nfile = "page.html"')
    monkeypatch.chdir(tmp_path)
    assert here.config.page_file == str(here.folder / "page.html")
