"""What ``rq worker -c`` reads in the worker's process: so the command line holds no password.

https://python-rq.org/docs/workers/#using-a-config-file
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import rq
from redis import ConnectionPool, Redis, RedisError
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.retry import Retry
from rq.exceptions import StopRequested
from rq.scheduler import RQScheduler
from rq.suspension import is_suspended

from logrotor.disk.calls import die_with
from logrotor.jobs.engine import PATIENCE
from logrotor.jobs.engines import _worker
from logrotor.jobs.engines._redis import connect, parameters, set_aside, unreachable
from logrotor.jobs.engines.rq import RQ, kinds, known
from logrotor.jobs.task import JobFailed, tell

REDIS_URL = "redis://"  # names nothing: Connection knows where
_PAUSE = 10.0  # seconds before a worker begins again
_LOOK = 0.1


def _get_ready() -> None:
    """Before rq looks: what would end each worker at once is set aside, or waited for."""
    _worker.begin(known(), lambda: RQ(known()).counts(known().queue), (RedisError, OSError))
    client, is_told = connect(known()), False
    with suppress(RedisError):
        set_aside(client, kinds(known().queue))
        while is_suspended(client):
            if not is_told:
                tell("worker.waiting", error="rq is suspended on this server; to go on: rq resume", queue=known().queue)
            is_told = True
            time.sleep(1)


class Worker(rq.Worker):
    """Begins again after what ends the worker of rq: any error of the server's, mostly with exit code 0."""

    _is_asked = False

    def work(self, *args: Any, **options: Any) -> bool:
        has_worked = False
        try:
            has_worked = super().work(*args, **options)
        except RedisError as error:
            tell("problem.found", error=str(unreachable(known(), error)))
        if not self._is_asked:
            tell("worker.waiting", error=f"rq ended its worker; it begins again in {_PAUSE:g} s", queue=known().queue)
            self._pause()
        if not self._is_asked:
            os.execv(sys.executable, sys.orig_argv)
        return has_worked

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self._is_asked = True
        # What is left to be said to the server must not take as long as it is waited for a job.
        pool = self.connection.connection_pool
        pool.connection_kwargs.update(socket_timeout=PATIENCE, retry=Retry(ConstantBackoff(0.1), 0))
        pool.reset()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def _pause(self) -> None:
        until = time.monotonic() + _PAUSE
        with suppress(StopRequested, RedisError):
            while not self._is_asked and time.monotonic() < until:
                time.sleep(_LOOK)


def _told(work: Callable[[RQScheduler], None]) -> Callable[[RQScheduler], None]:
    """Say in one line why rq's scheduler ends; the worker starts it again. It would say it in a page, twice."""

    def tell_and_end(scheduler: RQScheduler) -> None:
        # It never waits for a job: a server that is silent would hold it, and with it the end of the worker.
        scheduler.connection.connection_pool.connection_kwargs["socket_timeout"] = PATIENCE
        try:
            work(scheduler)
        except (RedisError, OSError) as error:
            tell("problem.found", error=str(unreachable(known(), error)))

    return tell_and_end


RQScheduler.work = _told(RQScheduler.work)  # type: ignore[method-assign]


class Connection(Redis):
    """To the server of the configuration, also if $RQ_REDIS_URL names another one, which rq would prefer."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Redis:
        # A server that restarts: rq waits for it where it waits for a job, elsewhere the worker would end.
        # Not for one that is silent: it would take 40 s each time.
        again = Retry(ConstantBackoff(1), 10, supported_errors=(NoConnection,))
        # No socket_timeout: rq sets one that fits to the time for which it waits for a job.
        return cls(connection_pool=ConnectionPool(**parameters(known()), retry=again))


# The traceback of a job that failed is left out: job.failed has said it.
DICT_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"told": {"()": lambda: lambda record: not isinstance(sys.exc_info()[1], JobFailed)}},
    "loggers": {"rq.worker": {"filters": ["told"]}},
}
# rq's scheduler would outlive a killed worker and keep its lock, and the work horse, in a group of its own, its job.
os.register_at_fork(after_in_child=lambda: die_with(os.getppid(), signal.SIGTERM))
_get_ready()
