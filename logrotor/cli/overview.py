"""``logrotor status`` and ``logrotor page``: how everything stands, for a terminal, a monitoring system, a browser."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.gather import ask_queue, render_metrics, render_page, write_metrics, write_page
from logrotor.cli.options import F, Span, config_option, json_option, load
from logrotor.cli.session import Session, exit_codes
from logrotor.errors import Refused
from logrotor.observe.attention import ago, archives, due, fillers, free, full, last_run, notes, rate, state
from logrotor.observe.causes import causes

if TYPE_CHECKING:
    from logrotor.observe.attention import Thresholds
    from logrotor.observe.causes import Attention, Cause
    from logrotor.observe.forecast import SystemStatus
    from logrotor.observe.status import LogStatus, Status

_DETAILS = 3  # of what is so of single subjects of a cause

STATUS_CODES = {
    "1": "with --check only: something needs attention",
    "2": "usage, or nothing can run, which is as critical",
}
STATUS_EPILOG = f"""\
\b
Examples:
  logrotor status                              how does everything stand?
  logrotor status --json | jq '.logs[] | select(.pending != []) | .path'
  logrotor status --check                      for Nagios and the like: exit 1 if something needs attention
  logrotor status --check --no-run 8d          where logrotor runs once a week
  logrotor status --check --failures 1         tell the first failure already

{exit_codes(STATUS_CODES)}
"""


def _threshold(name: str, default: str | None, what: str) -> Callable[[F], F]:
    told = f"With --check: {what}"
    return click.option(name, metavar="TIME", default=default, show_default=True, type=Span(), help=told)


@click.command(epilog=STATUS_EPILOG)
@config_option
@click.option("--check", is_flag=True, help="Say only what needs attention; exit 1 if anything does.")
@_threshold(
    "--no-run",
    None,
    "no run for this long, whether due or not (a dead man's switch); without it 1h, with a [queue] three ticks of its "
    "schedule.",
)
@_threshold("--overdue", "1h", "a log that has been overdue for this long.")
@_threshold("--waiting", "1d", "an archive that its writer has held open for this long.")
@_threshold("--full-within", "1d", "a file system that will be full within this time.")
@click.option(
    "--rate",
    type=click.FloatRange(1, min_open=True),
    default=10,
    show_default=True,
    metavar="TIMES",
    help="With --check: a log that grew this many times as much as usual at this time of the day, in the last hour "
    "(after a day of samples; below 16 MiB/h nothing is).",
)
@click.option(
    "--failures",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="With --check: this many runs in a row failed, in all or for one log.",
)
@json_option("Print everything as JSON.")
@click.option("-v", "--verbose", count=True, help="List missing logs too; -vv: a traceback if logrotor fails.")
@click.pass_context
def status(ctx: click.Context, /, config: str | None, check: bool, as_json: bool, verbose: int, **limits: Any) -> int:
    """Show how every log and file system stands, what needs attention first.

    Each log with its size and limit, how fast it grows, when it is due (a forecast from the samples that runs take
    every five minutes, or the next slot of its schedule), its last rotation and how that ended, its archives, and
    those that wait for a writer to let go, with its process. Nothing is changed.
    """
    from logrotor.clock import local_now
    from logrotor.observe.attention import Thresholds, attention
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.status import status as look

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx, ours_alone=True)
    found = look(Deployment(loaded, local_now()))
    told = [*attention(found, _thresholds(Thresholds, limits)), *ask_queue(loaded, found.now).troubles]
    if as_json:
        output.write_json(_in_json(found, told, 1 if check and told else 0))
    elif check:
        output.write("\n".join(_checked(found, told)))
    else:
        output.write("\n".join(_lines(found, told, verbose=verbose > 0)))
    return 1 if check and told else 0


def _thresholds(kind: type[Thresholds], limits: dict[str, Any]) -> Thresholds:
    return kind(pending=limits.pop("waiting"), **limits)


# ---------------------------------------------------------------- text


def _checked(found: Status, told: list[Attention]) -> list[str]:
    """First line: the verdict, as monitoring systems show it."""
    wrong = [str(cause) for cause in causes(told)]
    if not wrong:
        return [f"{output.paint('OK', 'good')}: {text.count(len(found.logs), 'log')}, last run {last_run(found)}"]
    more = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
    return [
        f"{output.paint('ATTENTION', 'bad')}: {text.printable(wrong[0])}{more}",
        *(text.lines(each) for each in wrong[1:]),
    ]


def _lines(found: Status, told: list[Attention], *, verbose: bool) -> list[str]:
    number = sum(log.due for log in found.logs)
    now = f"; a run is under way (process {found.under_way})" if found.under_way is not None else ""
    head = f"{text.count(len(found.logs), 'log')}, {number} due; last run {last_run(found)}{now}."
    lines = output.wrapped(f"Status at {text.stamp(found.now.replace(microsecond=0))}: {head}")
    for cause in causes(told, notes=notes(found, told)):
        lines += ["", *_cause(cause)]
    lines += _logs(found)
    systems = output.fitting([_system(system, found.now) for system in found.file_systems], least=(1,))
    lines += ["", output.paint("File systems", "head"), *systems] if systems else []
    if found.missing and verbose:
        lines += [
            "",
            "Missing, which is fine",
            *(part for p in found.missing for part in output.wrapped(f"  {p}", "  ")),
        ]
    elif found.missing:
        missing = f"{text.count(len(found.missing), 'configured log')} missing, which is fine (-v lists them)"
        lines += ["", *output.wrapped(missing)]
    return lines


def _cause(cause: Cause) -> Iterator[str]:
    """What is wrong, whom it concerns, what to do."""
    kind, several = {"bad": "attention", "warn": "finding", "note": "note"}[cause.level], cause.subjects[1:] or cause.at
    said = ": ".join(filter(None, (kind, cause.at if several else cause.names, cause.problem)))
    first, *more = output.wrapped(said, "    ")
    yield first if cause.level == "note" else output.paint(kind, cause.level) + first[len(kind) :]
    yield from more
    if several:
        yield from output.wrapped(
            f"    {text.paths([each.name for each in cause.subjects if each.name != cause.at])}", "    "
        )
    details = dict.fromkeys(each.detail for each in cause.subjects if each.detail)
    for detail in list(details)[:_DETAILS]:
        yield from output.wrapped(f"    {detail}", "    ")
    if len(details) > _DETAILS:
        yield f"    and {len(details) - _DETAILS} more like that"
    if cause.what_to_do:
        yield from output.wrapped(f"    do    {cause.what_to_do}", "          ")


def _logs(found: Status) -> Iterator[str]:
    if not found.logs:
        return
    top = os.path.commonpath([os.path.dirname(log.path) for log in found.logs])
    head = ("log", "size", "limit", "rate", "due", "last rotation", "archives", "state")
    rows = [_row(log, os.path.relpath(log.path, top), found.now) for log in found.logs]
    lines = output.fitting([head, *rows], right=frozenset({1, 2, 3}), least=(6, 5, 3, 2, 7), head=True)
    yield from ("", *(output.paint(part, "head") for part in output.wrapped(f"Logs in {top}", "  ")), lines[0])
    for log, line in zip_longest(found.logs, lines[1:]):
        yield output.paint(line, "bad") if log is not None and state(log) else line


def _row(log: LogStatus, name: str, now: datetime) -> tuple[str, ...]:
    limit = text.size(log.max_size) if log.max_size else log.schedule or "-"
    last = ago(log.last_rotation, now, known=log.known)
    wrong = "" if log.refused else state(log)
    return name, text.size(log.size), limit, rate(log), due(log, now), last, archives(log), wrong


def _system(system: SystemStatus, now: datetime) -> tuple[str, str, str, str]:
    by = fillers(system) if system.full_on is not None else ""
    return system.mount, system.type, free(system), ", ".join(filter(None, (full(system, now), by)))


# ---------------------------------------------------------------- JSON


def _in_json(found: Status, told: list[Attention], code: int) -> dict[str, Any]:
    """``attention``: each cause in one line; ``causes``: the same as fields, with all subjects, and the notes."""
    from logrotor.model import as_json

    shown = as_json(found)
    for log, each in zip(found.logs, shown["logs"], strict=True):
        if log.last_problem is not None:
            each["last_outcome"] = f"{log.last_outcome}: {log.last_problem}"
    attention = [str(cause) for cause in causes(told)]
    return {
        "exit_code": code,
        "attention": attention,
        "causes": as_json(causes(told, notes=notes(found, told))),
        **shown,
    }


# ---------------------------------------------------------------- metrics


METRICS_CODES = {"1": "the metrics could not be written"}
METRICS_EPILOG = f"""\
\b
Examples:
  * * * * *  /opt/logrotor/bin/logrotor metrics -c /etc/logrotor.toml     (crontab)
  logrotor metrics -o - | grep logrotor_queue

{exit_codes(METRICS_CODES)}

Each "logrotor run" writes them too, and so do "queue worker" and "queue schedule" at each tick without a run. If
somebody else writes the file at this moment, this call leaves it to them.
"""


@click.command(epilog=METRICS_EPILOG)
@config_option
@click.option("-o", "--output", "given", metavar="FILE", help="Default: [metrics] textfile; - is standard output.")
@click.option("-v", "--verbose", count=True, help="-vv: a traceback if logrotor fails.")
@click.pass_context
def metrics(ctx: click.Context, /, config: str | None, given: str | None, verbose: int) -> int:
    """Write the metrics of the last run, of each log, of the queue and of its worker, as they are now.

    Every value comes from the history, the queue's server and /proc, so that it does not matter who asks.
    """
    from logrotor.errors import Busy

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    target = given or loaded.metrics_textfile
    if target is None:
        raise click.UsageError("where to? give -o FILE (- is standard output), or [metrics] textfile")
    if target == "-":
        output.pour([render_metrics(loaded)])
        return 0
    with suppress(Busy):
        _replace(target, "metrics", lambda: write_metrics(os.path.abspath(target), loaded))
    return 0


# ---------------------------------------------------------------- page


PAGE_CODES = {"1": "the page could not be written"}
PAGE_EPILOG = f"""\
\b
Examples:
  logrotor page -o /var/www/html/logrotor.html
  logrotor page                          to the file of [page] in the configuration
  logrotor page -o - | ssh web "cat > logrotor.html"

{exit_codes(PAGE_CODES)}

With "[page] file = PATH" in the configuration each "logrotor run" writes it too. It needs no script and no server, and
asks for nothing else. A file that is no such page is not replaced.
"""


@click.command(epilog=PAGE_EPILOG)
@config_option
@click.option("-o", "--output", "given", metavar="FILE", help="Where to; - is standard output. Default: [page] file.")
@click.option("-v", "--verbose", count=True, help="-vv: a traceback if logrotor fails.")
@click.pass_context
def page(ctx: click.Context, /, config: str | None, given: str | None, verbose: int) -> int:
    """Write one HTML file that shows how everything stands: each problem once with what to do, the doctor's findings
    among them, a line with a small plot for each log, file systems, queues, the largest archives, the last 30 days.

    It says when it was written: one that is old tells that logrotor has stopped. It is replaced at once, and all may
    read it.
    """
    from logrotor.clock import local_now

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    target = given or loaded.page_file
    if target is None:
        raise click.UsageError("where to? give -o FILE (- is standard output), or [page] file in the configuration")
    if target == "-":
        output.pour([render_page(loaded, local_now())])
    else:
        _replace(target, "page", lambda: write_page(target, loaded, local_now()))
    return 0


def _replace(target: str, kind: str, write: Callable[[], None]) -> None:
    """Raises LogrotorError: a place that cannot be written is a mistake of who named it, not of ours."""
    from logrotor.errors import problem_of
    from logrotor.model import Problem

    try:
        write()
    except OSError as error:
        what = f"the {kind} cannot be written: {problem_of(error, target).problem}"
        raise Refused(Problem(subject=target, problem=what, advice="correct that, or give another -o")) from error
