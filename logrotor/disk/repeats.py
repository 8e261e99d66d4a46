"""Runs that only failed, for the same reasons as the run before: one row with their number, not one a minute."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from logrotor.disk import rows, state
from logrotor.disk.database import Work
from logrotor.model import Outcome, Status

_REFUSED = "plan"  # the action of what failed before anything was tried
_Key = tuple[bytes, str, str, bytes, str]


def last_look(state_dir: str, only: Collection[str]) -> float | None:
    """When a run last looked at these rules and logs, or at all (epoch seconds); None: there was none."""
    report, last = state.last_report(state_dir), state.known_run(state_dir)
    if report is None or not report.looks:  # of an older logrotor
        return None if last is None else last.at
    return max((each.at for each in report.looks if each.covers(only)), default=None)


class _Kept(Struct):
    """What of an outcome's details matters here."""

    runs: int = 1
    since: float = 0.0
    anew: bool = False
    problem: dict[str, object] | str = ""


class _Row(Struct):
    id: int
    key: _Key
    kept: _Kept


def counted(
    connection: sqlite3.Connection | None,
    run: int | None,
    now: float,
    outcomes: Collection[Outcome],
    last: float | None,
) -> tuple[list[Outcome], list[Work]]:
    """The outcomes, those of refusals with the number of their runs in a row and since when; and statements that delete
    the run before, where this one says the same again.

    ``anew``: a run of which nothing is recorded came between, so what failed before that has ended. ``last``: the run
    before that looked at the same, whether recorded or not.
    """
    if not any(_is_refusal(outcome) for outcome in outcomes):
        return list(outcomes), []
    begin = {"runs": 1, "since": now}
    with suppress(sqlite3.Error, ValueError, TypeError):
        if connection is not None and run is not None:
            before, ended, found = _before(connection, run, outcomes)
            if last is not None and ended is not None and last - 1 > ended:
                return _with(outcomes, {**begin, "anew": True}), []
            if found and all(map(_is_still, outcomes)) and {row.key for row in found} == {*map(_key, outcomes)}:
                first = max((row.kept for row in found), key=lambda kept: kept.runs)
                again = {"runs": first.runs + 1, "since": first.since, **({"anew": True} if first.anew else {})}
                gone: list[Work] = [
                    ("DELETE FROM outcomes WHERE id = ?", [(row.id,) for row in found]),
                    ("DELETE FROM runs WHERE id = ?", [(before,)]),
                ]
                return _with(outcomes, again), gone
    return _with(outcomes, begin), []


def _before(
    connection: sqlite3.Connection, run: int, outcomes: Collection[Outcome]
) -> tuple[int | None, float | None, Sequence[_Row]]:
    """The recorded run before that had to do with one of these logs, when it ended, and its outcomes; none of them
    where they are not as many."""
    log = next(os.fsencode(outcome.log) for outcome in outcomes if _is_refusal(outcome))
    ask = "SELECT max(id), run FROM outcomes WHERE log = ? AND run < ?"
    last, before = connection.execute(ask, (log, run)).fetchone()
    (ended,) = connection.execute("SELECT ended FROM runs WHERE id = ?", (before,)).fetchone() or (None,)
    ask = "SELECT id, run, log, action, status, name, reason, details FROM outcomes WHERE id BETWEEN ? AND ?"
    near = connection.execute(ask, ((last or 0) - len(outcomes), (last or 0) + len(outcomes))).fetchall()
    found = [row for row in near if row["run"] == before]
    return before, ended, [_row(row) for row in found] if len(found) == len(outcomes) else []


def _row(row: sqlite3.Row) -> _Row:
    kept = msgspec.json.decode(row["details"] or "{}", type=_Kept)
    words = kept.problem if isinstance(kept.problem, dict) else {}
    why = str(words.get("advice") or row["reason"]) if row["status"] == Status.FAILED else ""
    return _Row(row["id"], (row["log"], row["action"], row["status"], row["name"], why), kept)


def _key(outcome: Outcome) -> _Key:
    """Which refusal it is, whatever numbers its words have."""
    why = ""
    if outcome.status is Status.FAILED:
        why = (outcome.problem.advice if outcome.problem is not None else "") or rows.text(outcome.reason)
    return os.fsencode(outcome.log), outcome.action, outcome.status.value, os.fsencode(outcome.name), why


def _is_refusal(outcome: Outcome) -> bool:
    return outcome.action == _REFUSED and outcome.status is Status.FAILED


def _is_still(outcome: Outcome) -> bool:
    """Nothing was done."""
    return _is_refusal(outcome) or outcome.status is Status.DEFERRED


def _with(outcomes: Collection[Outcome], more: Mapping[str, object]) -> list[Outcome]:
    return [replace(o, details={**o.details, **more}) if _is_refusal(o) else o for o in outcomes]
