"""How each log, each file system and the rotation itself stand now, and what of it needs attention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

from msgspec import Struct
from msgspec.structs import replace

from logrotor import text
from logrotor.decide import proof, schedule
from logrotor.decide.facts import LogFacts
from logrotor.decide.schedule import last_rotation
from logrotor.decide.slots import newest_first
from logrotor.disk import state
from logrotor.model import Archive, Codec, Due, Entry, PastOutcome, Problem, Written
from logrotor.observe import blocked, forecast, unclaimed
from logrotor.observe.deployment import Deployment, archives_of
from logrotor.observe.forecast import SystemStatus
from logrotor.observe.rotations import Rotation
from logrotor.observe.unclaimed import Large

_LATER = 30.0  # seconds; a run marks its end in the history first, on a slow disk some time before the file last-run


class Pending(Struct, frozen=True, kw_only=True):
    """An archive that waits for its writer to let go."""

    name: str
    reason: str
    pids: tuple[int, ...] = ()
    since: datetime | None = None  # its rotation
    size: int = 0
    held: bool = False  # somebody does write it, which is more than that nobody is not proved
    grown: int | None = None  # bytes since its rotation; None: the history does not know its size then


class LogStatus(Struct, frozen=True, kw_only=True):
    """One log. Moments are aware, in the zone of ``now``; None: unknown or never."""

    path: str
    rule: str
    size: int | None  # None: missing
    max_size: int | None
    schedule: str | None
    due: bool
    reason: str  # why it is due or not
    next_due: datetime | None  # forecast, or the next slot of the schedule, whichever comes first
    next_due_by: str | None  # "size" or "schedule"
    next_due_first: datetime | None = None  # of a forecast, from when on it may be due
    next_due_last: datetime | None = None  # and by when it will be; None: maybe never
    pace: float | None  # bytes a second that are written, in the last days
    paced: float | None = None  # seconds over which that was measured
    recent_pace: float | None = None  # bytes a second in the last hour that was watched
    usual_pace: float | None = None  # at this time of the day in the last week; None with less than a day of samples
    due_since: datetime | None  # for a log that is due
    last_rotation: datetime | None
    known: bool = True  # what is None of its past is never, and not unknown
    last_outcome: str | None  # "done", "failed", "deferred"
    last_problem: Problem | None  # why it was not done
    last_failure: Problem | None = None  # of the last run that failed, of whatever step
    failures: int  # runs in a row in which something of this log failed
    archives: int
    archive_bytes: int
    ratio: float | None  # bytes of log that one byte of archive holds
    pending: tuple[Pending, ...]
    held_bytes: int  # of archives that somebody still writes
    request_failed: bool  # the last reopen request
    refused: Problem | None


class Status(Struct, frozen=True, kw_only=True):
    """Everything at one moment; logs that need attention first, in natural order."""

    now: datetime
    last_run: datetime | None
    run_by: datetime | None = None  # when the next run must have ended; None: nothing says how often there is one
    known: bool = True  # the history could be read: what is None is never, and not unknown
    under_way: int | None = None  # the process of a run that is at work just now, and not stopped
    failed_runs: int  # in a row
    logs: tuple[LogStatus, ...]
    file_systems: tuple[SystemStatus, ...]
    missing: tuple[str, ...]
    unclaimed: tuple[Large, ...]  # large files beside the logs that no rule has
    problems: tuple[Problem, ...]


_SEEN: WeakKeyDictionary[Deployment, Status] = WeakKeyDictionary()  # the page and a check of the doctor's ask


def status(here: Deployment) -> Status:
    """Look at everything once. What the history does not tell is unknown, and ``problems`` says why."""
    if here not in _SEEN:
        _SEEN[here] = _status(here)
    return _SEEN[here]


def _status(here: Deployment) -> Status:
    outcomes: dict[str, list[PastOutcome]] = defaultdict(list)
    for outcome in here.outcomes:
        for log in outcome.logs:
            outcomes[log].append(outcome)
    done = here.rotations
    logs = [_log(here, facts, done.get(facts.path, []), outcomes.get(facts.path, [])) for facts in here.survey.logs]
    return Status(
        now=here.now,
        last_run=here.moment(here.last_run),
        run_by=here.moment(here.run_by),
        known=here.blind is None,
        under_way=None if state.stopped_run(here.config.state_dir) else state.holder(here.config.state_dir),
        failed_runs=_failures_of_runs(here),
        logs=tuple(sorted(logs, key=_urgency)),
        file_systems=tuple(forecast.file_systems(here, dict(_growing(here, {log.path: log for log in logs})))),
        missing=tuple(here.survey.missing),
        unclaimed=tuple(unclaimed.large(here)),
        problems=(
            *(found.as_problem for found in here.config.problems),
            *here.survey.problems,
            *blocked.problems(here),
            *_vanished(here),
            *(each for each in (here.blind or here.samples.problem, here.left_out, here.watch) if each is not None),
        ),
    )


def _vanished(here: Deployment) -> Iterable[Problem]:
    """A rule without a log has nothing to tell of, which must not look as if all were well."""
    having = {facts.spec.name for facts in here.survey.logs if facts.family.live is not None}
    gone = [each.problem for each in here.survey.vanished if each.rule not in having]
    yield from gone
    if not gone and not here.survey.logs and not here.survey.problems and any(o.log for o in here.outcomes):
        what = "no log is found, though there were some: is a file system not mounted, or paths misspelt?"
        yield Problem(subject="", problem=what)


# ---------------------------------------------------------------- a log


def _log(here: Deployment, facts: LogFacts, done: Sequence[Rotation], outcomes: Sequence[PastOutcome]) -> LogStatus:
    plan, spec, now = here.plans[facts.path], facts.spec, here.now.timestamp()
    taken = [r for r in done if r.status == "done"]
    known = here.paces.get(facts.path)
    pace, by_size = known.rate if known is not None else None, None
    if spec.max_size is not None and plan.size is not None:
        by_size = forecast.due_by_size(plan.size, spec.max_size, pace, now)
    next_due = forecast.next_due(here, plan, spec, known)
    last = max((m for m in (facts.history.last_rotation, *(r.time for r in taken)) if m), default=None)
    archives = archives_of(facts)
    pending = tuple(_pending(here, facts, archives, taken))
    # What its writer adds to an archive, instead of the log, fills the disk like a log.
    elsewhere = sum(_pace_of(each, here.now) for each in pending if each.held)
    return LogStatus(
        path=facts.path,
        rule=spec.name,
        size=plan.size,
        max_size=spec.max_size,
        schedule=spec.schedule_name or spec.schedule,
        due=isinstance(plan.due, Due),
        reason=plan.due.reason,
        **next_due,
        pace=None if pace is None else pace + elsewhere,
        paced=known.seen if known is not None and pace is not None else None,
        recent_pace=known.recent if known is not None else None,
        usual_pace=known.usual if known is not None else None,
        due_since=_due_since(here, facts, pace, by_size, last),
        last_rotation=here.moment(last),
        known=here.blind is None and (last is not None or not archives),
        last_outcome=done[-1].status if done else None,
        last_problem=done[-1].problem if done else None,
        last_failure=next((o.problem for o in reversed(outcomes) if o.status == "failed"), None),
        failures=_failures_of_log(here, outcomes, (facts.path, spec.name)),
        archives=len(archives),
        archive_bytes=sum(archive.entry.size for archive in archives),
        ratio=_ratio(taken),
        pending=pending,
        held_bytes=sum(each.size for each in pending if each.held),
        request_failed=facts.history.request_failed is not None,
        refused=plan.refused,
    )


def _pace_of(archive: Pending, now: datetime) -> float:
    """Bytes a second that its writer has added to it since its rotation."""
    seconds = (now - archive.since).total_seconds() if archive.since is not None else 0.0
    return (archive.grown or 0) / seconds if seconds > 0 else 0.0


def _due_since(
    here: Deployment, facts: LogFacts, pace: float | None, by_size: float | None, last: float | None
) -> datetime | None:
    """An estimate, for a log that grows past its limit between two runs; never before its last rotation."""
    spec, live, plan = facts.spec, facts.family.live, here.plans[facts.path]
    if not isinstance(plan.due, Due) or live is None:
        return None
    if spec.max_size is not None and live.size > spec.max_size:
        return here.moment(None if by_size is None else max(by_size, last or 0.0))
    if spec.schedule is None:
        return None
    first = _first_missed_slot(here, spec.schedule, last_rotation([last, facts.birth()], here.now))
    had_lines = first is not None and _had_lines(here, live, pace, first.timestamp())
    return first if had_lines else schedule.latest_slot(spec.schedule, here.now)


def _first_missed_slot(here: Deployment, expression: str, last: float | None) -> datetime | None:
    begin = here.moment(last)
    slot = schedule.next_slot(expression, begin) if begin is not None else None
    return slot if slot is not None and slot.timestamp() <= here.now.timestamp() else None


def _had_lines(here: Deployment, live: Entry, pace: float | None, moment: float) -> bool:
    """An empty log is not rotated: was there something in it when it should have been, as far as one can tell?"""
    if here.last_run is not None and live.mtime <= here.last_run:
        return True
    return bool(pace) and live.size / (pace or 1.0) >= here.now.timestamp() - moment


def _growing(here: Deployment, logs: Mapping[str, LogStatus]) -> Iterator[tuple[str, forecast.Growth]]:
    """How each log grows on the disk, where its pace is known."""
    for facts in here.survey.logs:
        log = logs[facts.path]
        if log.pace is not None:
            packed = 1 / log.ratio if log.ratio else 1.0  # what was never compressed stays as it is, whatever is set
            sizes = [archive.entry.size for archive in archives_of(facts)]
            grows = forecast.growth(
                facts.spec, pace=log.pace, ratio=packed, archives=sizes, size=log.size or 0, seen=log.paced or 0.0
            )
            least, most = here.paces[log.path].extremes or (log.pace, log.pace)
            if log.pace:
                grows = replace(grows, least=min(1.0, least / log.pace), most=max(1.0, most / log.pace))
            yield log.path, grows


def _ratio(taken: Iterable[Rotation]) -> float | None:
    known = [(r.bytes, r.archive_bytes) for r in taken if r.bytes and r.archive_bytes]
    return sum(b for b, _ in known) / sum(a for _, a in known) if known else None


def _pending(
    here: Deployment, facts: LogFacts, archives: Iterable[Archive], taken: Sequence[Rotation]
) -> Iterable[Pending]:
    """``taken``: the log's rotations, of which each archive but the removed ones has one."""
    delivered, now = facts.history.request_delivered, here.now.timestamp()
    for rank, archive in enumerate(newest_first(archives, now)):
        if archive.name.codec is not Codec.NONE:
            continue
        found = facts.writers.get(archive.entry.id)
        reason = proof.why_not(found, archive.entry, delivered, now)
        if reason is not None:
            pids = found.pids if isinstance(found, Written) else ()
            rotation = taken[-min(rank + 1, len(taken))] if taken else None
            before = rotation.bytes if rotation is not None and rank < len(taken) else None
            yield Pending(
                name=archive.entry.name,
                reason=reason,
                pids=pids,
                since=here.moment(rotation.time if rotation is not None else None),
                size=archive.entry.size,
                held=isinstance(found, Written),
                grown=None if before is None else max(0, archive.entry.size - before),
            )


def _urgency(log: LogStatus) -> tuple[object, ...]:
    """What needs attention first, then what is due, each in natural order."""
    trouble = (log.refused is not None, log.failures > 0, log.request_failed, bool(log.pending), log.due)
    return (*(not each for each in trouble), text.natural(log.path))


# ---------------------------------------------------------------- how often in a row something failed


def _failures_of_runs(here: Deployment) -> int:
    """Runs with something to do that failed, up to the last one; 0 once what failed there is mended."""
    ended = [run for run in here.runs if run.ended is not None]
    of_last = [outcome for outcome in here.outcomes if ended and outcome.run == ended[-1].id]
    logs = {outcome.log for outcome in of_last}
    rules = {facts.spec.name for facts in here.survey.logs if facts.path in logs}
    if _is_mended(here, here.last_recorded, of_last, logs | rules):
        return 0
    return _in_a_row({run.id: run.exit != 0 for run in ended}, here.outcomes)


def _failures_of_log(here: Deployment, outcomes: Sequence[PastOutcome], names: Collection[str]) -> int:
    """Runs in which something failed, up to the last one that had to do with the log; ``outcomes`` are its own, and
    ``names`` it and its rule."""
    failed: dict[int, bool] = {}
    for outcome in outcomes:
        if outcome.status in ("done", "failed"):
            failed[outcome.run] = failed.get(outcome.run, False) or outcome.status == "failed"
    of_last = [o for o in outcomes if outcomes and o.run == outcomes[-1].run]
    if outcomes and _is_mended(here, outcomes[-1].time, of_last, names):
        return 0
    return _in_a_row(failed, outcomes)


def _is_mended(here: Deployment, ended: float, outcomes: Iterable[PastOutcome], names: Collection[str]) -> bool:
    """Did a later run find nothing of it to do? Whatever fails is tried again by the next run, but a request is not.

    ``names``: a run that was for one of them alone tells as much as one for all.
    """
    last = here.last_look(names)
    later = last is not None and last > ended + _LATER
    return later and not any(o.action == "reopen" and o.status == "failed" for o in outcomes)


def _in_a_row(failed: Mapping[int, bool], outcomes: Iterable[PastOutcome]) -> int:
    """The last runs that failed, the newest being the last; one that is kept for several counts as so many."""
    known, count = {o.run: o for o in outcomes if o.runs > 1 or o.anew}, 0
    for run in reversed(failed):
        if not failed[run]:
            break
        count += known[run].runs if run in known else 1
        if run in known and known[run].anew:
            break
    return count
