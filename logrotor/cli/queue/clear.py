"""``logrotor queue clear``: what nobody needs any more."""

from __future__ import annotations

import time

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import Age, config_option, json_option
from logrotor.cli.queue.site import engine_of, enter
from logrotor.cli.session import exit_codes

CODES = {"1": "the queue is out of reach"}
EPILOG = f"""\
\b
Examples:
  logrotor queue clear --failed               all failed jobs
  logrotor queue clear --older-than 7d        failed jobs and attempts older than a week
  logrotor queue clear --stale                waiting jobs whose time has passed

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--failed", "all_failed", is_flag=True, help="Forget all failed jobs.")
@click.option("--stale", is_flag=True, help="Remove jobs that waited too long for their first attempt.")
@click.option("--older-than", metavar="AGE", type=Age(), help="Forget failed jobs and attempts older than 7d, say.")
@json_option("Print the numbers as JSON.")
@click.pass_context
def clear(
    ctx: click.Context, config: str | None, all_failed: bool, stale: bool, older_than: float | None, as_json: bool
) -> int:
    """Remove jobs of this host that nobody needs any more. No log and no archive is touched."""
    from logrotor.disk.history import History
    from logrotor.jobs import failures

    if not (all_failed or stale or older_than is not None):
        raise click.UsageError("say what to clear: --failed, --stale or --older-than AGE")
    site = enter(ctx)
    engine, now = engine_of(site), time.time()
    gone = {"failed": 0, "stale": 0, "attempts": 0}
    if all_failed or older_than is not None:
        before = None if all_failed else now - (older_than or 0)
        gone["failed"] = failures.clear_failed(site, engine, before=before)
    if stale:
        gone["stale"] = failures.clear_stale(site, engine, now)
    if older_than is not None:
        gone["attempts"] = History(site.config.state_dir).prune_attempts(now - older_than)
    if as_json:
        output.write_json({"queue": site.queue, "removed": gone})
    else:
        output.write(", ".join(text.count(number, _WORDS[name]) for name, number in gone.items()) + " removed.")
    return 0


_WORDS = {"failed": "failed job", "stale": "stale job", "attempts": "old attempt"}
