"""logrotate says how it reads a file (``logrotate --debug``), and shows what it does to a tree: import does as much."""

from __future__ import annotations

import glob
import gzip
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logrotor.config import values
from logrotor.logrotate.blocks import parse
from logrotor.logrotate.losses import Consequence
from logrotor.logrotate.mapping import Rule, carry_over
from tests.support import command, mounts
from tests.support.need import need

NAMES = ("a.log", "b.log", "sp ace.log", "c[1].log", "q'.log")


@pytest.fixture(autouse=True)
def _logrotate() -> None:
    need(shutil.which("logrotate"), "logrotate")
    need(os.geteuid() == 0, "root, for logrotate refuses much else")


# ---------------------------------------------------------------- what logrotate reads


@dataclass(frozen=True)
class Read:
    """What logrotate says of a block."""

    logs: tuple[str, ...]
    when: str  # "after 1 days", "1024 bytes"
    count: int | None  # None: all stay
    is_empty_rotated: bool
    least: int | None
    most: int | None
    olddir: str | None
    compressed: bool


def as_logrotate(file: Path) -> list[Read]:
    """Each block as ``logrotate --debug`` describes it."""
    argv = ["logrotate", "--debug", "-s", str(file.with_suffix(".state")), str(file)]
    plain, forced = (command.run(each).stderr for each in (argv, [argv[0], "--force", *argv[1:]]))
    packed = ["compressing log with" in part for part in forced.split("rotating pattern: ")[1:]]
    parts = plain.split("rotating pattern: ")[1:]
    return [_described(part, compressed) for part, compressed in zip(parts, packed, strict=True)]


def _described(part: str, compressed: bool) -> Read:
    head, _, _ = part.partition("considering log ")
    when = re.search(r"(hourly|after 1 days|weekly|monthly|yearly|\d+ bytes) (?:\(|empty log|olddir)", head)
    count = re.search(r"\((\d+) rotations\)", head)
    least, most = (
        re.search(rf"log files >= (\d+) {word}", head) for word in ("bytes are rotated,", "are rotated earl")
    )
    folder = re.search(r"olddir is (.*?), (?:empty|only|log)", head)
    assert when is not None, part
    return Read(
        logs=tuple(re.findall(r"^considering log (.*)$", part, re.MULTILINE)),
        when=when[1],
        count=int(count[1]) if count else 0 if "no old logs will be kept" in head else None,
        is_empty_rotated="empty log files are rotated" in head,
        least=int(least[1]) if least else None,
        most=int(most[1]) if most else None,
        olddir=folder[1] if folder else None,
        compressed=compressed,
    )


# ---------------------------------------------------------------- what import makes of it

WHEN = {"hourly": "hourly", "after 1 days": "daily", "weekly": "weekly", "monthly": "monthly", "yearly": "yearly"}


def size(written: Any) -> int | None:
    return None if written is None else values.size(written)


def agree(read: Read, rule: Rule) -> None:
    """The rule does what logrotate reads; where it keeps more, it says so."""
    keys: dict[str, Any] = dict(rule.keys)
    kept = {loss.word for loss in rule.losses if loss.consequence is Consequence.KEEPS_MORE}
    there = [sorted(glob.glob(path)) or [path] for path in keys["paths"]]
    assert [os.path.realpath(log) for logs in there for log in logs] == list(map(os.path.realpath, read.logs))
    by_size = re.fullmatch(r"(\d+) bytes", read.when)
    least = max(1, int(by_size[1])) if by_size else read.least or None
    if least is not None and read.most and least >= read.most:
        assert (keys.get("schedule"), size(keys["max_size"])) == (None, read.most)
    else:
        assert keys["schedule"] == ("daily" if by_size else WHEN[read.when])
        assert (size(keys.get("min_size")), size(keys.get("max_size"))) == (least, read.most or None)
    if read.count == 0:
        assert keys.get("backup_count", 1) == 1 and kept & {"", "rotate"}
    else:
        assert keys.get("backup_count") == read.count
    if keys.get("method") != "copytruncate":  # which makes no empty archives, and says so
        assert keys.get("rotate_empty", False) == read.is_empty_rotated
    assert keys.get("archive_dir") == read.olddir
    if all(map(os.path.exists, read.logs)):  # with sharedscripts one that is missing keeps the others from it
        assert (keys["compress"] == "gzip" and not keys.get("keep_uncompressed")) == read.compressed


# ---------------------------------------------------------------- configurations of all kinds

FLAGS = (
    "daily", "weekly", "monthly", "yearly", "hourly", "compress", "nocompress", "missingok", "nomissingok", "ifempty",
    "notifempty", "create", "nocreate", "copytruncate", "nocopytruncate", "dateext",
    "nodateext", "sharedscripts", "nosharedscripts", "noolddir",
    "nomail", "create 0640", "create 640 root adm", "create root adm", "su root root", "compres", "dayli 3",
)  # fmt: skip
SCRIPT = """\
postrotate
    if [ -x /bin/true ]; then { echo 'rotate 1 {' "}" > /dev/null; } fi # endscript
    compress endscript
  endscript"""
units = st.sampled_from(["", "k", "M", "G", "K"])
gaps = st.sampled_from([" ", "\t", "=", " = "])
number = st.sampled_from(["0", "1", "3", "7", "12", "100", "017", "0x10"])
statement = st.one_of(
    st.sampled_from(FLAGS),
    st.sampled_from(FLAGS),
    st.builds("{}{}{}".format, st.sampled_from(["rotate", "maxage", "start"]), gaps, number),
    st.builds("{} {}{}".format, st.sampled_from(["size", "minsize", "maxsize"]), number, units),
    st.sampled_from(["rotate -1", "olddir /tmp", SCRIPT, "", "# rotate 5 {", "   # }", "missingok compress"]),
)  # fmt: skip
indented = st.builds("{}{}{}".format, st.sampled_from(["", "  ", "\t"]), statement, st.sampled_from(["", "  ", "\t"]))
lines = st.lists(indented, max_size=8).map("\n".join)


def quoted(name: str, how: int) -> str:
    """A path as somebody may write it."""
    if how % 3 == 0 and '"' not in name:
        return f'"{name}"'
    if how % 3 == 1 and "'" not in name:
        return f"'{name}'"
    return re.sub(r"([\s'\"\\])", r"\\\1", name)


single = st.sampled_from(["*.log", "[ab].lo?", "[[:lower:]].log", "[^a].log", "d/*/e.log", "c\\[1].log", "?.log"])
apart = st.lists(
    st.sampled_from(["a.log", "b.log", "sp ace.log", "missing.log", "q'.log"]), min_size=1, max_size=3, unique=True
)
header = st.one_of(single.map(lambda name: [name]), apart).flatmap(
    lambda names: st.tuples(*(st.tuples(st.just(name), st.integers(0, 2)) for name in names))
)
between = st.sampled_from([" ", "\n", "\n# a comment {\n", "  \n\t"])
opening = st.sampled_from([" {\n", "\n{\n", "{\n", " { "])
block = st.tuples(header, between, opening, lines)


@settings(max_examples=25)
@given(st.lists(st.tuples(lines, block), min_size=1, max_size=3))
def test_read_as_logrotate_reads(written: list[Any]) -> None:
    """Globals and blocks of all shapes: the same logs, count, moment, sizes, folder and compression of each block."""
    _compare(written)


@pytest.mark.long
@settings(max_examples=1000)
@given(st.lists(st.tuples(lines, block), min_size=1, max_size=4))
def test_read_as_logrotate_reads_at_length(written: list[Any]) -> None:
    """The same with many more."""
    _compare(written)


def _compare(written: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = "".join(_text(Path(folder), index, *each) for index, each in enumerate(written))
        file = Path(folder, "logrotate.conf")
        file.write_text(text)
        file.chmod(0o644)
        imported = carry_over(parse(text, str(file)))
        reads = as_logrotate(file)
        assert len(reads) == len(imported.rules), text
        for read, rule in zip(reads, imported.rules, strict=True):
            agree(read, rule)


def _text(folder: Path, index: int, before: str, block: Any) -> str:
    (folder / str(index) / "d" / "f").mkdir(parents=True)
    for name in (*NAMES, "d/f/e.log"):
        (folder / str(index) / name).write_text("x\n" * 10)
    names, gap, opened, inside = block
    heads = gap.join(quoted(f"{folder}/{index}/{name}", how) for name, how in names)
    return f"{before}\n{heads}{opened}{inside}\n}}\n"


# ---------------------------------------------------------------- what both do to a tree

ROUNDS = 4
# Each a configuration with its logs in {logs}, and what it writes beside them in {logs}/../said.
KINDS = {
    "count": "{logs}/*.log {{\n rotate 2\n create\n}}",
    "compress": "{logs}/*.log {{\n rotate 3\n compress\n create 0640\n}}",
    "delaycompress": "{logs}/a.log {logs}/b.log {{\n rotate 3\n compress\n delaycompress\n create\n}}",
    "nocreate": "{logs}/*.log {{\n rotate 2\n nocreate\n missingok\n}}",
    "ifempty": "{logs}/*.log {{\n rotate 5\n ifempty\n create\n}}",
    "notifempty": "{logs}/*.log {{\n rotate 5\n notifempty\n create\n}}",
    "all stay": "{logs}/*.log {{\n rotate -1\n create\n}}",
    "olddir": "{logs}/*.log {{\n rotate 2\n compress\n create\n olddir old\n createolddir\n}}",
    "olddir, absolute": "{logs}/a.log {{\n rotate 2\n create\n olddir {logs}/old\n createolddir\n}}",
    "copytruncate": "{logs}/*.log {{\n rotate 2\n compress\n delaycompress\n copytruncate\n notifempty\n}}",
    "globals": 'rotate 2\ncompress\ncreate\n"{logs}/sp ace.log" {{\n}}\n{logs}/[ab].log {{\n nocompress\n rotate 3\n}}',
    "a command": "{logs}/*.log {{\n rotate 2\n create\n sharedscripts\n postrotate\n"
                 "  [ ! -x {said} ] || {said} once > /dev/null\n endscript\n}}",
    "a command for each": "{logs}/a.log {{\n rotate 2\n compress\n create\n postrotate\n"
                          "  {said} $1 || true\n endscript\n}}",
    "a script": "{logs}/*.log {{\n rotate 2\n create\n sharedscripts\n postrotate\n"
                '  for each in 1 2; do\n   {said} "$each of $1"\n  done\n endscript\n}}',
    "two blocks, one target": "create\nrotate 2\n{logs}/a.log {{\n postrotate\n  {said}\n endscript\n}}\n"
                              "{logs}/b.log {{\n rotate 3\n}}",
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A tree with logs, and a rotator for it."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def conf(self) -> Path:
        return self.folder / "logrotate.conf"

    def lay(self, text: str) -> Site:
        for folder in (self.folder, self.logs):
            folder.mkdir(mode=0o755)
        for name in ("a.log", "b.log", "sp ace.log", "empty.log"):
            (self.logs / name).touch(0o644)
        said = self.folder / "said"
        said.write_text(f'#!/bin/sh\necho "$*" | sed "s,{self.folder},,g" >> {self.folder}/heard\n')
        said.chmod(0o755)
        self.conf.write_text(text.format(logs=self.logs, said=said))
        self.conf.chmod(0o644)
        return self

    def write(self, number: int) -> None:
        for name in ("a.log", "b.log", "sp ace.log"):
            with open(self.logs / name, "a") as file:
                file.write(f"{name} round {number}\n" * 500)

    def seen(self) -> dict[str, Any]:
        """Names, and what each file holds; who was told what."""
        files = sorted(path for path in self.logs.rglob("*") if path.is_file())
        texts = {str(path.relative_to(self.logs)): _text_of(path) for path in files}
        heard = self.folder / "heard"
        return {**texts, "heard": heard.read_text() if heard.exists() else ""}


def _text_of(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def ours(site: Site, *args: str) -> Any:
    """``logrotor ARGS`` with the configuration that import made."""
    return command.logrotor(
        *args, "-c", site.folder / "logrotor.toml", env={"STATE_DIRECTORY": str(site.folder / "state")}
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [0, 2])
def test_the_same_tree(world: Path, kind: str, before: int) -> None:
    """After forced rounds of both: the same names with the same contents, and the same requests.

    ``before``: so many rounds logrotate has made in both trees, before ours took one over.
    """
    need(kind != "copytruncate" or mounts.collapses(world), "a file system that can collapse a range")
    theirs, mine = (Site(world / name).lay(KINDS[kind]) for name in ("theirs", "mine"))
    made = command.logrotor("import", mine.conf, "-o", mine.folder / "logrotor.toml", check=0)
    for number in range(ROUNDS):
        for site in (theirs, mine):
            site.write(number)
        for site in (theirs, mine)[: 2 if number < before else 1]:
            command.run(["logrotate", "--force", "-s", str(site.folder / "status"), str(site.conf)], check=0)
        if number >= before:
            checked, ran = ours(mine, "check"), ours(mine, "run", "--force")
            assert (checked.code, ran.code) == (0, 0), f"{made}\n{checked}\n{ran}"
        assert mine.seen() == theirs.seen(), number


@pytest.mark.long
def test_dates_in_the_names(world: Path) -> None:
    """Other names, as many of them, and as many compressed."""
    text = "{logs}/*.log {{\n rotate 2\n compress\n delaycompress\n create\n notifempty\n dateext\n dateformat -%s\n}}"
    theirs, mine = (Site(world / name).lay(text) for name in ("theirs", "mine"))
    command.logrotor("import", mine.conf, "-o", mine.folder / "logrotor.toml", check=0)
    for number in range(3):
        for site in (theirs, mine):
            site.write(number)
        command.run(["logrotate", "--force", "-s", str(theirs.folder / "status"), str(theirs.conf)], check=0)
        assert ours(mine, "run", "--force").code == 0
        second = int(time.time())
        while time.time() < second + 1.1:  # two archives of one second have one name, and time(2) is a tick behind
            time.sleep(0.01)
    assert [_kind(name) for name in sorted(mine.seen())] == [_kind(name) for name in sorted(theirs.seen())]


def _kind(name: str) -> str:
    return re.sub(r"-\d[\dTZ]+", "-DATE", name)


def test_nothing_is_removed_by_a_default(world: Path) -> None:
    """Where logrotate removes logs since nobody said how many stay, all stay; for ``rotate 0`` the last one."""
    for word, names in (("", {"a.log", "a.log.1", "a.log.2", "a.log.3"}), ("rotate 0", {"a.log", "a.log.1"})):
        theirs, mine = (
            Site(world / f"{name}{len(word)}").lay(f"{{logs}}/a.log {{{{\n create\n {word}\n}}}}") for name in "tm"
        )
        said = command.logrotor("import", mine.conf, "-o", mine.folder / "logrotor.toml", check=0).stderr
        assert "keeps more: " in said
        for number in range(3):
            for site in (theirs, mine):
                site.write(number)
            command.run(["logrotate", "--force", "-s", str(theirs.folder / "status"), str(theirs.conf)], check=0)
            assert ours(mine, "run", "--force").code == 0
        assert [sum(name.startswith("a.log") for name in site.seen()) for site in (theirs, mine)] == [1, len(names)]
        assert names <= mine.seen().keys()


def test_a_star_takes_no_archive_for_a_log(world: Path) -> None:
    """logrotate rotates its own archives again; ours goes on with the row that logrotate has left."""
    theirs, mine = (
        Site(world / name).lay("{logs}/* {{\n rotate 2\n compress\n create\n notifempty\n}}") for name in "tm"
    )
    command.logrotor("import", mine.conf, "-o", mine.folder / "logrotor.toml", check=0)
    (mine.logs / "a.log.1.gz").write_bytes(gzip.compress(b"before\n"))
    for number in range(3):
        assert ours(mine, "check").code == 0
        for site in (theirs, mine):
            site.write(number)
        command.run(["logrotate", "--force", "-s", str(theirs.folder / "status"), str(theirs.conf)])
        assert ours(mine, "run", "--force").code == 0
    assert any(".gz.1" in name for name in theirs.seen())
    assert {name for name in mine.seen() if name.startswith("a.log")} == {"a.log", "a.log.1.gz", "a.log.2.gz"}


# ---------------------------------------------------------------- when both rotate

BLOCKS = (
    "daily", "daily\nnotifempty", "daily\nminsize 1k", "weekly\nmaxsize 1k", "size 1k", "size 1k\nnotifempty", "",
    "monthly", "yearly\nmaxsize 1k\nminsize 4k", "daily\nsize 4k",
)  # fmt: skip
SIZES = {"empty.log": 0, "small.log": 500, "even.log": 1024, "large.log": 3000, "huge.log": 2 << 20}


@pytest.mark.parametrize("days", [0, 1, 400])
def test_due_at_the_same_time(world: Path, days: int) -> None:
    """Rotated today, yesterday or long ago: the same logs are due, of each size and block."""
    text = ""
    for number, inside in enumerate(BLOCKS):
        folder = world / str(number)
        folder.mkdir(mode=0o755)
        for name, length in SIZES.items():
            (folder / name).write_bytes(b"x" * length)
        text += f"{folder}/*.log {{\n{inside}\nrotate 3\n}}\n"
    conf = world / "logrotate.conf"
    conf.write_text(text)
    conf.chmod(0o644)
    then = datetime.now() - timedelta(days=days)
    stamps = [f'"{log}" {then.year}-{then.month}-{then.day}-{then.hour}:0:0\n' for log in world.glob("*/*.log")]
    (world / "status").write_text("".join(["logrotate state -- version 2\n", *stamps]))
    told = command.run(["logrotate", "--debug", "-s", str(world / "status"), str(conf)]).stderr
    theirs = re.findall(r"^considering log (.*)\n(?:  (?!log needs).*\n)*  log needs rotating", told, re.MULTILINE)
    command.logrotor("import", conf, "-o", world / "logrotor.toml")
    at = (datetime.now() + timedelta(days=days, seconds=1)).isoformat(timespec="seconds")
    plan = command.logrotor("plan", "--json", "--at", at, "-c", world / "logrotor.toml",
                            env={"STATE_DIRECTORY": str(world / "state")}, check=0).json  # fmt: skip
    due = {log["path"] for log in plan["logs"] if log["due"]["type"] == "due"}
    by_size = {f"{world}/{number}/{name}" for number in (4, 5, 6, 9) for name in SIZES} if days == 0 else set()
    by_calendar = {f"{world}/{number}/{name}" for number in (3, 7, 8) for name in SIZES} if days == 1 else set()
    # What is due by its size alone, logrotate looks at in each of its runs, which is once a day; a week or a month may
    # begin on one of the two days, and not on the other.
    assert due - by_calendar == set(theirs) - by_size - by_calendar
