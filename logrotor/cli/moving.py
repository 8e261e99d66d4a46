"""``logrotor import``: a configuration that does what logrotate's does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import json_option
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from logrotor.logrotate.mapping import Imported, Target

CODES = {
    "0": "nothing keeps less than it did",
    "1": "something keeps less than it did, a file could not be read, or the output could not be written",
    "2": "usage, or nothing to import",
}
EPILOG = f"""\
\b
Examples:
  logrotor import /etc/logrotate.conf                         look at it first
  logrotor import /etc/logrotate.conf -o /etc/logrotor.toml   write it
  logrotor check -c /etc/logrotor.toml                        does it fit this machine?
  logrotor import /etc/logrotate.conf --json | jq '.rules[].losses'

\b
This block
  /var/log/nginx/*.log {{ daily
      rotate 14
      compress
      notifempty
      postrotate
          [ ! -f /run/nginx.pid ] || kill -USR1 `cat /run/nginx.pid`
      endscript
  }}
becomes
  [reopen.nginx]
  manager = "pidfile"
  pidfile = "/run/nginx.pid"
  signal  = "USR1"

\b
  [[log]]
  name         = "nginx"
  paths        = ["/var/log/nginx/*.log"]
  missing      = "error"
  schedule     = "daily"
  backup_count = 14
  compress     = "gzip"
  create       = false
  reopen       = "nginx"

{exit_codes(CODES)}
"""


@click.command("import", epilog=EPILOG)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("-o", "--output", "given", metavar="FILE", help="Write it to FILE, and scripts next to it.")
@click.option("--overwrite", is_flag=True, help="Let -o replace files that exist.")
@json_option("Print rules, reopen targets and losses as JSON instead of TOML.")
@click.pass_context
def import_(ctx: click.Context, /, files: tuple[str, ...], given: str | None, overwrite: bool, as_json: bool) -> int:
    """Print a configuration that does what logrotate does with FILE: one [[log]] for each block, with its comments.

    Name /etc/logrotate.conf itself: its global options also apply to the files that it includes. A postrotate script
    that signals a daemon or runs a single command becomes a [reopen.NAME] table. A script that needs a shell becomes,
    with -o, a program next to the new file.

    What cannot be carried over is reported on stderr and in a comment above its rule, by its consequence: keeps less,
    keeps more, runs differently, cosmetic. Nothing is removed by default: where logrotate deletes logs because "rotate"
    is missing or misspelt, logrotor keeps them.

    logrotate's own files stay as they are. Disable them before you run logrotor: two rotators on the same logs remove
    each other's archives.
    """
    from logrotor.logrotate.blocks import read
    from logrotor.logrotate.mapping import carry_over

    reading = read(map(os.path.abspath, files), as_root=os.geteuid() == 0)
    imported = carry_over(reading)
    for problem in imported.unread:
        click.echo(f"logrotor: {text.lines(str(problem))}", err=True)
    if not imported.rules:
        click.echo("logrotor: nothing to import: no block names a log", err=True)
        return 2
    for line in _lost(imported):
        click.echo(f"logrotor: {text.lines(line)}", err=True)
    if given is not None and given != "-":
        _write(os.path.abspath(given), imported, overwrite=overwrite)
    code = _code(imported)
    if as_json:
        output.write_json(_as_json(imported, code))
    elif given is None or given == "-":
        output.write(_text(imported))
    return code


def _code(imported: Imported) -> int:
    from logrotor.logrotate.losses import Consequence

    less = any(loss.consequence is Consequence.KEEPS_LESS for loss in imported.all_losses)
    return int(less or bool(imported.unread))


# ---------------------------------------------------------------- what is said


def _lost(imported: Imported) -> Iterator[str]:
    """One line for each kind of loss, the worst first: the first three places, and how many more."""
    from logrotor.logrotate.losses import Consequence

    places: dict[tuple[Consequence, str, str, str], list[str]] = {}
    for loss in imported.all_losses:
        places.setdefault((loss.consequence, loss.word, loss.what, loss.advice), []).append(f"{loss.file}:{loss.line}")
    worst = list(Consequence)
    for (consequence, word, what, advice), where in sorted(places.items(), key=lambda item: worst.index(item[0][0])):
        what = f"{word}: {what}" if word else what
        yield f"{consequence}: {what}" + (f"; {advice}" if advice else "") + f" ({text.names(where)})"


def _as_json(imported: Imported, code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {"exit_code": code, **as_json(imported)}


# ---------------------------------------------------------------- what is written


def _text(imported: Imported) -> str:
    from logrotor.logrotate.toml_text import written

    said = "With -o FILE this script becomes a program next to FILE."
    return written(imported, lambda target: (["/bin/sh", "-c", target.script], said)).rstrip("\n")


def _may_be_read(file: str) -> bool:
    """By everybody, as far as that can be seen."""
    try:
        return bool(os.stat(file).st_mode & 0o004)
    except OSError:
        return False


def _write(path: str, imported: Imported, *, overwrite: bool) -> None:
    """The programs first, so that no configuration names one that is not there. Raises LogrotorError."""
    from logrotor.disk.publish import create
    from logrotor.logrotate.toml_text import written

    programs: dict[str, str] = {}

    def named(target: Target) -> tuple[list[str], str]:
        program = f"{path.removesuffix('.toml')}-{target.name}.sh"
        programs[program] = f"#!/bin/sh\n{target.script}"
        return [program], ""

    whole = written(imported, named)
    secret = 0 if all(map(_may_be_read, imported.files)) else 0o077  # what a script holds, only its owner may see
    files = [(program, body, 0o755 & ~secret) for program, body in programs.items()] + [(path, whole, 0o644 & ~secret)]
    create([(name, body.encode(errors="surrogateescape"), mode) for name, body, mode in files], replace=overwrite)
