"""Is logrotor set up right: its rules, who runs it, no rival for the same files, and a clock that tells the time?"""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from logrotor import text
from logrotor.config.find import named_config, words_of
from logrotor.decide.naming import stamp_time
from logrotor.disk import mounts, programs, trust
from logrotor.disk.files import read_text
from logrotor.disk.walk import user_name
from logrotor.logrotate.blocks import Block, Reading, read
from logrotor.logrotate.globs import rewritten
from logrotor.model import Archive, Check, Finding, Problem
from logrotor.observe.deployment import Deployment, archives_of

HOUR = 3600.0
LONGEST = 8 * 86400.0  # nobody runs it less often than once a week
_OFTEN = re.compile(r"\s*(?:[0-9*/,-]+(?:\s+\*){4}\s|@hourly\s)")  # crontab(5): at least once an hour
PLACES = (
    "/etc/crontab", "/etc/cron.d/*", "/etc/cron.*ly/*", "/var/spool/cron/crontabs/{user}", "/var/spool/cron/{user}",
    "/etc/systemd/system/*.service", "/usr/lib/systemd/system/*.service", "/etc/systemd/user/*.service",
    "{home}/.config/systemd/user/*.service", "/etc/supervisor/conf.d/*.conf", "/etc/supervisord.conf",
)  # fmt: skip
LOGROTATE = "/etc/logrotate.conf"
SLACK = 120.0  # seconds; network file systems have a clock of their own
TOUCH = "touch the file, or wait"
RENAME = "touch the file and correct the date in its name, if it has one; until that date, new archives get the same"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # no logrotor is older


def checks(here: Deployment) -> list[Check]:
    return [
        Check(id="config.rules", title="every rule can run", look=lambda: rules(here)),
        Check(id="config.trust", title="nobody else can change the configuration", look=lambda: trusted(here)),
        Check(id="config.matches", title="each rule has a log", look=lambda: matches(here)),
        Check(id="config.overlap", title="each log belongs to one rule", look=lambda: overlap(here)),
        Check(id="config.on_archive", title="the programs of on_archive are there", look=lambda: programs_of(here)),
        Check(id="rivals.logrotate", title="logrotate has no rule for a log of ours", look=lambda: logrotate(here)),
        Check(id="clock.time", title="the clock agrees with files and history", look=lambda: clock(here)),
        Check(id="schedule.runs", title="logrotor is run", look=lambda: runs(here)),
    ]


# ---------------------------------------------------------------- rules


def rules(here: Deployment) -> Iterator[Finding]:
    for problem in (each for each in here.config.problems if not each.is_of_queue):  # that is queue.configuration's
        check = f"logrotor check -c {text.typed(next(iter(here.config.files), problem.file))}"
        yield Finding(
            subject=problem.where,
            problem=problem.as_problem.problem,
            why="this rule is left out: its logs grow without a limit, and every run ends with exit 1",
            advice=f"{problem.advice or 'correct it'}; {check}",
        )


def trusted(here: Deployment) -> Iterator[Finding]:
    """An ordinary user's configuration is obeyed whoever else may write it: that may be meant, and is said.

    The same of its commands, and of each file that one is given: to a shell or an interpreter, that is the program.
    """
    us = user_name(os.geteuid())
    why = dict.fromkeys(here.config.files, f"whoever writes the configuration has {us}'s logs rotated and removed")
    for file in files_of_commands(here):
        why.setdefault(file, f"{us} runs it or hands it to a command: whoever changes it decides what {us} does")
    told: set[trust.Writer] = set()
    for file, reason in why.items():
        for writer in trust.other_writers(file):
            if writer not in told:
                told.add(writer)
                yield Finding(
                    subject=writer.path,
                    problem=f"{writer.who} {writer.how}",
                    why=reason,
                    advice=f"nothing, if that is meant; else {writer.advice}",
                )


def files_of_commands(here: Deployment) -> Iterator[str]:
    """The programs of on_archive and of the reopen targets, and the files among their arguments."""
    commands = [
        *(spec.on_archive for spec in here.config.logs),
        *(each.command for each in here.config.targets.values()),
    ]
    for command in dict.fromkeys(filter(None, commands)):
        program, *arguments = command
        files = [trust.places_of(program)[-1], *filter(os.path.isabs, arguments)]
        yield from (file for file in files if mounts.exists(file) and os.path.isfile(file))


def matches(here: Deployment) -> Iterator[Finding]:
    """A path without a log is nothing odd; a glob that has never had one is, most often, misspelt."""
    survey, rules = here.survey, here.config.logs
    if not survey.unmatched:
        return
    named = here.named
    past = {outcome.log for outcome in here.outcomes if outcome.log}
    having = {facts.spec.name for facts in survey.logs} | {s.spec.name for p in past for s in named.naming(p)}
    specs = {spec.name: spec for spec in rules}
    for spec in (specs[unmatched.name] for unmatched in survey.unmatched):
        places = {each.directory for each in named.selectors if each.spec is spec}
        if spec.name in having or (places and not any(map(os.path.lexists, places))):  # see directories.logs
            continue
        globs = ", ".join(path for path in spec.paths if glob.has_magic(path))
        left_out = ", or only what exclude leaves out" if spec.exclude else ""
        yield Finding(
            subject=f"rule {spec.name}",
            problem=f"{globs} matches no file{left_out}, and no run has rotated one",
            why="a misspelt path looks like this: the logs that were meant grow, and no run says a word",
            advice="correct paths in the rule; nothing, if the logs are still to come",
        )


def overlap(here: Deployment) -> Iterator[Finding]:
    for shadowed in here.survey.shadowed:
        yield Finding(
            subject=shadowed.name,
            problem=shadowed.reason,
            why="only the first of the two rules is used, whatever the second one says",
            advice="exclude it from one of them: exclude = [...]",
        )


def programs_of(here: Deployment) -> Iterator[Finding]:
    us = user_name(os.geteuid())
    for spec in here.config.logs:
        if spec.on_archive and not programs.is_there(spec.on_archive[0]):
            yield Finding(
                subject=f"rule {spec.name}",
                problem=f"on_archive: {spec.on_archive[0]}: no such program, or {us} may not run it",
                why="archives wait for it and are not removed, and every run with one ends with exit 1",
                advice="correct on_archive (a whole path: cron and systemd have a short PATH), or install the program",
            )


# ---------------------------------------------------------------- who runs it


def runs(here: Deployment, places: Sequence[str] = PLACES) -> Iterator[Finding]:
    if here.last_run is None and here.blind is not None:
        unknown = here.blind.under("logrotor")
        yield Finding(
            subject="logrotor",
            problem=f"nobody knows whether it is run: {unknown.problem}",
            why="logs that nobody rotates grow until the disk is full",
            advice=unknown.advice,
        )
        return
    if here.config.queue is not None:
        return  # whether its jobs are done is seen by queue.progress, and what starts them by queue.single
    age = None if here.last_run is None else here.now.timestamp() - here.last_run
    if age is not None and age < HOUR:
        return
    lines = named_in(places, here.config.files)
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
        f"crontab -e: {cron_line(here.config.files)} (or a timer, or a queue); a line in place that may not be "
        "read here shows by the next run",
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
        written = read_text(path)
    except OSError:
        return []
    return [line for line in written.split("\n") if "logrotor" in line and not line.lstrip().startswith(("#", ";"))]


def _is_meant(line: str, configs: Sequence[str]) -> bool:
    """A line with the configuration of another deployment says nothing of this one."""
    given = named_config(words_of(line))
    if given is None or not os.path.isabs(given) or "%" in given or not configs:  # %: a specifier, as of systemd
        return True
    return os.path.realpath(given) in map(os.path.realpath, configs)


# ---------------------------------------------------------------- rivals


def logrotate(here: Deployment, file: str = LOGROTATE) -> Iterator[Finding]:
    """What logrotate itself reads: a file that it includes, but not one with a name such as "app.disabled"."""
    reading = read([file]) if os.path.lexists(file) else Reading()
    yield from map(_unread, reading.unread)
    patterns = [(block, each, _parts(rewritten(each))) for block in reading.blocks for each in block.patterns]
    for facts in here.survey.logs:
        parts = facts.path.split("/")
        hits = ((block, each) for block, each, wanted in patterns if _matches(parts, wanted))
        for block, pattern in itertools.islice(hits, 1):
            yield _rival(facts.path, block, pattern)


def _unread(found: Problem) -> Finding:
    """Root may well keep a file of its own from others, which is no fault of this user's."""
    closed = found.kind == "EACCES"
    return Finding(
        subject=found.subject,
        problem=found.problem,
        why="nobody knows whether it names a log of ours",
        advice=f"root can see whether it does: cat {text.typed(found.subject)}"
        if closed
        else "logrotate reads it too: make it a file with rules, or remove it",
        note=closed,
    )


def _parts(pattern: str) -> list[str]:
    return os.path.normpath(pattern).split("/")


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """As glob(7): no wildcard stands for a slash."""
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _rival(log: str, block: Block, pattern: str) -> Finding:
    return Finding(
        subject=log,
        problem=f"logrotate has a rule for it: {pattern} in {block.file}:{block.line}",
        why="two rotators shift and remove the same archives, and each takes the other's for its own",
        advice=f"take it out of {block.file}, or out of this configuration",
    )


# ---------------------------------------------------------------- the clock


def clock(here: Deployment) -> Iterator[Finding]:
    if here.now < FIRST:
        yield _clock_wrong("clock", f"it is {here.now.date()}, before logrotor was written")
        return
    latest = max((run.started for run in here.runs), default=0.0)
    if latest > here.now.timestamp() + SLACK:
        yield _clock_wrong("history", f"its last run began on {_date(here, latest)}, in the future")
    written = [(f.family.live.mtime, f.path) for f in here.survey.logs if f.family.live is not None]
    yield from _latest(here, written, "log", "was last written on", TOUCH)
    archives = [(_moment(archive), archive.path) for f in here.survey.logs for archive in archives_of(f)]
    yield from _latest(here, archives, "archive", "is of", RENAME)


def _moment(archive: Archive) -> float:
    """What its name says: each new one gets the same date as long as that lies ahead."""
    return archive.entry.mtime if archive.name.stamp is None else stamp_time(archive.name.stamp) or 0.0


def _latest(here: Deployment, moments: list[tuple[float, str]], kind: str, verb: str, advice: str) -> Iterator[Finding]:
    ahead = sorted(each for each in moments if each[0] > here.now.timestamp() + SLACK)
    if ahead:
        when, path = ahead[-1]
        more = f" (and {text.count(len(ahead) - 1, f'more {kind}')})" if ahead[1:] else ""
        yield _clock_wrong(path, f"{verb} {_date(here, when)}, in the future{more}", advice)


def _date(here: Deployment, when: float) -> str:
    moment = here.moment(when)
    return "a date beyond the calendar" if moment is None else moment.isoformat(" ", "seconds")


def _clock_wrong(subject: str, problem: str, advice: str = TOUCH) -> Finding:
    return Finding(
        subject=subject,
        problem=problem,
        why="schedules and max_age go by the clock: logs are rotated, and archives removed, too early or too late",
        advice=f"is the clock synchronized (timedatectl)? If it is right now: {advice}",
    )
