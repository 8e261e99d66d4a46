"""What lies in a Redis, and what runs beside a worker."""

from __future__ import annotations

import subprocess
from pathlib import Path

from redis import Redis

from tests.jobs.bench import Host, worker_pids


def server(host: Host) -> Redis:
    return Redis.from_url(host.url)


def values(redis: Redis) -> list[bytes]:
    """Everything that is kept there, whatever its type."""
    found: list[bytes] = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        if kind == b"string":
            found.append(redis.get(key) or b"")
        elif kind == b"hash":
            found += redis.hgetall(key).values()
        elif kind == b"stream":
            found += [value for _, fields in redis.xrange(key) for value in fields.values()]
        elif kind == b"list":
            found += redis.lrange(key, 0, -1)
        elif kind in (b"set", b"zset"):
            found += redis.smembers(key) if kind == b"set" else redis.zrange(key, 0, -1)
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def engine_of(host: Host, worker: subprocess.Popen[bytes]) -> int:
    """The engine's own process beside the one that serves."""
    host.wait_for(lambda: set(worker_pids(host)) & set(children(worker.pid)))
    (pid,) = children(worker.pid)
    return pid
