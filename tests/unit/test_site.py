"""Names of queues, and what is shown of a URL."""

from __future__ import annotations

import pytest

from logrotor.jobs.site import mask, queue_of


def test_a_queue_is_named_after_its_host() -> None:
    assert queue_of("log-rotation", "web-1.example.org") == "log-rotation-web-1_example_org"


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    """PostgreSQL refuses channels of 64 characters; two hosts of one domain still have two queues."""
    hosts = [f"ip-10-0-12-{number}.eu-central-1.compute.internal" for number in range(100)]
    queues = {queue_of("log-rotation", host) for host in hosts}
    assert len(queues) == 100 and {len(queue) for queue in queues} == {40}
    assert all(queue.startswith("log-rotation-ip-10-0-12-") for queue in queues)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:secret@db:5432/queue", "postgresql://app:***@db:5432/queue"),
        ("redis://:secret@cache/0", "redis://:***@cache/0"),
        ("postgresql://app:se/cret@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://app:se@cr@et@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://app:se?c#r:et@db/queue", "postgresql://app:***@db/queue"),
        ("postgresql://db/queue?user=app&password=secret&sslmode=require",
         "postgresql://db/queue?user=app&password=***&sslmode=require"),
        ("host=db password='my secret' user=app", "host=db password=*** user=app"),
        ("postgresql://db:5432/queue", "postgresql://db:5432/queue"),
        ("cannot reach amqp://app:secret@mq// now", "cannot reach amqp://app:***@mq// now"),
    ],
)  # fmt: skip
def test_passwords_are_masked(text: str, shown: str) -> None:
    """Also those that are written against the rules of URLs."""
    assert mask(text) == shown
