"""``logrotor status``: how everything stands; with --check an answer for a monitoring system."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from logrotor.cli import streams, text
from logrotor.cli.options import F, config_option, json_option, load
from logrotor.cli.rooms import queue_troubles
from logrotor.cli.session import Session, become, exit_codes
from logrotor.observe import words

if TYPE_CHECKING:
    from logrotor.observe.attention import Thresholds
    from logrotor.observe.status import LogStatus, Status, SystemStatus

CODES = {
    "1": "with --check only: something needs attention",
    "2": "usage, or nothing can run, which is as critical",
}
EPILOG = f"""\
\b
Examples:
  logrotor status                              how does everything stand?
  logrotor status --json | jq '.logs[] | select(.pending != []) | .path'
  logrotor status --check                      for Nagios and the like: exit 1 if something needs attention
  logrotor status --check --no-run 8d          where logrotor runs once a week
  logrotor status --check --failures 1         tell the first failure already

{exit_codes(CODES)}
"""


def _span(ctx: click.Context, param: click.Parameter, given: str) -> float:
    from logrotor.config.values import duration

    try:
        return duration(given)
    except ValueError as error:
        raise click.BadParameter(f'{given!r} {error}; accepted: "90s", "1h30m", "7d"') from None


def _threshold(name: str, default: str, what: str) -> Callable[[F], F]:
    told = f"With --check: {what}"
    return click.option(name, metavar="TIME", default=default, show_default=True, callback=_span, help=told)


@click.command(epilog=EPILOG)
@config_option
@click.option("--check", is_flag=True, help="Say only what needs attention; exit 1 if anything does.")
@_threshold("--no-run", "1h", "no run for so long, due or not (a dead man's switch).")
@_threshold("--overdue", "1h", "a log that should have been rotated so long ago.")
@_threshold("--waiting", "1d", "an archive whose writer has not let go for so long.")
@_threshold("--full-within", "1d", "a file system that will be full within so long.")
@click.option(
    "--failures",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="With --check: so many runs in a row failed, all of them or those of one log.",
)
@json_option("Print everything as JSON.")
@click.option("-v", "--verbose", count=True, help="List missing logs too; -vv: a traceback if logrotor fails.")
@click.pass_context
def status(ctx: click.Context, /, config: str | None, check: bool, as_json: bool, verbose: int, **limits: Any) -> int:
    """Show how every log and file system stands, what needs attention first.

    Each log with its size and limit, when it is due (a forecast from its past rotations and its growth since, or the
    next slot of its schedule), its last rotation and how that ended, its archives, and the archives that wait for a
    writer to let go, with its process. Nothing is changed.
    """
    from logrotor.clock import local_now
    from logrotor.observe.attention import Thresholds, attention
    from logrotor.observe.site import Site
    from logrotor.observe.status import status as look

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    become(loaded)
    found = look(Site(loaded, local_now()))
    told = [*attention(found, _thresholds(Thresholds, limits)), *queue_troubles(loaded, found.now.timestamp())]
    if as_json:
        streams.write_json(_in_json(found, told, 1 if check and told else 0))
    elif check:
        streams.write("\n".join(_checked(found, told)))
    else:
        streams.write("\n".join(_lines(found, told, verbose=verbose > 0)))
    return 1 if check and told else 0


def _thresholds(kind: type[Thresholds], limits: dict[str, Any]) -> Thresholds:
    return kind(pending=limits.pop("waiting"), **limits)


# ---------------------------------------------------------------- text


def _checked(found: Status, told: list[str]) -> list[str]:
    """First line: the verdict, as monitoring systems show it."""
    if not told:
        return [f"OK: {text.count(len(found.logs), 'log')}, last run {words.ago(found.last_run, found.now)}"]
    more = f" (and {len(told) - 1} more)" if told[1:] else ""
    return [f"ATTENTION: {text.printable(told[0])}{more}", *map(text.lines, told[1:])]


def _lines(found: Status, told: list[str], *, verbose: bool) -> list[str]:
    due = sum(log.due for log in found.logs)
    now = f"; a run is under way (process {found.under_way})" if found.under_way is not None else ""
    head = f"{text.count(len(found.logs), 'log')}, {due} due; last run {words.ago(found.last_run, found.now)}{now}."
    lines = [f"Status at {text.stamp(found.now.replace(microsecond=0))}: {head}"]
    lines += [f"attention: {text.lines(each)}" for each in told]
    lines += _logs(found)
    systems = text.table([_system(system, found.now) for system in found.file_systems], indent="  ")
    lines += ["", "File systems", *systems] if systems else []
    if found.missing and verbose:
        lines += ["", "Missing, which is fine", *(f"  {text.printable(path)}" for path in found.missing)]
    elif found.missing:
        lines += ["", f"{text.count(len(found.missing), 'configured log')} missing, which is fine (-v lists them)"]
    return lines


def _logs(found: Status) -> Iterator[str]:
    if not found.logs:
        return
    top = os.path.commonpath([os.path.dirname(log.path) for log in found.logs])
    head = ("log", "size", "limit", "due", "last rotation", "archives")
    rows = [_row(log, os.path.relpath(log.path, top), found.now) for log in found.logs]
    lines = iter(text.table([head, *rows], indent="  ", right=frozenset({1, 2})))
    yield from ("", f"Logs in {text.printable(top)}", next(lines))
    for log, line in zip(found.logs, lines, strict=True):
        yield line
        yield from (f"      {text.printable(each)}" for each in words.notes(log))


def _row(log: LogStatus, name: str, now: datetime) -> tuple[str, str, str, str, str, str]:
    limit = text.size(log.max_size) if log.max_size else log.schedule or "-"
    last = words.ago(log.last_rotation, now)
    if log.last_outcome and log.last_outcome != "done":
        last += f", then {log.last_outcome.partition(':')[0]}"
    return name, text.size(log.size), limit, words.due(log, now), last, words.archives(log)


def _system(system: SystemStatus, now: datetime) -> tuple[str, str, str, str]:
    return system.mount, system.type, words.free(system), words.full(system, now)


# ---------------------------------------------------------------- JSON


def _in_json(found: Status, told: list[str], code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {"exit_code": code, "attention": told, **as_json(found)}
