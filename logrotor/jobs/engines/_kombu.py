"""How celery's worker and its dispatcher talk to Redis: kombu's transport, with logrotor's connections and accounts.

kombu reads URLs in its own way, verifies no certificate, and forgets what it could not do while a server was away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from queue import Empty
from typing import Any, ClassVar

from celery.worker import request
from kombu.transport import redis
from redis import ConnectionPool, RedisError, ResponseError

from logrotor.errors import ConfigError
from logrotor.jobs.engine import PATIENCE, Site, open_site
from logrotor.jobs.engines._redis import parameters, string
from logrotor.jobs.task import tell

SWEEP = 10  # seconds between two looks for jobs to deliver again, and at a connection that is silent

_AWAY = (RedisError, OSError)  # kombu counts a KeyError of its own among its connection errors

Message = Mapping[str, Any]


def limits(known: Site) -> tuple[float, float]:
    """Seconds after which a job is ended, and is delivered again, by the configuration as it is: the job goes by it."""
    job = known.settings.job
    with suppress(ConfigError):  # the job says so
        job = open_site(known.file, known.environ).settings.job
    # A job that waits for its next attempt must not be delivered a second time meanwhile.
    return job.engine_timeout, max(job.reclaim_after, *(delay + 2 * SWEEP for delay in job.backoff), 0)


def taken(values: Iterable[bytes | str]) -> Iterator[tuple[Message, str]]:
    """What workers have taken, and from which queue: kombu keeps [message, exchange, routing key]."""
    for value in values:
        try:
            message, _, queue = json.loads(value)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(message, dict) and isinstance(queue, str):
            yield message, queue


class Request(request.Request):  # type: ignore[misc]
    """A job with the limits of the configuration as it is when the job begins."""

    @property
    def time_limits(self) -> tuple[float, None]:
        return limits(self.app.site)[0], None

    @time_limits.setter
    def time_limits(self, value: object) -> None:
        """Those in the message are nobody's."""


class QoS(redis.QoS):
    """Keeps account of the jobs that a worker holds, also while the server is away.

    kombu forgets what it could not do: a job that could not be acknowledged counts as one at work for ever, and the
    next one is never taken; one that was taken and not noted down is lost. So what is owed to the server is kept here
    until it has been done, before the next job is taken.
    """

    owed: ClassVar[dict[str, tuple[str, Any]]] = {}  # by delivery tag; of the process, which outlives connections

    def can_consume(self) -> bool:
        for tag, (what, message) in list(self.owed.items()):
            self._do(what, tag, message)  # raises while the server is away: then the worker connects anew
            self.owed.pop(tag, None)
        return bool(super().can_consume())

    def ack(self, delivery_tag: str) -> None:
        self._try("ack", delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._try("requeue" if requeue else "ack", delivery_tag)

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)
        except _AWAY:
            self.owed[delivery_tag] = ("put", message)
            raise

    def _try(self, what: str, tag: str) -> None:
        self._quick_ack(tag)
        try:
            self._do(what, tag)
        except _AWAY as error:
            self.owed[tag] = (what, None)
            tell("problem.found", error=f"a job is done and cannot be taken off the queue yet: {error}")

    def _do(self, what: str, tag: str, message: Any = None) -> None:
        if what == "ack":
            self._remove_from_indices(tag).execute()
        elif what == "requeue":
            self.restore_by_tag(tag, leftmost=True)
        else:
            with self.pipe_or_acquire() as pipe:
                delivery = message.delivery_info
                self._remove_from_indices(tag, pipe)
                self.channel._do_restore_message(message._raw, delivery["exchange"], delivery["routing_key"], pipe)
                pipe.execute()

    def restore_visible(self, start: int = 0, num: Any = None, interval: Any = None) -> None:
        """Deliver jobs of dead workers again: of this queue only, because other hosts may have other limits."""
        site = self.channel.site
        with self.channel.conn_or_acquire() as client:
            for tag in client.zrange(self.unacked_index_key, 0, time.time() - limits(site)[1], byscore=True):
                kept = client.hget(self.unacked_key, tag)
                if kept is None:
                    client.zrem(self.unacked_index_key, tag)
                elif [queue for _, queue in taken([kept])] == [site.queue]:
                    self.restore_by_tag(string(tag), client)


class Channel(redis.Channel):
    """Connects as all of logrotor does, and drops what is not a message: one would end the worker."""

    QoS = QoS
    from_transport_options = (*redis.Channel.from_transport_options, "site")  # type: ignore[assignment]
    site: Site

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        options = {**parameters(self.site), "socket_timeout": PATIENCE, "health_check_interval": SWEEP}
        if asynchronous:
            options["connection_class"] = _watched(options["connection_class"], self)
        return ConnectionPool(**options)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            tell("problem.found", error=f"something on the queue is not a message of celery: {type(error).__name__}")
            raise Empty from None


class Transport(redis.Transport):
    Channel = Channel
    # What the server refuses would end a worker; taken for a lost connection, it makes a new one, without end.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


def _watched(kind: type[Any], channel: Channel) -> type[Any]:
    """A connection that takes itself out of the worker's loop when it is closed, as kombu's own do."""

    class Watched(kind):  # type: ignore[misc]
        def disconnect(self, *args: Any, **options: Any) -> None:
            super().disconnect(*args, **options)
            if channel._registered:
                channel._on_connection_disconnect(self)

    return Watched
