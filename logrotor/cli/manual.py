"""``logrotor reference`` and ``logrotor man``: keys, events and metrics from the tables that the code works by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click
from msgspec import Struct, to_builtins

from logrotor.cli import output, roff
from logrotor.cli.options import json_option
from logrotor.cli.session import exit_codes

Fact = str | list[str] | dict[str, str]


class Entry(Struct, frozen=True):
    """A key, an event or a metric. ``table``: of a key, where it stands; ``facts``: what it accepts and the like."""

    kind: str
    name: str
    about: str
    table: str = ""
    word: str = ""  # the table, as one asks for it
    facts: dict[str, Fact] = {}

    @property
    def title(self) -> str:
        return f"{self.name}  ({self.kind}{f' of {self.table}' if self.table else ''})"

    @property
    def names(self) -> set[str]:
        """Under which it is found."""
        return {self.name, f"{self.word}.{self.name}"} if self.word else {self.name}


def entries() -> Iterator[Entry]:
    """All keys, events and metrics, in their order."""
    yield from _keys()
    yield from _events()
    yield from _metrics()


def _keys() -> Iterator[Entry]:
    from logrotor.config.reference import TABLES, default_of, used_by
    from logrotor.model import Manager

    for table in TABLES:
        for key in table.keys.values():
            facts: dict[str, Fact] = {"accepted": key.accepted, "default": default_of(key)}
            if key.allowed != frozenset(Manager):
                facts["managers"] = used_by(key)
            if key.aliases:
                facts["elsewhere called"] = list(key.aliases)
            yield Entry("key", key.name, key.doc, table.title, table.word, facts)


def _events() -> Iterator[Entry]:
    from typing import get_type_hints

    from logrotor.events import NAMES, Fields

    meant = {
        name: hint.__metadata__[0].description for name, hint in get_type_hints(Fields, include_extras=True).items()
    }
    for name, kind in NAMES.items():
        facts: dict[str, Fact] = {
            "level": kind.level.name.lower(),
            "fields": {f: meant[f] for f in kind.fields.split()},
        }
        yield Entry("event", name, kind.meaning, facts=facts)


def _metrics() -> Iterator[Entry]:
    from logrotor.jobs import measures
    from logrotor.observe import metrics

    for found in (metrics.known(), measures.known()):
        for metric in found:
            facts: dict[str, Fact] = {"type": metric.kind, "labels": list(metric.labels)}
            yield Entry("metric", metric.name, metric.help, facts=facts)


# ---------------------------------------------------------------- reference

EPILOG = f"""\
\b
Examples:
  logrotor reference                  all of it
  logrotor reference max_size         one key, event or metric
  logrotor reference queue.schedule   a key of one table
  logrotor reference queue            all keys of a table: log, reopen, queue, queue.job, metrics ...
  logrotor reference --json run.completed | jq -r '.[0].facts.fields'

{exit_codes({"2": "no such key, event or metric"})}
"""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return list(dict.fromkeys(entry.name for entry in entries() if entry.name.startswith(incomplete)))


@click.command(epilog=EPILOG)
@click.argument("name", required=False, metavar="[KEY|EVENT|METRIC]", shell_complete=_complete)
@json_option("Print it as JSON.")
def reference(name: str | None, as_json: bool) -> None:
    """Print what a key of the configuration, an event or a metric means; without a name, all of them."""
    known = list(entries())
    found = known if name is None else _named(name, known)
    if as_json:
        output.write_json([to_builtins(entry) for entry in found])
    else:
        output.write("\n\n".join(map(_shown, found)))


def _named(name: str, known: list[Entry]) -> list[Entry]:
    from logrotor.text import closest

    word = name.strip("[]")
    found = [entry for entry in known if word in entry.names] or [e for e in known if word and e.word == word]
    if word == "defaults":
        found = [entry for entry in known if entry.word == "log" and entry.name not in ("name", "paths")]
    if not found:
        near = closest(word, sorted(set().union(*(entry.names for entry in known))))
        hint = f" Did you mean {near!r}?" if near is not None else ""
        raise click.UsageError(f"No key, event or metric {name!r}.{hint}")
    return found


def _shown(entry: Entry) -> str:
    from functools import partial
    from textwrap import wrap

    fold = partial(wrap, width=100, break_on_hyphens=False)
    lines = [output.paint(entry.title, "head"), *fold(_plain(entry.about), initial_indent="  ", subsequent_indent="  ")]
    for name, fact in entry.facts.items():
        if isinstance(fact, dict):
            lines += [f"  {name}:", *output.table(fact.items(), indent="    ")]
        elif fact:
            lines += fold(_plain(f"{name}: {_words(fact)}"), initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _words(fact: Fact) -> str:
    return fact if isinstance(fact, str) else ", ".join(fact)


def _plain(text: str) -> str:
    return text.replace("`", "")


# ---------------------------------------------------------------- man

MAN_EPILOG = f"""\
\b
Examples:
  logrotor man | man -l -
  logrotor man logrotor.toml.5 | man -l -
  logrotor man --dir .

{exit_codes({})}
"""
PAGES = ("logrotor.1", "logrotor.toml.5")


@click.command(epilog=MAN_EPILOG)
@click.argument("page", default=PAGES[0], type=click.Choice(PAGES))
@click.option("--dir", "folder", metavar="DIR", type=click.Path(), help="Write both pages into this directory.")
@click.pass_context
def man(ctx: click.Context, page: str, folder: str | None) -> None:
    """Print a manual page, or write both, logrotor(1) and logrotor.toml(5)."""
    group = ctx.find_root()
    if folder is None:
        output.write(_page(page, group).rstrip("\n"))
        return
    import os

    from logrotor.disk.publish import MANUAL, publish

    for name in PAGES:
        publish(os.path.join(os.path.abspath(folder), name), _page(name, group).encode(), 0o644, MANUAL)


def _page(name: str, group: click.Context) -> str:
    lines = _of_commands(group) if name == PAGES[0] else _of_file()
    return roff.page(name, lines)


def _of_commands(group: click.Context) -> Iterator[str]:
    """logrotor(1), from the commands' own help."""
    assert isinstance(group.command, click.Group)
    yield from roff.section("NAME", "logrotor \\- rotate log files without root, and lose no line whatever fails")
    yield from roff.section("SYNOPSIS")
    yield from (".B logrotor", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGS\\fR]...")
    yield from roff.section("DESCRIPTION")
    yield from roff.prose(group.command.help or "")
    yield from roff.section("OPTIONS")
    yield from _options(group)
    yield from roff.section("COMMANDS")
    yield from _commands(group)
    yield from roff.section("EVENTS")
    yield from roff.prose(
        "What a run and a worker log, and what on_event of the library gets; each has the fields listed."
    )
    yield from _listed(_events())
    yield from roff.section("METRICS")
    yield from roff.prose("Written by logrotor metrics, and after each run where [metrics] is set.")
    yield from _listed(_metrics())
    yield from roff.section("SEE ALSO")
    yield from (".BR logrotor.toml (5),", ".BR logrotate (8)")


def _commands(group: click.Context) -> Iterator[str]:
    assert isinstance(group.command, click.Group)
    for name in group.command.list_commands(group):
        command = group.command.get_command(group, name)
        assert command is not None
        here = click.Context(command, parent=group, info_name=name)
        usage = " ".join([here.command_path, *command.collect_usage_pieces(here)])
        yield from roff.heading(usage)
        yield from roff.prose(command.help or "")
        yield from _options(here)
        yield from roff.prose(command.epilog or "")
        if isinstance(command, click.Group):
            yield from _commands(here)


def _options(at: click.Context) -> Iterator[str]:
    records = [found for param in at.command.get_params(at) if (found := param.get_help_record(at)) is not None]
    for term, text in records:
        yield from roff.item(term, text)


def _of_file() -> Iterator[str]:
    """logrotor.toml(5), from the table of keys."""
    from logrotor.config.reference import TABLES

    yield from roff.section("NAME", "logrotor.toml \\- configuration of logrotor")
    yield from roff.section("DESCRIPTION")
    yield from roff.prose(_ABOUT)
    for table in TABLES:
        yield from roff.section(table.title)
        yield from roff.prose(table.about if table.about.endswith(".") else f"{table.about}.")
        yield from _listed(entry for entry in _keys() if entry.word == table.word)
    yield from roff.section("EXAMPLES")
    yield from roff.prose(_EXAMPLE)
    yield from roff.section("SEE ALSO")
    yield ".BR logrotor (1)"


def _listed(found: Iterable[Entry]) -> Iterator[str]:
    for entry in found:
        yield from roff.item(entry.name, entry.about, *(f"{n}: {_words(f)}" for n, f in entry.facts.items() if f))


_ABOUT = """\
A file in TOML. Sizes are 1024-based; an unknown key is an error. A rule that is wrong is left out and sets the exit
code, the others run. Without a limit of count, age or size every archive is kept. "logrotor check" checks a file,
"logrotor plan" shows what a run would do by it.

The file is the one given with -c, else $LOGROTOR_CONFIG, else the first of ./logrotor.toml,
~/.config/logrotor/logrotor.toml, /etc/logrotor/logrotor.toml and /etc/logrotor.toml.
"""
_EXAMPLE = """\
\b
[[log]]
name         = "app"
paths        = ["/srv/app/logs/*.log"]
max_size     = "10MB"
backup_count = 7
reopen       = "nginx"

\b
[reopen.nginx]
manager = "pidfile"
pidfile = "/run/nginx.pid"
signal  = "USR1"
"""
