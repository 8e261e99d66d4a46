"""What one call of the command line knows of itself, and the exit codes that all commands share."""

from __future__ import annotations

from msgspec import Struct

EXIT_CODES = """\
\b
Exit codes:
  0        all well; nothing due and deferred included
  1        some log, rule or reopen request failed
  2        usage, or a configuration with which nothing can run
  3        locked by another run
  130/143  interrupted by Ctrl-C or SIGTERM; ended cleanly"""


class Session(Struct):
    """How messages are to look. A command sets it as soon as it has parsed its options."""

    verbosity: int = 0  # -1: errors only, 0: warnings, 1: info, 2: debug
    json_messages: bool = False  # one JSON object a line on stderr
