"""``logrotor history``: what past runs did."""

from __future__ import annotations

import os
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import complete_logs, config_option, json_option, load, moment_or_age
from logrotor.cli.session import INTERRUPTED, Session, exit_codes

if TYPE_CHECKING:
    from logrotor.model import Attempt, Config, PastOutcome, PastRun
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.rotations import Rotation, RunRecord

_NAMES = 3  # of the logs of one reopen request

CODES = {"2": "usage, no such log, a configuration with which nothing can run, or no readable history"}
EPILOG = f"""\
\b
Examples:
  logrotor history                             the last 20 runs
  logrotor history /var/log/app/app.log -n 0   all that is known of one log
  logrotor history --since 2d --failed         what went wrong in two days
  logrotor history --job 3f2a                  what became of a job (the first letters of its id)
  logrotor history --json -n 0 | jq '.runs[].rotations[] | [.log, .bytes, .archive_bytes]'

{exit_codes(CODES)}

Runs with nothing to do leave no trace but the time of the file last-run; of those that were refused the same again and
again, the last one stands here with their number. What is older than 90 days is forgotten.
"""


@click.command(epilog=EPILOG)
@click.argument("log", required=False, metavar="[LOG]", shell_complete=complete_logs)
@config_option
@click.option("--since", metavar="TIME|AGE", help='Only runs since "2026-11-20 08:00", or since an age such as 2d.')
@click.option("--failed", is_flag=True, help="Only runs that failed, and what failed in them.")
@click.option("--job", metavar="ID", help="Only this job of the queue: its attempts, and the runs meanwhile.")
@click.option(
    "-n", "--last", type=click.IntRange(0), default=20, show_default=True, help="Show only the last N runs; 0: all."
)
@json_option("Print the runs as JSON.")
@click.option("-v", "--verbose", count=True, help="Every step; -vv: a traceback if logrotor fails.")
@click.pass_context
def history(
    ctx: click.Context,
    /,
    config: str | None,
    log: str | None,
    since: str | None,
    failed: bool,
    job: str | None,
    last: int,
    as_json: bool,
    verbose: int,
) -> int:
    """Show what past runs did: each rotation with its reason, size before and after, duration and outcome.

    The latest run comes last. With LOG (its path or name) only what concerns it. A rotation shows the size of the log,
    of its archive, how many bytes of the log one byte of the archive holds, and the time that it took.
    """
    from logrotor.clock import local_now
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.rotations import records

    ctx.ensure_object(Session).verbosity = verbose
    now = local_now()
    begin = None if since is None else moment_or_age(since, now, "--since")
    loaded = load(ctx)
    runs = records(loaded.state_dir, since=begin, log=log, failed=failed)
    if job is not None:
        return _of_job(loaded, job, runs, now, as_json=as_json, verbose=verbose > 0)
    here = Deployment(loaded, now)
    if log is not None and not runs:
        _refuse_unknown(here, log)
    shown = runs[-last:] if last else runs
    if as_json:
        from logrotor.disk import state

        # A damaged history that lies there: what it had is in none of these runs, or in few.
        output.write_json({**_in_json(shown, now.tzinfo), "set_aside": state.last_aside(loaded.state_dir)})
    else:
        lines = _lines(loaded, shown, len(runs), now.tzinfo, verbose=verbose > 0)
        output.write("\n".join(lines or [_nothing(here)]))
    return 0


def _refuse_unknown(here: Deployment, log: str) -> None:
    """A log that is gone is known by its past. Raises UnknownSelection."""
    from logrotor.observe.reading import find
    from logrotor.survey import find_path

    if find_path(log, (each for outcome in here.outcomes for each in outcome.logs)) is None:
        find(here, log)


# ---------------------------------------------------------------- a job


def _of_job(config: Config, job: str, runs: list[RunRecord], now: datetime, *, as_json: bool, verbose: bool) -> int:
    """Its attempts in their order, and the runs that began while each was at work. Raises UnknownSelection."""
    from logrotor.disk.history import History
    from logrotor.errors import UnknownSelection
    from logrotor.model import Problem

    attempts = History(config.state_dir).attempts_like(job)
    if len({each.job for each in attempts}) != 1:
        what = "several jobs begin with this" if attempts else "no attempt of such a job is remembered"
        raise UnknownSelection(Problem(subject=job, problem=what, advice="successes are kept for a week"))
    meanwhile = [(a, [r for r in runs if a.started <= r.run.started <= (a.ended or now.timestamp())]) for a in attempts]
    if as_json:
        from logrotor.model import as_json as plain

        told = [{**plain(a), "alive": _lives(config, a), **_in_json(found, now.tzinfo)} for a, found in meanwhile]
        output.write_json({"attempts": told})
        return 0
    lines = []
    for attempt, found in meanwhile:
        when = text.stamp(datetime.fromtimestamp(int(attempt.started), now.tzinfo))
        lines.append(f"{when}  attempt {attempt.number} of {attempt.job}: {_ended(config, attempt)}")
        lines += [f"    {text.lines(attempt.detail)}"] if attempt.detail else []
        lines += [f"    {line}" for line in _lines(config, found, len(found), now.tzinfo, verbose=verbose)]
    output.write("\n".join(lines))
    return 0


def _ended(config: Config, attempt: Attempt) -> str:
    if attempt.seconds is not None:
        return f"{attempt.ending}, {text.brief(attempt.seconds)}, process {attempt.pid}"
    return {
        True: f"{attempt.ending}, process {attempt.pid}",
        False: f"no end, and its process {attempt.pid} is gone: it was killed; a later attempt or job calls it lost",
        None: f"{attempt.ending}, or killed: process {attempt.pid} cannot be seen from here",
    }[_lives(config, attempt)]


def _lives(config: Config, attempt: Attempt) -> bool | None:
    """Whether the process of an attempt without an end is still there; None: it has ended, or cannot be seen."""
    if attempt.ended is not None:
        return None
    from logrotor.errors import ConfigError
    from logrotor.jobs import engine, progress

    try:
        return progress.lives(engine.site_of(config, os.environ), attempt)
    except ConfigError:  # there is no queue any more
        return None


# ---------------------------------------------------------------- text


def _nothing(here: Deployment) -> str:
    from logrotor.disk import state

    if here.runs:
        return "No such run in the history."
    aside = state.last_aside(here.config.state_dir)
    if aside is not None:
        return f"No run is known: the history was damaged, and set aside as {text.printable(aside)}."
    return "No run yet." if here.last_run is None else "No run has had anything to do yet."


def _lines(config: Config, shown: list[RunRecord], known: int, zone: tzinfo | None, *, verbose: bool) -> list[str]:
    hidden = known - len(shown)
    lines = [f"({text.count(hidden, 'earlier run')}; -n 0 shows all)"] if hidden else []
    for told in shown:
        lines.append(_headline(config, told.run, zone))
        lines += output.table(_rows(told, verbose=verbose), indent="    ")
    return lines


def _headline(config: Config, run: PastRun, zone: tzinfo | None) -> str:
    when = text.stamp(datetime.fromtimestamp(int(run.started), zone))
    counts = ((run.rotated, "rotated"), (run.removed, "removed"), (run.deferred, "deferred"), (run.failed, "failed"))
    what = ", ".join(f"{number} {word}" for number, word in counts if number) or "nothing rotated"
    forced = " (forced)" if run.forced else ""
    if run.ended is None:
        from time import time

        from logrotor.disk import holders

        how = {
            True: "goes on still",
            False: "no end is recorded, and this host has no such process any more: it was killed",
            None: "no end is recorded; it was killed, or goes on still, which cannot be seen from here",
        }[holders.lives(config.state_dir, run.pid, run.started, time())]
        return f"{when}  process {run.pid}: {how}{forced}"
    how = f"interrupted, exit {run.exit}" if run.exit in INTERRUPTED else f"exit {run.exit}"
    return f"{when}  {what}; {how}, {text.brief(run.ended - run.started)}{forced}"


def _rows(told: RunRecord, *, verbose: bool) -> list[tuple[str, str, str]]:
    rows = [_rotation(rotation) for rotation in told.rotations]
    others = [o for o in told.others if verbose or o.status == "failed"]
    return rows + [_other(outcome) for outcome in others]


def _rotation(rotation: Rotation) -> tuple[str, str, str]:
    name = os.path.basename(rotation.log)
    if rotation.status != "done":
        return name, rotation.status, rotation.reason
    sizes = text.size(rotation.bytes)
    if rotation.archive_bytes is not None:
        ratio = f" ({rotation.ratio:.1f}:1)" if rotation.ratio else ""
        sizes += f" -> {text.size(rotation.archive_bytes)}{ratio}"
    took = f" in {text.brief(rotation.seconds)}" if rotation.seconds is not None else ""
    return name, "rotated", f"{sizes}{took}; {rotation.reason}"


def _other(outcome: PastOutcome) -> tuple[str, str, str]:
    names = [os.path.basename(log) for log in outcome.logs]
    shown = ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if names[_NAMES:] else "")
    often = f" ({text.count(outcome.runs, 'run')} in a row)" if outcome.runs > 1 else ""
    return (
        shown,
        outcome.status,
        f"{outcome.action} {outcome.name}".rstrip() + f": {outcome.reason}".rstrip(": ") + often,
    )


# ---------------------------------------------------------------- JSON


def _in_json(shown: list[RunRecord], zone: tzinfo | None) -> dict[str, Any]:
    from logrotor.model import as_json

    def when(moment: float | None) -> str | None:
        return None if moment is None else datetime.fromtimestamp(moment, zone).isoformat()

    def run(told: RunRecord) -> dict[str, Any]:
        seconds = None if told.run.ended is None else round(told.run.ended - told.run.started, 3)
        times = {"started": when(told.run.started), "ended": when(told.run.ended), "seconds": seconds}
        rotations = [{**as_json(r), "ratio": r.ratio, "time": when(r.time)} for r in told.rotations]
        others = [{**as_json(o), "time": when(o.time)} for o in told.others]
        return {**as_json(told.run), **times, "rotations": rotations, "others": others}

    return {"runs": [run(told) for told in shown]}
