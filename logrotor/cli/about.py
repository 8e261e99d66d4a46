"""What explains logrotor itself: ``help``, ``version``, ``completion``, ``reference`` and ``man``. None reads a log."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

import logrotor
from logrotor.cli import output
from logrotor.cli.options import LazyGroup, config_option, config_path, json_option
from logrotor.cli.session import exit_codes

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# ---------------------------------------------------------------- help


def _complete_commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    group: click.Command = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        found = group.get_command(ctx, word) if isinstance(group, LazyGroup) else None
        if found is None:
            return []
        group = found
    known = group.lazy if isinstance(group, LazyGroup) else {}
    return [CompletionItem(name, help=about) for name, (_, about) in known.items() if name.startswith(incomplete)]


HELP_EPILOG = f"""\
\b
Examples:
  logrotor help
  logrotor help plan
  logrotor help queue worker

{exit_codes({"2": "no such command"})}
"""


@click.command(epilog=HELP_EPILOG)
@click.argument("words", nargs=-1, metavar="[COMMAND [SUBCOMMAND]]", shell_complete=_complete_commands)
@click.pass_context
def help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, as its --help does; without a command, the list of commands."""
    at = ctx.find_root()
    for word in words:
        if not isinstance(at.command, LazyGroup):
            raise click.UsageError(f"{at.command_path!r} has no subcommands.", at)
        name, command, _ = at.command.resolve_command(at, [word])
        assert command is not None
        at = click.Context(command, parent=at, info_name=name)
    output.write(at.get_help())


# ---------------------------------------------------------------- version

VERSION_EPILOG = f"""\
\b
Examples:
  logrotor version
  logrotor version --json

{exit_codes({})}
"""


@click.command(epilog=VERSION_EPILOG)
@config_option
@json_option("Print it as JSON.")
@click.pass_context
def version(ctx: click.Context, config: str | None, as_json: bool) -> None:
    """Show the version, the Python, the queue engines that are installed and the configuration that would be used."""
    engines, (file, origin) = _engines(), _configuration(config_path(ctx))
    python = ".".join(map(str, sys.version_info[:3]))
    if as_json:
        found = {"version": logrotor.__version__, "python": python, "executable": sys.executable}
        found["package"] = os.path.dirname(logrotor.__file__)
        output.write_json({**found, "engines": engines, "configuration": file, "found": origin})
        return
    there = ", ".join(f"{name} {number}" for name, number in engines.items() if number is not None) or "none"
    absent = ", ".join(name for name, number in engines.items() if number is None)
    rows = [
        ("logrotor", f"{logrotor.__version__} ({os.path.dirname(logrotor.__file__)})"),
        ("python", f"{python} ({sys.executable})"),
        ("engines", there + (f"; not installed: {absent}" if absent else "")),
        ("configuration", f"{file or 'none'} ({origin})"),
    ]
    output.write("\n".join(output.table(rows)))


def _engines() -> Mapping[str, str | None]:
    """Each queue engine with the version of what it needs; None: that is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from logrotor.config.tables import ENGINES, engines

    found: dict[str, str | None] = {}
    for name, point in sorted(engines().items()):
        try:  # one of a plugin comes with its own package
            found[name] = version_of(name) if name in ENGINES or point.dist is None else point.dist.version
        except PackageNotFoundError:
            found[name] = None
    return found


def _configuration(given: str | None) -> tuple[str | None, str]:
    """The file, and how it was found or why there is none."""
    from logrotor.config import find_config
    from logrotor.errors import ConfigError

    try:
        found = find_config(given, os.environ)
    except ConfigError as error:
        return None, error.problems[0].problem
    return found.file, found.origin.value


# ---------------------------------------------------------------- completion

_INSTALL = {
    "bash": "echo 'eval \"$(logrotor completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(logrotor completion zsh)\"' >> ~/.zshrc",
    "fish": "logrotor completion fish > ~/.config/fish/completions/logrotor.fish",
}
COMPLETION_EPILOG = f"""\
\b
To install it, run the line of your shell once, then start a new shell:
  {_INSTALL["bash"]}
  {_INSTALL["zsh"]}
  {_INSTALL["fish"]}

\b
For all users, as root:
  logrotor completion bash > /etc/bash_completion.d/logrotor
  logrotor completion zsh > /usr/local/share/zsh/site-functions/_logrotor
  logrotor completion fish > /etc/fish/completions/logrotor.fish

\b
Examples:
  eval "$(logrotor completion bash)"   for this shell only

{exit_codes({})}
"""


@click.command(epilog=COMPLETION_EPILOG)
@click.argument("shell", type=click.Choice(tuple(_INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, rules and logs in bash, zsh or fish."""
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    output.write(made(ctx.find_root().command, {}, "logrotor", "_LOGROTOR_COMPLETE").source())
