"""``logrotor queue``: the rotation as a job on a queue. The commands are imported when one is called."""

from __future__ import annotations

import click

from logrotor.cli.options import LazyGroup, config_option
from logrotor.cli.session import exit_codes

COMMANDS = {
    "dispatch": ("logrotor.cli.queue.delivery", "Queue one job now."),
    "worker": ("logrotor.cli.queue.service", "Work on the jobs of this host; with --schedule a whole here."),
    "schedule": ("logrotor.cli.queue.service", "Queue a job at each tick of [queue] schedule."),
    "restart": ("logrotor.cli.queue.control", "Have what runs begin anew, after the job at work."),
    "status": ("logrotor.cli.queue.standing", "What is pending, at work, failed or stuck, for each host."),
    "failed": ("logrotor.cli.queue.standing", "List the jobs that failed for good."),
    "retry": ("logrotor.cli.queue.control", "Re-queue failed jobs."),
    "clear": ("logrotor.cli.queue.control", "Remove failed, stale or old jobs, or those of a host that is gone."),
    "unit": ("logrotor.cli.queue.service", "Print the supervisor program or systemd unit that fits."),
}

EPILOG = f"""\
\b
Examples:
  logrotor queue worker --schedule     everything in one process group
  logrotor queue status                how is it going?
  logrotor queue unit --supervisor     the program for supervisord
  logrotor doctor --only queue         does all that runs agree with the configuration?

{exit_codes({})}
"""


@click.group(cls=LazyGroup, commands=COMMANDS, epilog=EPILOG)
@config_option
def queue(config: str | None) -> None:
    """Run the rotation as a job on the queue that you have: huey (no server), procrastinate, rq or celery.

    [queue] in the configuration is the one source of truth: which engine, where, how often a job is tried and how
    long an attempt may take. Each host has a queue of its own, because rotation is local. An attempt is a process of
    its own with a hard timeout; jobs that find another run at work, or that waited too long, are dropped as a success.
    """
