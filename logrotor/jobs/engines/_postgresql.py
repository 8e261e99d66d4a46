"""How the database of the engine on PostgreSQL is reached, and what is said if it is not.

No command waits for longer than some seconds, whatever becomes of the server, its tables and the packets on the way;
and nothing that it gave up is done later.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Timer
from typing import Any

import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.schema import SchemaManager
from psycopg import conninfo, errors, pq
from psycopg.types.datetime import TimestamptzLoader

from logrotor.jobs.engine import PATIENCE, UNRESOLVED, QueueUnreachable, Site, asking, one_line
from logrotor.model import Problem

ANSWER = 10.0  # seconds that the server may take to answer a worker

Connection = psycopg.Connection[tuple[Any, ...]]


class _AnyTime(TimestamptzLoader):
    """A time such as -infinity, in a row that somebody planted, would end each worker: it is long ago."""

    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return datetime.min.replace(tzinfo=UTC)


async def take_any_time(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("timestamptz", _AnyTime)


class Bounded(psycopg.AsyncConnection[Any]):
    """A connection of the worker, which would wait for ever for a server whose packets are swallowed."""

    async def wait(self, *args: Any, **options: Any) -> Any:
        limit = asyncio.get_running_loop().call_later(ANSWER, _shut, self.pgconn.socket)
        try:
            return await super().wait(*args, **options)
        finally:
            limit.cancel()


def limited(site: Site) -> str:
    """What a worker connects with: the server gives up before the worker does. A statement that waits for a lock would
    be done later, for nobody.

    A pgbouncer refuses such options; without them the worker alone gives up.
    """
    target = _conninfo(site)
    ours = f"-c lock_timeout={ANSWER * 800:.0f} -c statement_timeout={ANSWER * 800:.0f}"
    theirs: dict[str, Any] = {"options": ours, **conninfo.conninfo_to_dict(target)}
    known = conninfo.make_conninfo(**theirs)
    try:
        with psycopg.connect(known):
            return known
    except psycopg.OperationalError:
        return target


def _shut(descriptor: int) -> None:
    """End a connection from outside: whoever waits for it gets an error."""
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def reaching(site: Site) -> Iterator[Connection]:
    """A connection to a database that has the tables, in a short transaction. Raises QueueUnreachable."""
    target = _conninfo(site)
    with asking(site):
        try:
            with psycopg.connect(target, prepare_threshold=None) as connection:
                with _transaction(connection):
                    has_tables = _has_tables(connection)
                if not has_tables:
                    with _transaction(connection, ANSWER):
                        _make_tables(connection)
                with _transaction(connection):
                    yield connection
        except (psycopg.Error, ConnectorException) as error:
            reason = _known(target, error.__cause__ if isinstance(error, ConnectorException) else error)
            kind, advice = next((hint for cause, *hint in _HINTS if isinstance(reason, cause)), _MIGRATE)
            advice = advice.format(file=site.file)
            raise QueueUnreachable(
                Problem(subject=site.shown_url, problem=one_line(reason), advice=advice, kind=kind)
            ) from error


@contextmanager
def _transaction(connection: Connection, patience: float = PATIENCE) -> Iterator[None]:
    """A transaction that neither a lock, nor a long statement, nor a server that is silent may hold up.

    The limits are the transaction's: behind a pgbouncer the next one may be somebody else's. The server gives up first,
    so that it does nothing later, for nobody.
    """
    limit = Timer(1.25 * patience, _shut, (connection.pgconn.socket,))
    limit.start()
    try:
        for name in ("lock_timeout", "statement_timeout"):
            connection.execute(f"SET LOCAL {name} = {patience * 1000:.0f}".encode())
        yield
        connection.commit()
    finally:
        limit.cancel()
        limit.join()


class _Unresolved(psycopg.OperationalError):
    """No address of the host is known."""


def _known(target: str, error: BaseException | None) -> BaseException | None:
    """An error by its kind. Of a connection that was refused libpq tells words, in the server's language, and no code:
    so it is tried once more, and the answer read as it came.
    """
    if type(error) is not psycopg.OperationalError or error.sqlstate is not None:
        return error
    if error.pgconn is None:
        return _Unresolved(str(error))
    place = {"host": error.pgconn.host, "hostaddr": error.pgconn.hostaddr, "port": error.pgconn.port}
    with suppress(psycopg.Error, OSError, KeyError):
        again = conninfo.make_conninfo(target, **{name: value.decode() for name, value in place.items() if value})
        return errors.lookup(_refusal(again))(str(error))
    return error


def _refusal(target: str) -> str:
    """The code (SQLSTATE) by which a server refuses a connection; "": it does not. Raises psycopg.Error, OSError."""
    until, steps = time.monotonic() + PATIENCE / 2, pq.PollingStatus
    with os.fdopen(os.memfd_create("logrotor-refusal", os.MFD_CLOEXEC), "rb") as said:
        server = pq.PGconn.connect_start(target.encode())
        try:
            server.trace(said.fileno())
            while (step := server.connect_poll()) in (steps.READING, steps.WRITING) and time.monotonic() < until:
                ready = [server.socket], [server.socket] if step == steps.WRITING else [], ()
                select.select(*ready, max(0.0, until - time.monotonic()))
            server.untrace()
        finally:
            server.finish()
        said.seek(0)
        found = _REFUSED.search(said.read())
    return found[1].decode() if found else ""


_REFUSED = re.compile(rb'\tErrorResponse\t.*? C "(\w{5})"')  # as PQtrace writes it


def _conninfo(site: Site) -> str:
    """What to connect with; the URL's own parameters have precedence over ours."""
    try:
        if re.match(r"\w+://([^@]*/[^@]*@|.*@.*@)", site.url):
            raise psycopg.ProgrammingError  # libpq would take the wrong part for the host, and tell it
        return conninfo.make_conninfo(**{**_OURS, **conninfo.conninfo_to_dict(site.url)})
    except psycopg.ProgrammingError:  # its message may show a part of the password: so it goes no further
        form = (
            "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE or service=NAME, with / @ % in a password as %2F "
            "%40 %25"
        )
        problem = Problem(subject="[queue] url", problem="does not name a database of PostgreSQL", advice=form)
        raise QueueUnreachable(problem) from None


# A peer that is gone without a word is noticed after some seconds, also where nothing is to be sent.
_OURS: dict[str, Any] = {
    "connect_timeout": int(PATIENCE), "application_name": "logrotor", "tcp_user_timeout": 5000,
    "keepalives_idle": 3, "keepalives_interval": 1, "keepalives_count": 3,
}  # fmt: skip


def _has_tables(connection: Connection) -> bool:
    """Raises ReadOnlySqlTransaction where no job can be queued."""
    ((is_there, is_read_only),) = connection.execute(_LOOK).fetchall()
    if is_read_only:
        raise errors.ReadOnlySqlTransaction("the database is read-only")
    return bool(is_there)


def _make_tables(connection: Connection) -> None:
    """Once: whoever comes second waits, and finds them."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('procrastinate_jobs'))")
    if not _has_tables(connection):
        connection.execute(SchemaManager.get_schema())


# Not to_regclass: it remembers its answer from before the wait for the lock (seen: the second one failed).
_LOOK = """
SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'procrastinate_jobs' AND pg_table_is_visible(oid)),
       current_setting('transaction_read_only') = 'on'
"""


_MIGRATE = [
    "foreign", "were the tables made by another version of procrastinate? then migrate them: "
    "https://procrastinate.readthedocs.io/en/stable/howto/production/migrations.html",
]  # fmt: skip
# Cause, kind of the problem and advice; the first that fits.
_HINTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (errors.InsufficientPrivilege, "forbidden", "give the user a database of its own (CREATE DATABASE logrotor OWNER "
     "...), or let it make the tables (GRANT CREATE ON SCHEMA public TO ...)"),
    (errors.ReadOnlySqlTransaction, "read-only", "name the primary in [queue] url in {file}, or all servers with "
     "target_session_attrs=read-write"),
    (errors.LockNotAvailable, "locked", "somebody holds the tables locked: pg_blocking_pids() shows who"),
    (errors.QueryCanceled, "locked", "the server is overloaded, or the tables are locked: see pg_stat_activity"),
    (errors.DiskFull, "full", "make room on the disk of the server"),
    (errors.TooManyConnections, "full", "see in pg_stat_activity who holds the connections; raise max_connections, "
     "or the limit of the role or the database, or put a pgbouncer before the server"),
    (errors.InvalidPassword, "denied", "correct the user and the password in [queue] url in {file}"),
    (errors.InvalidAuthorizationSpecification, "denied", "correct the user in [queue] url in {file}, or let the "
     "server's pg_hba.conf admit it"),
    (errors.InvalidCatalogName, "missing", "create the database, or correct its name in [queue] url in {file}"),
    (errors.CannotConnectNow, "starting", "wait until the server has started"),
    (_Unresolved, "unresolved", UNRESOLVED),
    (errors.ConnectionTimeout, "silent", "the server does not answer: does it hang, or a firewall drop the packets?"),
    (psycopg.OperationalError, "away", "unless its words say otherwise, start the server or correct [queue] url in "
     "{file}"),
)  # fmt: skip
