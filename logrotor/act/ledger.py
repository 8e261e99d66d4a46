"""What a run has done: how each attempt ended, and what follows from it for the log. A plain value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct, field

from logrotor.model import LogPlan, Outcome, RunHook, Status, Step, action_of

_TAKING = frozenset({"take", "copytruncate", "recover", "create"})


class Ended(Struct, frozen=True):
    """How an attempt ended. ``stale``: the disk was not what the plan saw; the outcome is for who plans no more."""

    outcome: Outcome
    stale: bool = False


class Ledger(Struct):
    """``last``: what is stale is not planned again, so it has failed."""

    last: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    stale: set[str] = field(default_factory=set)  # logs to be planned again
    broken: set[str] = field(default_factory=set)  # logs to be left alone for the rest of the run
    asked: set[str] = field(default_factory=set)  # logs whose target was asked to reopen them
    unasked: set[str] = field(default_factory=set)  # and those of which that failed
    rotated: list[str] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)  # those of them of which there was time for a piece only
    copied: dict[str, int] = field(default_factory=dict)  # logs that were copied now: the inodes of their copies
    hooks: list[tuple[LogPlan, RunHook]] = field(default_factory=list)  # to be run once other runs may work

    def record(self, ended: Ended) -> Outcome | None:
        """Keep it. Returns what is to be told: nothing of a log that is planned again."""
        outcome, log = ended.outcome, ended.outcome.log
        if outcome.action == "reopen":
            self._record_request(outcome)
        elif ended.stale or outcome.status is Status.FAILED or _is_put_off(outcome):
            self.broken.add(log)
        if ended.stale:
            self.stale.add(log)
            if not self.last:
                return None
        if outcome.status is Status.DONE and outcome.action in _TAKING and "inode" in outcome.details:
            self.rotated.append(log)  # taken now, or by an interrupted run whose work is finished
            if outcome.action == "copytruncate":
                self.copied[log] = outcome.details["inode"]
                if "bytes_left" in outcome.details:
                    self.unfinished.add(log)
        self.outcomes.append(outcome)
        return outcome

    def _record_request(self, outcome: Outcome) -> None:
        if outcome.status is Status.DONE:
            self.asked.update(outcome.details["logs"])
        elif outcome.status is Status.FAILED:
            self.unasked.update(outcome.details["logs"])


def _is_put_off(outcome: Outcome) -> bool:
    """Another run works on the log: what would come next is its business."""
    return outcome.status is Status.DEFERRED and outcome.action in _TAKING


def name_of(step: Step) -> str:
    """The file that it is about, as its outcome names it."""
    return getattr(step, "name", None) or getattr(step, "base", "") or "slots"


# ------------------------------------------------------------ between processes

_ROOM = 16 << 10  # bytes for what is said of one step; names have 4 KiB at the most


def room(steps: int) -> int:
    """How many bytes a helper may tell of so many steps."""
    return _ROOM * (steps + 4)


def dump(endings: Iterable[Ended]) -> bytes:
    """One line of JSON, in ASCII: also for names that are not UTF-8."""
    return json.dumps(msgspec.to_builtins(list(endings))).encode()


def load(line: bytes, share: Sequence[tuple[str, Step]]) -> Iterator[Ended]:
    """What :func:`dump` has made, of steps that are in this share: path of the log and step. Raises ValueError."""
    wanted = {(log, action_of(step), name_of(step)) for log, step in share}
    logs = {log for log, _ in share}
    for ended in msgspec.convert(json.loads(line), list[Ended]):  # ValidationError is a ValueError
        found = ended.outcome
        is_leftover = found.action == "recover" and found.status is Status.FAILED and found.log in logs
        if not is_leftover and (found.log, found.action, found.name) not in wanted:
            raise ValueError(f"told of {found.action} {found.name} of {found.log}, which is not in its share")
        yield ended
