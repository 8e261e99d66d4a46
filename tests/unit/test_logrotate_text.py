"""Whatever stands in a file of logrotate's: it is read, and what comes of it is a configuration that can be used."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from logrotor import load_config
from logrotor.logrotate.blocks import WORDS, parse
from logrotor.logrotate.mapping import Imported, Target, carry_over
from logrotor.logrotate.toml_text import written
from logrotor.model import Config

VALUES = (
    "1", "0", "-1", "7", "100k", "99999999999G", "99999999999", "/l/old", "/l/$HOME/{a,b}", "~/old", "-%Y%m%d",
    ".xz",    "/usr/bin/xz", "-9", "0640 root adm", "7777", "0", "root", "off", "", "'", '"x', "'''", "\x07", "\x7f",
    "\udcff", "é",
)  # fmt: skip
PATHS = (
    "/l/a.log", "/l/*.log", '"/l/a b"', "'/l/{x,y}'", "/l/$HOME", "~/a", "a.log", "/l/", "/l/[", "/l/[!]",
    "/l/[[:foo:]]", "/l/**/a", "\\", "/l/\\*", "/l/\x07", "/l/\udcff", "/l/é", "off", "/", "/l/off", '""',
    "/l/a\\\n/l/b",
)  # fmt: skip
SCRIPTS = (
    "kill -HUP $(cat /run/x.pid)",
    "a '''",
    'a "$1" | b',
    "\x07 $(",
    "kill -HUP `cat /run/é.pid`",
    "a $2; \udcff",
)
word = st.sampled_from(sorted(WORDS - {"include"}))
line = st.one_of(
    st.builds("{} {}".format, word, st.sampled_from(VALUES)), word,
    st.sampled_from(["# é\x1b", "}", "{", "", "0", "rotat 5"]),
    st.builds("postrotate\n{}\nendscript".format, st.sampled_from(SCRIPTS)),
)  # fmt: skip
block = st.builds("{} {{\n{}\n}}".format, st.lists(st.sampled_from(PATHS), min_size=1, max_size=3).map(" ".join),
                  st.lists(line, max_size=6).map("\n".join))  # fmt: skip
text = st.lists(st.one_of(line, block, block), max_size=6).map("\n".join)


@settings(max_examples=150)
@given(text)
@example('/l/a {\nolddir "x\ndaily\n}')
@example("/l/a {\nsu off\n}")
@example("/l/a {\nmaxage 99999999999\nrotate 99999999999\nmonthly 99999999999\n}")
@example("/l/a {\nminsize 99999999999G\nmaxsize 99999999999G\nminutes 99999999999\n}")
@example("/l/a {\nsu '\n}")
def test_it_becomes_a_configuration(given: str) -> None:
    """TOML, without a problem, with a rule for each block."""
    imported = carry_over(parse(given, "/etc/logrotate.d/é\udcff\n"))
    made = written(imported, lambda target: (["/bin/sh", "-c", target.script], "here"))
    rules = [rule for rule in imported.rules if not rule.left_out]
    table = tomllib.loads(made)
    assert [rule["name"] for rule in table.get("log", [])] == [rule.keys["name"] for rule in rules]
    scripts = {rule.target.name: rule.target.script for rule in rules if rule.target and rule.target.script}
    assert {name: table["reopen"][name]["command"][2] for name in scripts} == {
        name: "".join("?" if "\udc80" <= c <= "\udcff" else c for c in script) for name, script in scripts.items()
    }
    if rules:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "logrotor.toml")
            file.write_text(made)
            config = load_config(file, environ={"STATE_DIRECTORY": folder, "HOME": folder}, euid=12345)
        assert config.problems == () and len(config.logs) == len(rules)
        direct = _without_toml(imported)
        assert direct.problems == () and [each.name for each in direct.logs] == [each.name for each in config.logs]


def _without_toml(imported: Imported) -> Config:
    """The keys are those of a configuration, also where no file lies between."""
    rules = [rule for rule in imported.rules if not rule.left_out]
    targets = {rule.target.name: dict(rule.target.keys) for rule in rules if rule.target}
    for rule in rules:
        if rule.target and rule.target.script:
            targets[rule.target.name]["command"] = ["/bin/sh", "-c", rule.target.script]
    return load_config(
        {"state_dir": "/s", "log": [rule.keys for rule in rules], "reopen": targets}, environ={"HOME": "/h"}, euid=12345
    )


@settings(max_examples=150)
@given(st.text(st.sampled_from("/l\"'\\{}#\n\t =a~$*[]-0\0"), max_size=40))
def test_any_text_is_read(given: str) -> None:
    """To its end, and the paths are those of its blocks."""
    imported = carry_over(parse(given + "\n/l/last {\ndaily\n}\n"))
    assert isinstance(written(imported, _as_it_is), str)


def _as_it_is(target: Target) -> tuple[list[str], str]:
    return [target.script], ""
