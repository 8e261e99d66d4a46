"""What a helper tells is the ledger of its share, and nothing else is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from logrotor.act.ledger import Ended, Ledger, dump, load
from logrotor.model import FileId, Outcome, Problem, Status, Take

PATH = "/logs/caf\udce9.log"  # not UTF-8
STEP = Take("/logs", "caf\udce9.log", FileId(1, 2), 100, (), create=True, mode=0o664, reason="large")
SHARE = [(PATH, STEP)]


def outcome(**more: Any) -> Outcome:
    wanted = {"log": PATH, "action": "take", "status": Status.DONE, "name": "caf\udce9.log", "details": {"inode": 2}}
    return Outcome(**{**wanted, **more})


@pytest.mark.parametrize(
    "ended",
    [
        Ended(outcome()),
        Ended(outcome(status=Status.FAILED, errno=5, problem=Problem(subject=PATH, problem="no")), stale=True),
        Ended(outcome(action="recover", status=Status.FAILED, name=".x.tmp")),
    ],
)
def test_what_is_told_arrives(ended: Ended) -> None:
    """With names that are not UTF-8, and a temp that could not be removed."""
    line = dump([ended])
    assert line.isascii() and b"\n" not in line
    assert list(load(line, SHARE)) == [ended]


@pytest.mark.parametrize(
    "line",
    [
        b"", b"[", b"{}", b'["x"]', b'[{"outcome": {}}]',
        dump([Ended(outcome(log="/etc/passwd"))]), dump([Ended(outcome(action="remove"))]),
        dump([Ended(outcome(name="other.log"))]), dump([Ended(outcome(action="recover", log="/logs/other.log"))]),
        json.dumps([{"outcome": {"log": PATH, "action": "take", "status": "great"}}]).encode(),
    ],
)  # fmt: skip
def test_what_is_not_of_the_share_is_refused(line: bytes) -> None:
    """A broken helper makes no history."""
    with pytest.raises(ValueError):
        list(load(line, SHARE))


def test_a_log_that_is_planned_again_is_left_alone() -> None:
    """It has no outcome yet; where it is not planned again, it has failed."""
    stale = Ended(outcome(status=Status.FAILED), stale=True)
    first, second = Ledger(), Ledger(last=True)
    assert first.record(stale) is None and second.record(stale) is stale.outcome
    assert (first.outcomes, second.outcomes) == ([], [stale.outcome])
    for ledger in (first, second):
        assert ledger.stale == ledger.broken == {PATH} and ledger.rotated == []


def test_a_request_breaks_no_log() -> None:
    """It is remembered who was asked, and who was not."""
    ledger = Ledger()
    ledger.record(Ended(outcome(action="reopen", status=Status.FAILED, details={"logs": [PATH]})))
    ledger.record(Ended(outcome(action="reopen", details={"logs": ["/logs/other.log"]})))
    assert (ledger.unasked, ledger.asked, ledger.broken) == ({PATH}, {"/logs/other.log"}, set())


def test_a_take_is_a_rotation() -> None:
    """So is the end of an interrupted one; what else was recovered is none."""
    ledger = Ledger()
    ledger.record(Ended(outcome()))
    ledger.record(Ended(outcome(action="recover", details={"inode": 3})))
    ledger.record(Ended(outcome(action="recover", details={})))
    assert ledger.rotated == [PATH, PATH]
