"""Paths of logrotate's, which are globs of glob(7), as globs of ours."""

from __future__ import annotations

import fnmatch
import os
import re

_CLASSES = {
    "digit": "0-9", "lower": "a-z", "upper": "A-Z", "alpha": "a-zA-Z", "alnum": "a-zA-Z0-9", "xdigit": "0-9a-fA-F",
    "punct": "!-/:-@[-`{-~", "space": " \t\n\r\f\v", "blank": " \t",
}  # fmt: skip
_PIECES = re.compile(r"\\(?P<escaped>.)|(?P<set>\[[!^]?\]?(?:\[:\w+:\]|[^\]])*\])|(?P<stars>\*\*+)|.", re.DOTALL)


def rewritten(pattern: str) -> str:
    """The same files in our language: backslash and braces stand for themselves, two stars for one."""
    return "".join(map(_piece, _PIECES.finditer(pattern)))


def _piece(match: re.Match[str]) -> str:
    if match["escaped"]:
        return f"[{match['escaped']}]" if match["escaped"] in "*?[{$" else match["escaped"]
    if match["set"]:
        inner = re.sub(r"\[:(\w+):\]", lambda name: _CLASSES.get(name[1], ""), match["set"][1:-1])
        if not inner.strip("!^"):  # a class that nobody knows, or a set of nothing but its opposite
            return re.sub(r"[\[{$*?]", r"[\g<0>]", match["set"])
        return f"[{'!' + inner[1:] if inner[0] in '!^' else inner}]"
    if match["stars"]:
        return "*"
    if match[0] in "{$" or (match[0] == "[" and match["set"] is None):
        return f"[{match[0]}]"
    return "?" if "\udc80" <= match[0] <= "\udcff" else match[0]  # a byte that TOML cannot hold


def is_greedy(pattern: str) -> bool:
    """Does it match archives of the logs that it matches, too?"""
    name = os.path.basename(pattern)
    return "*" in name and fnmatch.fnmatchcase(f"{name.replace('*', 'log')}.1", name)


def bare_name(pattern: str) -> str:
    """A name for the logs: ``nginx`` of ``/var/log/nginx/*.log``, ``wtmp`` of ``/var/log/wtmp``."""
    parts = pattern.removesuffix(".log").split("/")
    plain = (re.sub(r"[*?\[\]{}!\\]+", "", part).strip("-._ ") for part in reversed(parts))
    return next(filter(None, plain), "")
