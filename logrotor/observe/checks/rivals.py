"""Is another rotator configured for the same files? logrotate's rules are read, nothing of it is run."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
from collections.abc import Iterator

from logrotor.model import Check, Finding
from logrotor.observe.site import Site

FILES = ("/etc/logrotate.conf", "/etc/logrotate.d/*")
_SCRIPTS = re.compile(r"^\s*(?:prerotate|postrotate|firstaction|lastaction|preremove)\b.*?^\s*endscript\b", re.M | re.S)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)


def checks(site: Site) -> list[Check]:
    return [Check(id="rivals.logrotate", title="logrotate has no rule for a log of ours", look=lambda: logrotate(site))]


def logrotate(site: Site, files: tuple[str, ...] = FILES) -> Iterator[Finding]:
    for file in sorted(path for pattern in files for path in glob.glob(pattern)):
        try:
            with open(file, encoding="utf-8", errors="surrogateescape") as opened:
                patterns = list(patterns_of(opened.read()))
        except PermissionError:  # root's own rules; others are not meant to read them
            continue
        for facts in site.survey.logs:
            hit = next((p for p in patterns if _matches(facts.path, p)), None)
            if hit is not None:
                yield _finding(facts.path, file, hit)


def _matches(path: str, pattern: str) -> bool:
    """As glob(7): no wildcard stands for a slash."""
    parts, wanted = path.split("/"), os.path.normpath(pattern).split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def patterns_of(text: str) -> Iterator[str]:
    """The paths and globs that stand before each "{" of a logrotate configuration (logrotate.conf(5))."""
    plain = _COMMENT.sub("", _SCRIPTS.sub("", text))
    for head in re.findall(r"(?:^|\})([^{}]*)\{", plain):
        try:
            words = shlex.split(head)
        except ValueError:
            continue
        yield from (word for word in words if os.path.isabs(word))


def _finding(log: str, file: str, pattern: str) -> Finding:
    return Finding(
        subject=log,
        problem=f"logrotate has a rule for it: {pattern} in {file}",
        why="two rotators shift and remove the same archives, and each takes the other's for its own",
        advice=f"take it out of {file}, or out of this configuration",
    )
