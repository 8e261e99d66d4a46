"""What commands share: a group that loads them late, options, times, the configuration, what the shell completes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, TypeVar

import click

from logrotor.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from logrotor.cli.session import Entered
    from logrotor.model import Config

F = TypeVar("F", bound=Callable[..., Any])


class LazyGroup(click.Group):
    """Commands as ``name -> (module, short help)``: the list of commands is printed without importing any of them."""

    def __init__(self, *args: Any, commands: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(commands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return None
        module, text = self.lazy[cmd_name]
        command = getattr(import_module(module), cmd_name + "_" * iskeyword(cmd_name))
        assert isinstance(command, click.Command)
        command.short_help = text  # completion shows it
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from logrotor.text import closest

            meant = closest(args[0], self.lazy)
            if meant is None:
                raise
            raise click.UsageError(f"{error.message} Did you mean {meant!r}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])


# ---------------------------------------------------------------- options


def config_option(command: F) -> F:
    """``-c FILE``, before the command's name or after it; after it wins."""
    text = "Configuration file. Without it $LOGROTOR_CONFIG, then the usual places."
    return click.option("-c", "--config", metavar="FILE", type=click.Path(readable=False), help=text)(command)


def json_option(text: str) -> Callable[[F], F]:
    """``--json``: exact values on stdout."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def force_option(command: F) -> F:
    """``--force``: due or not, but an empty log only by ``rotate_empty``."""
    return click.option("--force", is_flag=True, help="Also rotate logs that are not due, except empty ones.")(command)


def only_option(command: F) -> F:
    """``--only``: a part of the configuration."""
    return click.option(
        "--only",
        metavar="NAME|PATH",
        multiple=True,
        help="Only this rule or this log; may be given several times.",
        shell_complete=complete_names,
    )(command)


class Quantity(click.ParamType[float]):
    """Text that the configuration would read too, by the function of that name in config/values."""

    def __init__(self, reader: str, accepted: str) -> None:
        self.name, self._accepted = reader, accepted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from logrotor.config import values

        try:
            return float(getattr(values, self.name)(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}; accepted: {self._accepted}", param, ctx)


Span = partial(Quantity, "duration", '"90s", "1h30m", "7d"')  # 0 included
Duration = partial(Quantity, "positive_duration", '"90s", "1h30m", "7d", "2w" or plain seconds')
Age = partial(Quantity, "age", '"90s", "12h", "7d", "2w"')  # with a unit: a bare 7 may mean days or seconds


def config_path(ctx: click.Context) -> str | None:
    """What ``-c`` said, nearest to the end of the command line first."""
    at: click.Context | None = ctx
    while at is not None:
        if at.params.get("config") is not None:
            return str(at.params["config"])
        at = at.parent
    return None


def load(ctx: click.Context, *, ours_alone: bool = False, asks: bool = True) -> Config:
    """The configuration, obeyed as the user who may say so. Raises ConfigError if no rule of it can run, StateError.

    ``ours_alone``: whoever is not that user would get another answer, so none. ``asks``: as in :func:`session.enter`.
    """
    from logrotor.cli.session import enter, refuse_stranger

    entered = enter(config_path(ctx), asks=asks)
    announce(entered)
    if ours_alone:
        only_shown = " --dry-run" if ctx.params.get("dry_run") else ""
        refuse_stranger(entered.config, " ".join(ctx.command_path.split()[1:]) + only_shown)
    return entered.config


def announce(entered: Entered) -> None:
    """Say whom root has become, where the configuration itself does not."""
    if entered.owner is not None:
        told = f"logrotor: working as {entered.owner}, who owns {entered.owned}"
        click.echo(printable(told), err=True)


def complete_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Rule names and literal paths of the configuration; the files of the disk where none of them fits."""
    from click.shell_completion import CompletionItem

    from logrotor.cli.session import enter

    try:
        config = enter(config_path(ctx)).config
    except Exception:  # a shell that completes has no place for a message
        return [CompletionItem(incomplete, type="file")]
    paths = (path for spec in config.logs for path in spec.paths if not set("*?[") & set(path))
    names = (spec.name for spec in config.logs)
    found = [CompletionItem(text) for text in (*names, *paths) if text.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def complete_logs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The logs that there are, by their names as long as no "/" is typed; the files of the disk where none fits."""
    from click.shell_completion import CompletionItem

    from logrotor.cli.session import enter
    from logrotor.survey import Surveyor

    try:
        config = enter(config_path(ctx)).config
        with Surveyor(config, None) as surveyor:
            logs = surveyor.survey().logs
    except Exception:
        return [CompletionItem(incomplete, type="file")]
    given = dict.fromkeys(facts.path if "/" in incomplete else facts.base for facts in logs)
    found = [CompletionItem(text) for text in given if text.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


# ---------------------------------------------------------------- times


def moment(given: str, option: str = "--at") -> datetime:
    """A moment in ISO 8601; without an offset it is local time."""
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(
            f'{given!r} is not a valid time; accepted: "2026-11-22 03:00", "2026-11-22T03:00:00+01:00"',
            param_hint=option,
        ) from None
    return parsed if parsed.tzinfo else _local(parsed)


def _local(naive: datetime) -> datetime:
    from logrotor.clock import local_now

    zone = local_now().tzinfo
    # A fixed offset is that of today, not that of the day asked for.
    return naive.astimezone() if zone is None or isinstance(zone, timezone) else naive.replace(tzinfo=zone)


def moment_or_age(given: str, now: datetime, option: str) -> float:
    """An option as epoch seconds: a moment, or how long ago. 20261101 is a day of ISO 8601, and a bare 2 neither."""
    from logrotor.config.values import age

    try:
        return now.timestamp() - age(given)
    except ValueError as error:
        if given.strip().isdigit() and len(given.strip()) != len("20261101"):
            raise click.BadParameter(f"{given!r} {error}", param_hint=option) from None
        return moment(given, option=option).timestamp()
