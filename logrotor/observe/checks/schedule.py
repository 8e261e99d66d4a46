"""Does anything run logrotor: a cron line, a timer, a supervised loop, a worker? The last run is the best witness."""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence

from logrotor import text
from logrotor.disk import programs
from logrotor.disk.walk import user_name
from logrotor.model import Check, Finding
from logrotor.observe.site import Site

HOUR = 3600.0
LONGEST = 8 * 86400.0  # nobody runs it less often than once a week
_OFTEN = re.compile(r"\s*(?:[0-9*/,-]+(?:\s+\*){4}\s|@hourly\s)")  # crontab(5): at least once an hour
_CONFIG = re.compile(
    r"\s(?:-c|--config)[ =]?[\"']?(/[^\s\"'%;]+)(?![^\s\"';])"
)  # %: a specifier of systemd or supervisord
PLACES = (
    "/etc/crontab", "/etc/cron.d/*", "/etc/cron.*ly/*", "/var/spool/cron/crontabs/{user}", "/var/spool/cron/{user}",
    "/etc/systemd/system/*.service", "/usr/lib/systemd/system/*.service", "/etc/systemd/user/*.service",
    "{home}/.config/systemd/user/*.service", "/etc/supervisor/conf.d/*.conf", "/etc/supervisord.conf",
)  # fmt: skip


def checks(site: Site) -> list[Check]:
    return [Check(id="schedule.runs", title="logrotor is run", look=lambda: runs(site))]


def runs(site: Site, places: Sequence[str] = PLACES) -> Iterator[Finding]:
    age = None if site.last_run is None else site.now.timestamp() - site.last_run
    if age is not None and age < HOUR:
        return
    lines = named_in(places, site.config.files)
    found = list(dict.fromkeys(path for path, _ in lines))
    often = any(_OFTEN.match(line) for _, line in lines)
    if age is not None and found and age < (2 * HOUR if often else LONGEST):
        return  # once a day or a week, it may be
    seen = f"; named in {', '.join(found)}" if found else ", and no cron line, timer or supervised program names it"
    yield Finding(
        subject="logrotor",
        problem=("no run is known" if age is None else f"the last run was {text.span(age)} ago") + seen,
        why="logs that nobody rotates grow until the disk is full",
        advice="is cron, systemd or supervisord running, and as this user? see its log" if found else
        f"crontab -e: {cron_line(site.config.files)} (or a timer, or a queue); a line in place that may not be read "
        "here shows by the next run",
    )  # fmt: skip


def cron_line(configs: Sequence[str]) -> str:
    """A line that works under cron, whose PATH is short; it takes a % for the end of the line: crontab(5)."""
    named = ["-c", os.path.abspath(configs[0])] if configs else []
    return "* * * * * " + shlex.join([*programs.ourselves(), "run", *named]).replace("%", r"\%")


def named_in(places: Sequence[str], configs: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The files that name logrotor outside of a comment, with the line; those that may not be read are left out."""
    user = user_name(os.geteuid())
    home = next((entry.pw_dir for entry in pwd.getpwall() if entry.pw_uid == os.geteuid()), "/nonexistent")
    paths = (path for place in places for path in sorted(glob.glob(place.format(user=user, home=home))))
    return [(path, line) for path in paths for line in _naming_it(path) if _is_meant(line, configs)]


def _naming_it(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line for line in file if "logrotor" in line and not line.lstrip().startswith(("#", ";"))]
    except OSError:
        return []


def _is_meant(line: str, configs: Sequence[str]) -> bool:
    """A line with the configuration of another deployment says nothing of this one."""
    given = _CONFIG.search(line)
    if given is None or not configs:
        return True
    return os.path.realpath(given[1]) in map(os.path.realpath, configs)
