"""Tell on stderr why a command could not do its work, and give its exit code."""

from __future__ import annotations

import click

from logrotor import errors
from logrotor.cli.session import Session
from logrotor.cli.text import lines


def tell(error: Exception, session: Session) -> int:
    """One message for each thing that is wrong; a traceback only for a bug, and only with -vv."""
    for message in messages(error):
        _print(message, session)
    if not isinstance(error, errors.LogrotorError) and session.verbosity >= 2:
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True)
    return exit_code(error)


def exit_code(error: Exception) -> int:
    """2: nothing can run as asked; 3: another run holds the lock; 1: anything else."""
    if isinstance(error, errors.ConfigError | errors.StateError | errors.UnknownSelection):
        return 2
    return 3 if isinstance(error, errors.Locked) else 1


def messages(error: Exception) -> list[str]:
    """One for each thing that is wrong."""
    if isinstance(error, errors.ConfigError):
        return [str(problem) for problem in error.problems]
    if isinstance(error, errors.LogrotorError):
        return [str(error)]
    return [f"unexpected {type(error).__name__}: {error}; this is a bug, please report it with the output of -vv"]


def _print(message: str, session: Session) -> None:
    if session.json_messages:
        from logrotor.cli.events import EventPrinter
        from logrotor.events import NAMES, Event

        EventPrinter(session)(Event("run.failed", NAMES["run.failed"][0], {"error": message}))
    else:
        click.echo(f"logrotor: {lines(message)}", err=True)
