"""``logrotor page``: how everything stands, as one file for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logrotor.cli import streams
from logrotor.cli.options import config_option, load
from logrotor.cli.rooms import render_page, write_page
from logrotor.cli.session import Session, become, exit_codes
from logrotor.errors import Refused

if TYPE_CHECKING:
    from logrotor.model import Config

CODES = {"1": "the page could not be written"}
EPILOG = f"""\
\b
Examples:
  logrotor page -o /var/www/html/logrotor.html
  logrotor page                          to the file of [page] in the configuration
  logrotor page -o - | ssh web "cat > logrotor.html"

{exit_codes(CODES)}

With "[page] file = PATH" in the configuration each "logrotor run" writes it too. It needs no script and no server, and
asks for nothing else. A file that is no such page is not replaced.
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("-o", "--output", metavar="FILE", help="Where to; - is standard output. Default: [page] file.")
@click.option("-v", "--verbose", count=True, help="-vv: a traceback if logrotor fails.")
@click.pass_context
def page(ctx: click.Context, /, config: str | None, output: str | None, verbose: int) -> int:
    """Write one HTML file that shows how everything stands: what needs attention first, each log's growth and rotations
    as small plots, archives by size, queues, file systems, and what the doctor finds.

    It says when it was written, and when the next one is to be expected. It is replaced at once, and all may read it.
    """
    from logrotor.clock import local_now

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    target = output or loaded.page_file
    if target is None:
        raise click.UsageError("where to? give -o FILE (- is standard output), or [page] file in the configuration")
    become(loaded)
    if target == "-":
        streams.pour([render_page(loaded, local_now())])
    else:
        _write(target, loaded)
    return 0


def _write(target: str, config: Config) -> None:
    """Raises LogrotorError: a place that cannot be written is a mistake of who named it, not of ours."""
    from logrotor.clock import local_now
    from logrotor.disk.snapshot import message

    try:
        write_page(target, config, local_now())
    except OSError as error:
        raise Refused(
            f"the page cannot be written: {message(error, target)}; make it right, or give another -o"
        ) from error
