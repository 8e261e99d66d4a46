"""What the two engines on Redis share: how the server is reached, and what is said if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis, RedisError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from logrotor.jobs.engine import QueueUnreachable, Site
from logrotor.model import Problem

SCHEMES = ("redis://", "rediss://", "unix://")
PATIENCE = 5.0  # seconds for the server to accept, or to answer


def connect(site: Site) -> Redis:
    """A client that has not connected yet. Raises QueueUnreachable, ConfigError."""
    try:
        if not site.url.startswith(SCHEMES):
            raise ValueError
        # One more try, at once: a connection that idled may have been closed.
        again = Retry(ConstantBackoff(0.1), 1)
        return Redis.from_url(site.url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE, retry=again)
    except ValueError:  # neither its text nor the URL is shown: with a bare "/" or "#" in it, a password is not found
        form = ("it is redis://:PASSWORD@HOST:PORT/NUMBER, and what is neither a letter nor a digit in a password is "
                "written as %2F and the like")  # fmt: skip
        problem = Problem(subject=site.file, problem="the URL of the queue cannot be read", advice=form)
        raise QueueUnreachable(problem) from None


@contextmanager
def reaching(site: Site, more: type[Exception] = RedisError) -> Iterator[None]:
    """Say where and why if the server fails us, or the engine with ``more``. Raises QueueUnreachable."""
    try:
        yield
    except (RedisError, OSError, more) as error:
        why = str(error).rstrip(".")
        advice = f"does the server run there, and is the password right? [queue] url in {site.file} has both"
        raise QueueUnreachable(Problem(subject=site.shown_url, problem=why, advice=advice)) from error


def string(value: bytes | str) -> str:
    """A key or an id as Redis hands it out."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
