"""What the two engines on Redis share: how the server is reached, and what is said if it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from redis import Redis, RedisError, ResponseError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from logrotor.jobs.engine import QueueUnreachable, Site
from logrotor.jobs.task import tell
from logrotor.model import Problem

SCHEMES = ("redis://", "rediss://", "unix://")
ASIDE = ":set-aside"
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
        if isinstance(error, ResponseError):
            advice = (
                "a key of another kind is set aside by: logrotor queue dispatch; else see what the server lets us do"
            )
        raise QueueUnreachable(Problem(subject=site.shown_url, problem=why, advice=advice)) from error


def set_aside(client: Redis, kinds: Mapping[str, str]) -> None:
    """Rename keys of ours that hold another kind of value, by name and kind as TYPE says it. Raises RedisError.

    Each of them would end every worker, or fail every dispatch. One that was set aside before is overwritten, so
    whoever plants them fills no memory.
    """
    pipe = client.pipeline(transaction=False)
    for key in kinds:
        pipe.type(key)
    for (key, kind), found in zip(kinds.items(), map(string, pipe.execute()), strict=True):
        if found not in ("none", kind):
            client.rename(key, f"{key}{ASIDE}")
            tell("problem.found", error=f"{key} on the server was a {found}, not a {kind}: renamed to {key}{ASIDE}")


def string(value: bytes | str) -> str:
    """A key or an id as Redis hands it out."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
