"""celery with a Redis as its broker. https://docs.celeryq.dev

It keeps no failed jobs. A job whose process was killed is delivered again at once; one whose whole worker was killed
when the visibility timeout is over, within 10 s, if a worker runs: either counts as one of its tries. A job that waits
for its next attempt is held by the worker ("scheduled"); it cannot be forgotten, and without a worker it is pending.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import celery
from celery.exceptions import CPendingDeprecationWarning
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError
from redis import RedisError

from logrotor.disk.calls import die_with
from logrotor.jobs.engine import PATIENCE, Health, KeptJob, QueueCount, Site, WorkerCommand, open_site, python_worker
from logrotor.jobs.engines import _worker
from logrotor.jobs.engines._kombu import SWEEP, Message, Request, Transport, taken
from logrotor.jobs.engines._redis import connect, could_write, health, reaching, set_aside, string
from logrotor.jobs.payload import TASK, enqueued
from logrotor.jobs.task import JobFailed, TryAgain, rotate

EXCHANGE = "logrotor"
BINDINGS = f"_kombu.binding.{EXCHANGE}"  # the set of our queues, which kombu keeps
UNACKED = "logrotor.unacked"  # not the site's own, whose jobs would be delivered twice after our visibility timeout
_PAUSE = 1.0  # seconds


class App(celery.Celery):  # type: ignore[misc]
    """A celery whose broker is that of the configuration, also if $CELERY_BROKER_URL names another one."""

    site: Site
    is_worker = False
    _connected = -_PAUSE

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        if self.is_worker:
            self._get_ready()
        return self.connection()

    def _get_ready(self) -> None:
        """Set aside what would end the next connection, too, and leave the server some rest between two of them."""
        with suppress(RedisError):  # a server that is not there is celery's to wait for
            set_aside(connect(self.site), kinds(self.site.queue))
        time.sleep(max(0.0, self._connected + _PAUSE - time.monotonic()))
        self._connected = time.monotonic()

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        return self.connection()

    def connection(self, hostname: str | None = None, **options: Any) -> Any:
        # Its URL names nothing: the transport connects, as all of logrotor does.
        made = self._connection("redis://localhost", transport=Transport, transport_options={"site": self.site})
        made.as_uri = lambda **_: self.site.shown_url  # for celery's messages
        return made


def make(site: Site) -> App:
    """The celery of this host's queue, with its one task."""
    app = App("logrotor", backend="disabled://", loader="app", set_as_current=False)
    app.site = site
    app.conf.update(_settings(site))

    @app.task(name=TASK, bind=True, shared=False, throws=(JobFailed,), max_retries=None, Request=Request)  # type: ignore[untyped-decorator]
    def task(self: Any, text: str) -> None:
        die_with(os.getppid(), signal.SIGKILL)  # of a killed worker nothing is left, and the lock is free
        try:
            rotate(text, site)
        except TryAgain as error:
            raise self.retry(countdown=error.delay) from None

    app.rotate = task
    return app


def kinds(queue: str) -> dict[str, str]:
    """The keys that a worker of this queue uses, and what each of them is."""
    return {queue: "list", BINDINGS: "set", UNACKED: "hash", f"{UNACKED}_index": "zset"}


def _settings(site: Site) -> dict[str, Any]:
    return {
        "task_queues": [_queue(site.queue)],
        "task_default_queue": site.queue,
        "task_default_exchange": EXCHANGE,
        "task_default_routing_key": site.queue,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_redirect_stdouts": False,
        "worker_enable_remote_control": False,  # nobody who reaches the server needs to stop a worker
        "worker_proc_alive_timeout": 60.0,  # 4 s are too few on a loaded machine
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": PATIENCE,
        "broker_transport_options": {
            "unacked_restore_interval": SWEEP,
            "health_check_interval": SWEEP,
            "unacked_key": UNACKED,
            "unacked_index_key": f"{UNACKED}_index",
        },
    }


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(EXCHANGE, "direct"), routing_key=name)  # type: ignore[no-untyped-call]


def __getattr__(name: str) -> Any:
    """``app``, for celery's worker."""
    if name != "app":
        raise AttributeError(name)
    site = open_site(None, os.environ)
    _worker.begin(site, lambda: Celery(site).counts(site.queue), (RedisError, KombuError, OSError))
    # At each lost connection: that celery 6 would end the job at work.
    warnings.simplefilter("ignore", CPendingDeprecationWarning)
    app = make(site)
    app.is_worker = True
    return app


# ---------------------------------------------------------------- the engine


class Celery:
    """A Redis with the queues of all hosts."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._redis = connect(site)
        self._app = make(site)

    def dispatch(self, text: str) -> None:
        with reaching(self._site, KombuError):
            set_aside(self._redis, kinds(self._site.queue))
            self._app.rotate.apply_async((text,), retry=False)

    def worker(self) -> WorkerCommand:
        # --workdir, because celery puts the working directory before all others in sys.path to import its app.
        queue = self._site.queue
        return python_worker(
            self._site, "celery", "-A", f"{__name__}:app", "--workdir", "/", "-q", "worker", "-Q", queue,
            "-n", f"{queue}@%h", "-P", "prefork", "-c", "1", "-l", "WARNING",
            "--without-gossip", "--without-mingle", "--without-heartbeat",
        )  # fmt: skip

    def counts(self, prefix: str) -> list[QueueCount]:
        with reaching(self._site):
            could_write(self._redis, f"{self._site.queue}:probe")
            pipe = self._redis.pipeline(transaction=False)
            pipe.smembers(BINDINGS)
            pipe.hvals(UNACKED)
            bindings, held = pipe.execute()
            names = {self._site.queue, *(string(binding).rpartition("\x06\x16")[2] for binding in bindings)}
            queues = sorted(name for name in names if name.startswith(prefix))
            for queue in queues:
                pipe.llen(queue)
                pipe.lindex(queue, -1)
            found = iter(pipe.execute())
        now = time.time()
        states = Counter((queue, _is_later(message, now)) for message, queue in taken(held))
        return [
            QueueCount(queue=queue, pending=pending, reserved=states[queue, False], failed=None,
                       scheduled=states[queue, True], oldest=enqueued(_payload(_read(first))) if first else None)
            for queue, pending, first in zip(queues, found, found, strict=True)
        ]  # fmt: skip

    def health(self) -> Health:
        rows = sum(c.pending + c.scheduled + (c.reserved or 0) + (c.failed or 0) for c in self.counts(""))
        with reaching(self._site):
            return health(self._redis, rows)

    def pending(self, queue: str) -> list[KeptJob]:
        with reaching(self._site):
            pipe = self._redis.pipeline(transaction=False)
            pipe.lrange(queue, 0, -1)
            pipe.hvals(UNACKED)
            waiting, held = pipe.execute()
        later = (message for message, owner in taken(held) if owner == queue and _is_later(message, time.time()))
        return [_kept(message, queue) for message in (*map(_read, reversed(waiting)), *later)]

    def failed(self, queue: str) -> list[KeptJob]:
        return []

    def forget(self, queue: str, keys: Collection[str]) -> int:
        wanted = set(keys)
        with reaching(self._site):
            pipe = self._redis.pipeline(transaction=False)
            for raw in reversed(self._redis.lrange(queue, 0, -1)):  # oldest first: LREM finds each at its end
                if _key(_read(raw)) in wanted:
                    pipe.lrem(queue, -1, string(raw))
            return sum(pipe.execute())


def _read(raw: bytes | str) -> Message:
    """A message of kombu; empty if it is none."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _headers(message: Message) -> Mapping[str, Any]:
    headers = message.get("headers")
    return headers if isinstance(headers, dict) else {}


def _is_later(message: Message, now: float) -> bool:
    """Whether it waits in the worker for its next attempt."""
    try:
        return datetime.fromisoformat(_headers(message).get("eta") or "").timestamp() > now
    except (ValueError, TypeError, OverflowError):
        return False


def _key(message: Message) -> str:
    return str(_headers(message).get("id", ""))


def _payload(message: Message) -> str:
    """The payload's text; nothing if somebody else has put the message there in a form of his own."""
    try:
        return str(json.loads(base64.b64decode(message["body"]))[0][0])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _kept(message: Message, queue: str) -> KeptJob:
    text = _payload(message)
    return KeptJob(key=_key(message), queue=queue, payload=text, since=enqueued(text))
