"""``logrotor queue unit``: the program or unit that fits the configuration."""

from __future__ import annotations

import os

import click

from logrotor.cli import output
from logrotor.cli.options import config_option, config_path, json_option
from logrotor.cli.session import exit_codes

CODES = {"1": "a name cannot be written in a unit"}
EPILOG = f"""\
\b
Examples:
  logrotor queue unit --supervisor > /etc/supervisor/conf.d/log-rotation.conf && supervisorctl update
  logrotor queue unit --supervisor --log storage/logs/log-rotation-queue.log
  logrotor queue unit --systemd > /etc/systemd/system/log-rotation.service

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--supervisor", "kind", flag_value="supervisor", help="A program for supervisord.")
@click.option("--systemd", "kind", flag_value="systemd", help="A service for systemd.")
@click.option("--user", help="Who runs it; without it run_as, else the owner of the configuration.")
@json_option("Print the text as JSON.")
@click.option("--log", metavar="FILE", type=click.Path(), help="With --supervisor: its log, if logrotor rotates it.")
@click.pass_context
def unit(
    ctx: click.Context, config: str | None, kind: str | None, user: str | None, log: str | None, as_json: bool
) -> int:
    """Print what starts worker and schedule together, with the limits of the configuration.

    Printed, not installed. No password stands in it. "logrotor doctor --only queue" tells when it no longer fits.
    """
    from logrotor.jobs import units
    from logrotor.jobs.engine import find_engine
    from logrotor.jobs.site import open_site

    if kind is None:
        raise click.UsageError("say for which manager: --supervisor or --systemd")
    if log is not None and kind != "supervisor":
        raise click.UsageError("--log is for --supervisor; systemd has the journal")
    site = open_site(config_path(ctx), os.environ)
    find_engine(site.file, site.settings.engine)  # one that is unknown would give a unit whose worker cannot start
    who = user or site.config.run_as or _owner(site.file)
    text = (
        units.supervisor_program(site, user=who, log=log)
        if kind == "supervisor"
        else units.systemd_unit(site, user=who)
    )
    if as_json:
        output.write_json({"manager": kind, "queue": site.queue, "user": who, "text": text})
    else:
        output.write(text.rstrip("\n"))
    return 0


def _owner(path: str) -> str:
    import pwd

    uid = os.stat(path).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
