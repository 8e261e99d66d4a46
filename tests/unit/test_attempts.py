"""The attempts of jobs in the history."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from logrotor.disk import state
from logrotor.disk.attempts import Attempts
from logrotor.model import Attempt, Ending

FIRST = Attempt(
    id=0, job="a", number=1, engine="huey", queue="q", host="h", started=100.0, ended=None, ending=Ending.RUNNING,
    final=False, detail="", pid=1, payload="{}",
)  # fmt: skip


def test_a_lost_job_that_is_delivered_after_all_is_no_failed_one(tmp_path: Path) -> None:
    """Another job calls it lost; then the engine gives it to a worker once more, and it is done."""
    folder = str(tmp_path / "state")
    state.prepare(folder, "test")
    history = Attempts(folder)
    history.begin(FIRST, overdue=0)
    history.begin(replace(FIRST, job="b", started=300.0), overdue=200.0)
    assert [(attempt.job, attempt.ending) for attempt in history.failures()] == [("a", Ending.LOST)]

    again = history.begin(replace(FIRST, started=400.0), overdue=200.0)
    assert again.number == 2 and history.failures() == []
    history.end(replace(again, ended=401.0, ending=Ending.DONE, final=True))
    assert history.failures() == []
