"""``logrotor verify``: can every archive be read, and does it hold what went into it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from logrotor.cli import streams, text
from logrotor.cli.options import complete_logs, config_option, json_option, load
from logrotor.cli.session import Session, become, exit_codes

if TYPE_CHECKING:
    from logrotor.observe.verify import Verdict

CODES = {
    "1": "some archive is damaged, cannot be read, or does not hold what went into it",
    "2": "usage, no such log, or a configuration with which nothing can run",
}
EPILOG = f"""\
\b
Examples:
  logrotor verify                      all archives; prints the damaged ones
  logrotor verify storage/logs/app.log -v
  logrotor verify --json | jq -r '.archives[] | select(.problem) | .path'

{exit_codes(CODES)}
"""

_ADVICE = (
    "What is damaged stays as it is: put back a copy of it, or save with logrotor cat what can be read; "
    "is the disk sound (dmesg, smartctl)?"
)


@click.command(epilog=EPILOG)
@click.argument("log", required=False, metavar="[LOG]", shell_complete=complete_logs)
@config_option
@json_option("Print a verdict on each archive as JSON.")
@click.option("-v", "--verbose", count=True, help="List the sound ones too; -vv: a traceback if logrotor fails.")
@click.pass_context
def verify(ctx: click.Context, /, config: str | None, log: str | None, as_json: bool, verbose: int) -> int:
    """Read every archive through, or those of one LOG, and report the damaged.

    The checksums inside (zstd content checksum, gzip CRC) are verified, and bytes and lines are counted and compared
    with the record of the rotation, where the history still has it. Nothing is changed.
    """
    from logrotor.clock import local_now
    from logrotor.model import as_json as in_json
    from logrotor.observe.site import Site
    from logrotor.observe.verify import verify as verdicts

    ctx.ensure_object(Session).verbosity = verbose
    loaded = load(ctx)
    become(loaded)
    found: list[Verdict] = []
    for verdict in verdicts(Site(loaded, local_now()), log):
        found.append(verdict)
        if not as_json and (verdict.problem or verbose):
            streams.write(_line(verdict))
    code = 1 if any(verdict.problem for verdict in found) else 0
    if as_json:
        streams.write_json({"exit_code": code, "archives": in_json(found)})
    else:
        streams.write(_total(found))
    return code


def _line(verdict: Verdict) -> str:
    path = text.printable(verdict.path)
    if verdict.problem is not None:
        return f"{path}: {text.lines(verdict.problem.removeprefix(f'{verdict.path}: '))}"
    if verdict.bytes is None:
        return f"{path}: renamed or removed meanwhile"
    compared = "as recorded" if verdict.recorded else "no record of it"
    return f"{path}: sound: {text.size(verdict.bytes)} in {text.count(verdict.lines or 0, 'line')}, {compared}"


def _total(found: list[Verdict]) -> str:
    damaged = sum(1 for verdict in found if verdict.problem)
    recorded = sum(1 for verdict in found if verdict.recorded and not verdict.problem)
    if not damaged:
        return f"{text.count(len(found), 'archive')} sound, {recorded} of them compared with the record."
    return f"{damaged} not sound, {len(found) - damaged} sound. {_ADVICE}"
