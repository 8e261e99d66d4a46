"""What is printed: standard streams that may be closed or unread, tables, events of a run, a progress bar."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any

from logrotor.events import Event, json_line, shown_from
from logrotor.text import printable

PATIENCE = 1.0  # seconds of compression before a bar is worth a line
LARGE = 64 * 1024 * 1024  # or bytes to compress


# ---------------------------------------------------------------- streams


def repair() -> None:
    """Open closed descriptors 0 to 2 on /dev/null and let no file name break the output.

    Without it the next file that is opened, a log for example, would become descriptor 1 or 2 and get our messages.
    """
    for fd in (0, 1, 2):
        _fill(fd)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fill(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)  # hooks and commands that we start need them too


def write(text: str) -> None:
    """Print ``text`` on stdout at once. A reader that went away (``| head``) is no error; a full disk is one."""
    import click

    try:
        click.echo(text)
    except OSError as error:
        _went_away(error)


def pour(chunks: Iterable[bytes]) -> None:
    """Print bytes on stdout as they come, unchanged. A reader that went away is no error; a full disk is one."""
    out = sys.stdout.buffer
    for chunk in chunks:
        try:
            out.write(chunk)
        except OSError as error:
            if _went_away(error):
                return
    try:
        out.flush()
    except OSError as error:
        _went_away(error)


def _went_away(error: OSError) -> bool:
    silence(1)
    if error.errno != errno.EPIPE:
        import click

        raise click.ClickException(
            f"cannot write to standard output: {error.strerror}; make room, or send it elsewhere"
        ) from error
    return True


def write_json(value: Any) -> None:
    """Print ``value`` as JSON; only ASCII, so that a file name of any bytes comes through."""
    import json

    write(json.dumps(value, indent=2))


def settle() -> None:
    """Flush both streams, so that the interpreter has nothing to complain about when it ends."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(fd)


def silence(fd: int) -> None:
    """Point a descriptor that can no longer be written at /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def is_terminal(stream: Any) -> bool:
    """Whether ``stream`` is a terminal; a closed one is not."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def has_colours(stream: Any) -> bool:
    """Whether it may get ANSI codes (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


_STYLES = {"bad": "31", "warn": "33", "good": "32", "head": "1"}


def paint(words: str, style: str) -> str:
    """For stdout: in a colour on a terminal, unchanged elsewhere. ``style``: bad, warn, good or head."""
    return f"\x1b[{_STYLES[style]}m{words}\x1b[0m" if has_colours(sys.stdout) else words


# ---------------------------------------------------------------- what fits the terminal


def width() -> int:
    """Columns of the terminal, or $COLUMNS; 80 where neither says."""
    given = os.environ.get("COLUMNS", "")
    found = int(given) if given.isdecimal() else 0
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = found or os.get_terminal_size(sys.stdout.fileno()).columns
    return max(20, found or 80)


def wrapped(message: str, indent: str = "") -> list[str]:
    """A message, printable, in lines that fit; ``indent``: of all but the first, so none poses as a message of its own.

    Its own indent stays, also before what is too long for a line and has to be broken.
    """
    from textwrap import TextWrapper

    wrapper = TextWrapper(width(), subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False)
    found: list[str] = []
    for part in message.split("\n"):
        wrapper.initial_indent = indent if found else ""
        found += wrapper.wrap(_WIDE.sub("\\g<0>\0", printable(part))) or [""]
    return [line.replace("\0", "") for line in found]


_WIDE = re.compile(
    "[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\U0001f300-\U0003fffd]"
)


def columns(words: str) -> int:
    """How many columns of a terminal they take: two for a Chinese character."""
    return len(words) if words.isascii() else len(words) + len(_WIDE.findall(words))


def fitting(
    rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), least: Sequence[int] = (), head: bool = False
) -> list[str]:
    """A table, each row one string of one line or more. ``head``: the first row has the names of the columns.

    A column without a cell is left out. What is too wide loses its long names first, which get a line of their own,
    then the columns ``least``, the least needed one first; what is too wide still is wrapped.
    """
    kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows[head:])] if rows else []
    gone: list[str] = []
    for place in (*least, None):
        shown = [[row[column] for column in kept] for row in rows]
        aligned = frozenset(kept.index(column) for column in right if column in kept)
        lines = _lined(shown, aligned)
        if all(columns(part) <= width() for line in lines for part in line.split("\n")):
            told = wrapped(f"  (not in {width()} columns: {', '.join(gone)})", "  ")
            return [*lines, *told] if gone and head else lines
        gone += [rows[0][column] for column in kept if column == place]
        kept = [column for column in kept if column != place]
    return ["\n".join(wrapped("  " + "  ".join(filter(None, row)), "    ")) for row in shown]


def _lined(rows: Sequence[Sequence[str]], right: frozenset[int]) -> list[str]:
    """Long names above their rows, if it does not fit otherwise."""
    lines = table(rows, indent="  ", right=right)
    if max(map(columns, lines), default=0) <= width():
        return lines
    most = width() * 2 // 5
    above = [
        "\n".join(wrapped(f"  {row[0]}", "  ")) + "\n" if columns(printable(row[0])) > most else "" for row in rows
    ]
    short = [["", *row[1:]] if name else row for name, row in zip(above, rows, strict=True)]
    return [name + line for name, line in zip(above, table(short, indent="  ", right=right), strict=True)]


# ---------------------------------------------------------------- tables


def table(rows: Iterable[Sequence[str]], *, indent: str = "", right: frozenset[int] = frozenset()) -> list[str]:
    """Lines with aligned columns; the last column is free, and every cell is made printable."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not cells:
        return []
    widths = [max(columns(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [indent + _row(row, widths, right) for row in cells]


def _row(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    parts = [
        " " * (width - columns(cell)) + cell if i in right else cell + " " * (width - columns(cell))
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(parts).rstrip()


# ---------------------------------------------------------------- events


class EventPrinter:
    """An ``on_event`` for a rotator. It never raises: a message nobody can read must not stop a rotation."""

    def __init__(
        self,
        verbosity: int,
        *,
        as_json: bool,
        before: Callable[[], object] = lambda: None,
        bound: Mapping[str, Any] | None = None,
    ) -> None:
        """``bound``: fields of each line, such as the job that a run is an attempt of."""
        self.level = shown_from(verbosity)
        self._bound = dict(bound or {})
        self.filter: Callable[[Event], Event | None] = lambda event: event  # of those that are shown
        self._json = as_json
        self._before = before  # clears a progress bar from the line
        self._logger: Any = None

    def __call__(self, event: Event) -> None:
        shown = self.filter(event) if event.level >= self.level else None
        if shown is not None:
            self.show(shown)

    def show(self, event: Event) -> None:
        """Print it, unless it is below the level."""
        if event.level < self.level:
            return
        # A closed pipe or a full disk behind stderr; the report and the exit code still tell.
        with contextlib.suppress(OSError, ValueError):
            self._before()
            told = _safe({**self._bound, **event.fields})
            if self._json:
                sys.stderr.write(json_line(event.name, told, datetime.now(UTC)))
                sys.stderr.flush()
            else:
                self._logger = self._logger or _console()
                getattr(self._logger, event.level.name.lower())(event.name, **told)


def _console() -> Any:
    import structlog  # 30 ms, which a quiet run does not pay

    return structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(0),
        processors=_console_processors(),
        context_class=dict,
    )


def _safe(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields under names that structlog does not use itself."""
    taken = ("self", "event", "level", "timestamp")
    return {f"{key}_" if key in taken else key: value for key, value in fields.items()}


def _console_processors() -> list[Any]:
    from structlog.dev import ConsoleRenderer
    from structlog.processors import TimeStamper, add_log_level

    stamper = TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)
    return [_shown_values, add_log_level, stamper, ConsoleRenderer(colors=has_colours(sys.stderr), sort_keys=False)]


def _shown_values(_: Any, __: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: value if key == "event" else _Value(value) for key, value in fields.items()}


class _Value:
    """A field on the console: escaped, and quoted where it has blanks."""

    def __init__(self, value: Any) -> None:
        text = value if isinstance(value, str) else str(value)
        shown = printable(text)
        self._text = f'"{shown}"' if " " in shown or not shown else shown

    def __repr__(self) -> str:
        return self._text


# ---------------------------------------------------------------- progress


class Progress:
    """An ``on_progress`` for a rotator. It never raises, and leaves an empty line behind."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._began is None:
            self._began = self._clock()
        if self._bar is None and (total > LARGE or self._clock() - self._began > PATIENCE):
            import click

            # color=False: click then hides no cursor, which a kill would leave hidden.
            self._bar = click.progressbar(length=total, label="Compressing", file=sys.stderr, color=False)
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._show(done, total)

    def _show(self, done: int, total: int) -> None:
        self._bar.length, self._bar.pos, self._bar.finished = total, done, False
        self._bar.make_step(0)
        self._bar.render_progress()

    def clear(self) -> None:
        """Take the bar off its line; the next call draws it again."""
        if self._bar is not None and self._bar.max_width:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write("\r" + " " * self._bar.max_width + "\r")
                sys.stderr.flush()
            self._bar._last_line = None
