"""The command line: parse, call, print, exit code. Decides nothing about logs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

from logrotor.cli import output
from logrotor.cli.session import Session
from logrotor.text import name_configuration


def main() -> NoReturn:
    """The console script: never returns, never shows a traceback for an expected error."""
    output.repair()
    code = call(sys.argv[1:])
    output.settle()
    gc.freeze()  # nothing is left to find, and the interpreter searches it all once more when it ends: 4 ms
    sys.exit(code)


def call(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; what goes wrong is told on stderr."""
    session = Session()
    try:
        plain = [arg for arg in args if arg != _AS_TEXT]
        if _is_plain_run(plain):
            from logrotor.cli.rotation import rotate

            file = next((word for word in plain if word not in _PLAIN), None)
            return rotate(session, file, log_format="auto" if len(plain) == len(args) else "console")
        from logrotor.cli import group

        return group.call(args, session)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of --help went away: nobody is left to tell
        output.silence(1)
        return 1
    except Exception as error:
        from logrotor.cli.session import fail

        return fail(error, session)
    finally:
        name_configuration(None)


_PLAIN = ("run", "-c", "--config")
_AS_TEXT = "--log-format=console"


def _is_plain_run(args: Sequence[str]) -> bool:
    """Is it what cron starts every minute? It is understood without click, which takes as long as all the rest."""
    match args:
        case ["run"]:
            return True
        case ["run", "-c" | "--config", file] | ["-c" | "--config", file, "run"]:
            return file != "" and file[0] != "-" and file not in _PLAIN
    return False
