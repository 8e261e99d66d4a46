"""The logs and what lies beside them: refused ones, modes, leftovers, files of no rule, and who writes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from logrotor import notify, text
from logrotor.decide.facts import LogFacts
from logrotor.disk import acl, identity, proc, writers
from logrotor.disk.directories import Directories
from logrotor.disk.walk import user_name
from logrotor.errors import Busy, LogrotorError, ReopenFailed, Stale
from logrotor.model import Check, DropTemp, Entry, Finding, Manager, Method, Nobody, Problem, Written
from logrotor.notify import supervisord
from logrotor.observe import unclaimed
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.survey import why_no_archives
from logrotor.text import ours, typed


def checks(here: Deployment) -> list[Check]:
    return [
        Check(id="logs.refused", title="every log can be taken", look=lambda: refused(here)),
        Check(id="logs.modes", title="live logs have the mode of their rule", look=lambda: modes(here)),
        Check(id="logs.leftovers", title="no interrupted run left anything", look=lambda: leftovers(here)),
        Check(id="logs.unclaimed", title="every dated file belongs to a rule", look=lambda: dated(here)),
        Check(id="logs.large", title="every large file belongs to a rule", look=lambda: large(here)),
        Check(id="logs.unknown", title="archives are those of their log", look=lambda: unknown(here)),
        Check(id="logs.unclear", title="every file is a log or an archive", look=lambda: unclear(here)),
        Check(id="writers.old", title="nobody writes an archive", look=lambda: old(here)),
        Check(id="writers.deleted", title="nobody writes a removed file", look=lambda: deleted(here)),
        Check(id="writers.append", title="copytruncated logs are appended to", look=lambda: append(here)),
        Check(id="reopen.targets", title="every reopen target can be asked", look=lambda: targets(here)),
        Check(
            id="reopen.supervisord",
            title="supervisord rotates no log of ours",
            look=lambda: self_rotation(here),
            facts=lambda: unread(here),
        ),
    ]


# ---------------------------------------------------------------- logs


def refused(here: Deployment) -> Iterator[Finding]:
    for item in here.survey.required:
        yield Finding(
            subject=item.name,
            problem=item.reason,
            why="a misspelt path looks like this too; every run ends with exit 1",
            advice='correct paths in the rule, or set missing = "skip" there',
        )
    for facts in here.survey.logs:
        why = here.plans[facts.path].refused
        told = facts.directory.problem or facts.directory.closed  # once, by the check of the directory
        if why is None or why == told or why.kind == writers.OVERWRITES or why == _archive_dir_problem(here, facts):
            continue
        yield Finding(
            subject=facts.path,
            problem=why.under(facts.path).problem,
            why="it is not rotated, and grows until the disk is full; every run ends with exit 1",
            advice=why.advice or "correct that",
        )


def _archive_dir_problem(here: Deployment, facts: LogFacts) -> Problem | None:
    """What directories.archives says already."""
    if facts.spec.archive_dir is None:
        return None
    place = os.path.join(facts.directory.resolved or facts.directory.path, facts.spec.archive_dir)
    return why_no_archives(facts.spec, here.listings.look(place))


def modes(here: Deployment) -> Iterator[Finding]:
    for facts in here.survey.logs:
        live, wanted = facts.family.live, facts.spec.create_mode
        if live is None or not live.is_regular or not facts.spec.create or facts.spec.method is Method.COPYTRUNCATE:
            continue
        if isinstance(wanted, int) and _mode_of(facts.path, live) != wanted:
            yield _mode(facts, live, wanted)


def _mode_of(path: str, live: Entry) -> int:
    """Where the log has an ACL, its group may do what an entry says, and stat shows the mask instead."""
    return live.stat.st_mode & 0o7000 | acl.of(path, live.stat).mode


def _mode(facts: LogFacts, live: Entry, wanted: int) -> Finding:
    mode = _mode_of(facts.path, live)
    command, setting = (
        f"chmod {wanted:04o} {typed(facts.path)}",
        f'create_mode = "{mode & 0o777:04o}" in rule {facts.spec.name}',
    )
    ours = live.stat.st_uid == os.geteuid()
    by = "" if ours else f" (as {user_name(live.stat.st_uid)})"
    exposes = wanted & ~mode & 0o007  # what was written in private stays so, unless a human says otherwise
    return Finding(
        subject=facts.path,
        problem=f"mode {mode:04o}, but create_mode = {wanted:04o}",
        why=f"the next rotation replaces it with one of create_mode: {_change(mode, wanted)}",
        advice=f"{setting}; or, if anyone may: {command}{by}" if exposes else f"{command}{by}, or {setting}",
        would=command,
        mend=partial(identity.set_mode, facts.path, wanted, live.id) if ours and not exposes else None,
    )


def _change(mode: int, wanted: int) -> str:
    if mode & ~wanted:
        return "who writes or reads it now may be locked out then"
    return "more may read or write it then than now"


# ---------------------------------------------------------------- what lies beside


def leftovers(here: Deployment) -> Iterator[Finding]:
    for facts in here.survey.logs:
        plan = here.plans[facts.path]
        for step in plan.recover:
            name = getattr(step, "name", None) or f".{facts.base}.new"
            if isinstance(step, DropTemp) and _is_worked_on(here, step):
                continue
            yield Finding(
                subject=os.path.join(facts.directory.resolved, name),
                problem=f"left by an interrupted run: {getattr(step, 'reason', '') or 'to be finished'}",
                why="it takes up room, and if it stays no run has come since, or none that could finish it",
                advice=f"{ours('run')} finishes or drops it",
                would=f"remove {name}, unless a run works on it or it is no longer that file",
                mend=partial(_drop, here, facts.path, step) if isinstance(step, DropTemp) else None,
            )


def _is_worked_on(here: Deployment, step: DropTemp) -> bool:
    """Its maker holds it locked as long as it lives."""
    try:
        with Directories(here.survey.directories) as dirs, dirs.use(step.directory) as logdir:
            fd = logdir.open_file(step.name, step.id, names=2)
            try:
                logdir.hold(fd, step.name)
            finally:
                os.close(fd)
    except (Busy, Stale, FileNotFoundError):
        return True
    except (LogrotorError, OSError):
        return False
    return False


def _drop(here: Deployment, log: str, step: DropTemp) -> str:
    with Directories(here.survey.directories) as dirs, dirs.turn(log), dirs.use(step.directory) as logdir:
        logdir.drop(step.name, step.id)
    return f"removed {os.path.join(step.directory, step.name)}"


def dated(here: Deployment) -> Iterator[Finding]:
    for series in unclaimed.series(here):
        yield Finding(
            subject=series.pattern,
            problem=f"{text.count(series.files, 'dated or archived file')}, {series.bytes} bytes, of no rule",
            why="logrotor never touches what no rule claims: if nothing else removes them they stay for ever",
            advice="name them in exclude if their program removes them; else remove them, or claim them by paths",
        )


def large(here: Deployment) -> Iterator[Finding]:
    for found in unclaimed.large(here):
        yield Finding(
            subject=found.path,
            problem=found.words,
            why="logrotor never touches what no rule claims: it grows until the disk is full",
            advice="add its path to paths of a rule, or its name to exclude if it is no log",
        )


def unknown(here: Deployment) -> Iterator[Finding]:
    """Archives in an archive directory that no run with this history put there: they will count as the log's own."""
    for facts in here.survey.logs:
        place = facts.archive_dir
        if place is None or place in facts.history.archive_dirs:
            continue
        if any(d.resolved == place and facts.base in d.families for d in facts.elsewhere):
            yield Finding(
                subject=os.path.join(place, facts.base),
                problem=f"archives of this name that the history does not know, where {facts.path} has its own",
                why="runs count and remove them as that log's; another configuration or program may have made them",
                advice=f"if they are not that log's, give rule {facts.spec.name} another archive_dir",
            )


def unclear(here: Deployment) -> Iterator[Finding]:
    for found in here.survey.unclear:
        yield Finding(
            subject=found.subject,
            problem=found.problem,
            why="a log that is not rotated grows until the disk is full, an archive that is not removed stays for ever",
            advice=found.advice,
        )


# ---------------------------------------------------------------- who writes them


def old(here: Deployment) -> Iterator[Finding]:
    for facts in here.survey.logs:
        for archive in archives_of(facts):
            found = facts.writers.get(archive.entry.id)
            if isinstance(found, Written):
                target = facts.spec.reopen
                helps = f"is {target} the right reopen target?" if target else "name who reopens it: reopen = ..."
                yield Finding(
                    subject=archive.path,
                    problem=f"{_who(found.pids)} still writes it, though it was rotated",
                    why="its lines are not in the live log; it can be neither compressed nor removed, and grows",
                    advice=f'{helps}; for a writer that cannot reopen: method = "copytruncate"; or restart it',
                )


def deleted(here: Deployment) -> Iterator[Finding]:
    places = frozenset(facts.directory.resolved for facts in here.survey.logs)
    for found in dict.fromkeys(writers.writers_of_deleted(places)):
        yield Finding(
            subject=found.path,
            problem=f"{_who((found.pid,))} writes it, though it was removed ({found.size} bytes)",
            why="its lines are lost when the process ends, and the room that they take comes back only then",
            advice=f"find the number N by ls -l /proc/{found.pid}/fd, cp /proc/{found.pid}/fd/N FILE; then restart it",
        )


def append(here: Deployment) -> Iterator[Finding]:
    logs = [f for f in here.survey.logs if f.spec.method is Method.COPYTRUNCATE and f.family.live is not None]
    for facts in logs:
        assert facts.family.live is not None
        for holder in here.processes.holders.get(facts.family.live.id, ()):
            if not holder.append:
                yield Finding(
                    subject=facts.path,
                    problem=f"{_who((holder.pid,))} has it open without O_APPEND",
                    why="after a truncation it would go on where it was, behind a hole of NUL bytes; "
                    "logrotor therefore does not rotate it",
                    advice="let it append (>> instead of >; mode 'a' instead of 'w'), or use method = \"rename\"",
                )


def _who(pids: tuple[int, ...]) -> str:
    return " and ".join(_named(pid) for pid in pids) or "a process that cannot be seen from here"


def _named(pid: int) -> str:
    program = proc.program(pid)
    return f"process {pid} ({program})" if program else f"process {pid}"


# ---------------------------------------------------------------- who reopens them


def targets(here: Deployment) -> Iterator[Finding]:
    """A stopped daemon is none: where it is proved that nobody writes, every run ends with exit 0 without it."""
    used = {spec.reopen for spec in here.config.logs}
    for name, target in here.config.targets.items():
        logs = [facts for facts in here.survey.logs if facts.spec.reopen == name]
        try:
            if name in used:
                notify.probe(target, tuple(facts.path for facts in logs))
        except ReopenFailed as error:
            if error.problem.kind in (notify.ABSENT, notify.STALE) and logs and all(map(_is_let_go, logs)):
                continue
            told = error.problem
            if told.kind == notify.FORBIDDEN and logs:
                told = notify.answer(told, logs[0].directory.path, notify.asked(target))
            yield Finding(
                subject=error.problem.subject,
                problem=told.problem,
                why="after a rotation its writers go on with the old file; it waits, neither compressed nor removed",
                advice=told.advice or "correct that; the next run asks again",
            )


def _is_let_go(facts: LogFacts) -> bool:
    """Is it proved that nobody writes the log, or an archive of it?"""
    live = [facts.live_writers()] if facts.family.live is not None else []
    return all(isinstance(found, Nobody) for found in (*live, *facts.writers.values()))


def self_rotation(here: Deployment) -> Iterator[Finding]:
    """Asked of every supervisord that can be seen and could rotate a log of ours, whether or not a rule names it."""
    found = _rotations(here)
    files = {path: problem for rotation in found.values() for path, problem in rotation.files.items()}
    ours = {here.mounts.real_path(facts.path): facts.path for facts in here.survey.logs} if files else {}
    problems = [replace(files[path], subject=ours[path]) for path in sorted(files.keys() & ours.keys())]
    problems += [each for pid, rotation in found.items() for each in rotation.unknown if _concerns_us(here, pid)]
    hiding = proc.why_hiding()
    if not found and hiding is not None:
        problems.append(
            supervisord.unknown("supervisord", f"/proc does not show every process: {hiding}", "run the doctor as root")
        )
    for each in problems:
        yield Finding(subject=each.subject, problem=each.problem, why=each.why, advice=each.advice)


def unread(here: Deployment) -> dict[str, str]:
    """Of which supervisord nothing is known, and nothing says that it has to do with us."""
    return {
        each.subject: f"not known: {each.problem}"
        for pid, rotation in _rotations(here).items()
        for each in rotation.unknown
        if not _concerns_us(here, pid)
    }


def _rotations(here: Deployment) -> dict[int, notify.SelfRotation]:
    """By the process of each supervisord that could."""
    given = next((t.supervisor_config for t in here.config.targets.values() if t.supervisor_config), None)
    places = {selector.directory for selector in here.named.selectors}
    able = (process for process in supervisord.running() if process.is_believed or _could_rotate(process.uid, places))
    return {process.pid: supervisord.rotated_by(process, given=given) for process in able}


def _concerns_us(here: Deployment, pid: int) -> bool:
    """Has it a file open among our logs, as a supervisord has of all that it runs? Where that may not be seen, only
    the configuration tells: of several users each may have one, with secrets of its own."""
    places = {selector.directory for selector in here.named.selectors}
    places |= {facts.directory.resolved for facts in here.survey.logs}
    try:
        return any(file.for_writing and os.path.dirname(file.name) in places for file in proc.opened(pid))
    except OSError:
        targets = [each for each in here.config.targets.values() if each.manager is Manager.SUPERVISORD]
        return bool(targets) and not any(each.pidfile for each in targets)


def _could_rotate(uid: int, directories: Iterable[str]) -> bool:
    """Might a user rename a file in one of these? With an ACL, the group's bits are the most that anybody named has."""
    for directory in directories:
        try:
            status = os.stat(directory)
        except OSError:  # who knows
            return True
        if status.st_uid == uid or status.st_mode & 0o022:
            return True
    return False
