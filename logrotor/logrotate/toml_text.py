"""Write what was carried over as a configuration of ours: a table for each block, its comments, and what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from logrotor.logrotate.blocks import SCRIPTS
from logrotor.logrotate.losses import Loss
from logrotor.logrotate.mapping import Imported, Rule, Target
from logrotor.text import printable

Named = Callable[[Target], tuple[list[str], str]]  # the command that runs a script, and what is to be said of it


def written(imported: Imported, named: Named) -> str:
    """The configuration. ``named`` says how each script is run."""
    head = ["# Made by logrotor import from", *(f"#   {printable(file)}" for file in imported.files)]
    head += ["", f"run_as = {_string(imported.run_as)}"] if imported.run_as else []
    head += [line for loss in imported.losses for line in _comment(f"{_place(loss)}: {sentence(loss)}")]
    return "\n".join([*head, *("\n".join(["", *_rule(rule, named)]) for rule in imported.rules)]) + "\n"


def sentence(loss: Loss) -> str:
    """``keeps less: mail root: mails what is removed``."""
    value = "" if loss.word in SCRIPTS else loss.value
    directive = " ".join(filter(None, (loss.word, value)))
    what = f"{directive}: {loss.what}" if directive else loss.what
    return f"{loss.consequence}: {what}" + (f"; {loss.advice}" if loss.advice else "")


def _place(loss: Loss) -> str:
    return f"{loss.file}:{loss.line}"


def _rule(rule: Rule, named: Named) -> Iterator[str]:
    yield f"# {printable(rule.file)}:{rule.line}"
    for comment in rule.comments:
        yield from _comment(comment)
    for loss in rule.losses:
        yield from _comment(sentence(loss))
        if loss.word in SCRIPTS:
            yield from (f"#     {printable(line.expandtabs(4))}".rstrip() for line in loss.value.split("\n"))
    tables = [*(_target(rule, named) if rule.target else ()), "[[log]]", *_table(rule.keys)]
    if rule.left_out:
        tables = [f"# {printable(line)}".rstrip() for table in tables for line in table.split("\n")]
    yield from tables


def _target(rule: Rule, named: Named) -> Iterator[str]:
    assert rule.target is not None
    keys = dict(rule.target.keys)
    if rule.target.script:
        keys["command"], said = named(rule.target)
        yield from _comment(said)
    name = rule.target.name
    yield f"[reopen.{name if re.fullmatch(r'[A-Za-z0-9_-]+', name) else _string(name)}]"
    yield from _table(keys)
    yield ""


def _table(keys: Mapping[str, object]) -> Iterator[str]:
    width = max(map(len, keys))
    return (f"{name:{width}} = {_value(value)}" for name, value in keys.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return _list([_string(item) for item in value])
    return _string(str(value))


def _list(items: Sequence[str]) -> str:
    short = f"[{', '.join(items)}]"
    return (
        short if len(short) < 100 or len(items) == 1 else "".join(["[\n", *(f"    {item},\n" for item in items), "]"])
    )


def _string(value: str) -> str:
    """A string of several lines as it stands, where TOML can have it so."""
    if "\n" in value and "'''" not in value and not re.search(r"[\x00-\x08\x0b-\x1f\x7f\udc80-\udcff]", value):
        return f"'''\n{value}'''"
    # JSON's strings are TOML's, but for DEL and lone surrogates.
    return json.dumps(re.sub(r"[\udc80-\udcff]", "?", value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(said: str) -> list[str]:
    return [f"# {printable(line.expandtabs(4))}".rstrip() for line in said.split("\n")] if said else []
