"""What ``rq worker -c`` reads in the worker's process: so the command line holds no password.

https://python-rq.org/docs/workers/#using-a-config-file
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from logrotor.disk.calls import die_with
from logrotor.jobs.engines.rq import known
from logrotor.jobs.task import JobFailed

REDIS_URL = known().url


class Connection(Redis):
    """To the server of the configuration, also if $RQ_REDIS_URL names another one, which rq would prefer."""

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Redis:
        # A server that restarts: rq waits for it where it waits for a job, elsewhere the worker would end.
        return super().from_url(REDIS_URL, retry=Retry(ConstantBackoff(1), 10), **options)


# The traceback of a job that failed is left out: job.failed has said it.
DICT_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"told": {"()": lambda: lambda record: not isinstance(sys.exc_info()[1], JobFailed)}},
    "loggers": {"rq.worker": {"filters": ["told"]}},
}
# rq's scheduler would outlive a killed worker and keep its lock, and the work horse, in a group of its own, its job.
os.register_at_fork(after_in_child=lambda: die_with(os.getppid(), signal.SIGTERM))
