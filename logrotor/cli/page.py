"""``logrotor page``: everything at a glance, in one HTML file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from logrotor.cli import streams
from logrotor.cli.options import become, config_option, load
from logrotor.cli.rooms import queue_rows, queue_troubles
from logrotor.cli.session import EXIT_CODES, Session

if TYPE_CHECKING:
    from datetime import datetime

    from logrotor.cli.page_html import Facts
    from logrotor.model import Config

EPILOG = f"""\
\b
Examples:
  logrotor page -o /var/www/html/logs.html
  * * * * *  logrotor run; logrotor page -o /var/www/html/logs.html     (crontab)
  logrotor page -o - > page.html

{EXIT_CODES}
"""
MODE = 0o644  # a web server runs as a user of its own


@click.command(epilog=EPILOG, short_help="Write one HTML page.")
@config_option
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(), help='Where it goes; "-": stdout.')
@click.option("-v", "verbose", count=True, help="-vv: a traceback if logrotor fails.")
@click.pass_context
def page(ctx: click.Context, /, config: str | None, output: str, verbose: int) -> int:
    """Write one self-contained HTML file: what needs attention, each log's growth, archives, queues, file systems.

    It has no scripts and loads nothing from anywhere. It replaces FILE at once and is readable for all; a web server or
    a browser shows it. The doctor's checks are run for it.
    """
    from logrotor.cli.page_html import document
    from logrotor.clock import local_now
    from logrotor.disk.publish import publish

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    become(loaded)
    made = document(_facts(loaded, local_now()))
    if output == "-":
        streams.write(made)
    else:
        publish(os.path.abspath(output), made.encode("utf-8", "backslashreplace"), MODE)
    return 0


def _facts(config: Config, now: datetime) -> Facts:
    import socket

    from logrotor.cli.doctor import all_checks
    from logrotor.cli.page_html import Facts
    from logrotor.observe.attention import Thresholds, attention
    from logrotor.observe.doctor import examine
    from logrotor.observe.history import rotations_by_log
    from logrotor.observe.site import Site
    from logrotor.observe.status import archives_of, status

    site = Site(config, now)
    found = status(site)
    return Facts(
        host=socket.gethostname(),
        status=found,
        attention=[*attention(found, Thresholds()), *queue_troubles(config, now.timestamp())],
        rotations=rotations_by_log(site.outcomes),
        archives=[(a.path, a.entry.size) for facts in site.survey.logs for a in archives_of(facts)],
        queues=queue_rows(config, now.timestamp()),
        findings=[(e.check.id, finding) for e in examine(all_checks(config)) for finding in e.findings],
    )
