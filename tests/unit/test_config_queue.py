"""[queue] and [queue.job]: one source of truth, and a mistake in it does not stop the rotation."""

from __future__ import annotations

from typing import Any

import pytest

from logrotor import load_config
from logrotor.model import JobSettings, QueueSettings

RULE = {"name": "app", "paths": ["app.log"], "max_size": "1M"}


def load(**queue: Any) -> Any:
    return load_config({"state_dir": "state", "log": [RULE], "queue": queue}, environ={})


def test_defaults() -> None:
    """An empty table is huey without a server, a job a minute, three tries of a minute each."""
    queue = load().queue
    assert queue == QueueSettings(engine="huey", name="log-rotation", schedule="* * * * *")
    assert queue.job == JobSettings(tries=3, max_exceptions=3, timeout=60, backoff=(10, 30, 60), stuck_after=600)
    assert [queue.job.delay(attempt) for attempt in (1, 2, 3, 4, 9)] == [10, 30, 60, 60, 60]


def test_without_a_table_there_is_no_queue() -> None:
    """cron stays first-class: nothing of a queue is needed."""
    assert load_config({"state_dir": "state", "log": [RULE]}, environ={}).queue is None


@pytest.mark.parametrize("timeout", [0.5, 3.0, 60.0, 400.0])
def test_each_limit_is_below_the_next(timeout: float) -> None:
    """time limit of the run < timeout < timeout and grace < the engine's < reclaim; and a manager waits longer."""
    job = JobSettings(timeout=timeout)
    chain = [job.time_limit, job.timeout, job.timeout + job.grace, job.engine_timeout, job.reclaim_after]
    assert chain == sorted(set(chain))
    assert job.stop_wait > job.timeout + job.grace


@pytest.mark.parametrize(
    ("queue", "key", "words"),
    [
        ({"engine": "rq"}, "queue.url", "is required with engine = 'rq'"),
        ({"engine": "hui"}, "queue.url", "is required with engine = 'hui'; did you mean 'huey'?"),
        ({"enigne": "rq"}, "queue.enigne", "did you mean 'engine'"),
        ({"name": "a.b"}, "queue.name", "is no name of a queue"),
        ({"schedule": "* * * * * *"}, "queue.schedule", "5-field"),
        ({"job": {"tries": 0}}, "queue.job.tries", "is too small"),
        ({"job": {"backoff": "10s"}}, "queue.job.backoff", "is not a list"),
        ({"job": {"backoff": []}}, "queue.job.backoff", "is empty"),
        ({"job": {"backoff": ["soon"]}}, "queue.job.backoff", "is no duration"),
        ({"job": {"timeout": "0s"}}, "queue.job.timeout", "no time at all"),
        ({"job": {"timout": "5s"}}, "queue.job.timout", "did you mean 'timeout'"),
        ({"job": 3}, "queue.job", "is no table"),
        ({"job": {"timeout": "10m"}}, "queue.job.timeout", "would count as stuck"),
        ({"job": {"stuck_after": "30s"}}, "queue.job.stuck_after", "would count as stuck"),
        ({"timeout": "10s"}, "queue.timeout", "[queue.job]"),
    ],
)  # fmt: skip
def test_mistakes_leave_the_queue_out_and_the_rules_run(queue: dict[str, Any], key: str, words: str) -> None:
    """Each says where, what and what is accepted; cron goes on rotating."""
    config = load(**queue)
    assert config.queue is None and [spec.name for spec in config.logs] == ["app"]
    (problem,) = config.problems
    assert problem.key == key and words in problem.message


def test_a_queue_that_is_no_table() -> None:
    """``queue = "redis"`` is told, not guessed."""
    config = load_config({"state_dir": "state", "log": [RULE], "queue": "redis"}, environ={})
    assert config.queue is None and "is no table" in config.problems[0].message


def test_the_name_of_the_schedule_is_kept() -> None:
    """What the user wrote is what messages show."""
    queue = load(schedule="hourly").queue
    assert (queue.schedule, queue.schedule_name) == ("0 * * * *", "hourly")
