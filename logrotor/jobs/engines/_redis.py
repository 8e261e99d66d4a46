"""What the two engines on Redis share: how its URL is read, how the server is reached, and what is said if it is not.

Both engines get their connections from here, so that one URL has one meaning:

URL                                                  | means
redis://USER:PASSWORD@HOST:PORT/DB, or ?db=DB        | TCP; each part but the host may be left out
rediss://... &ssl_ca_certs=FILE                      | TLS; the certificate and the host name are verified, against the
                                                     | system's CAs or those of FILE
rediss://... &ssl_cert_reqs=none                     | TLS that anybody on the way may read
rediss://... &ssl_certfile=FILE&ssl_keyfile=FILE     | with a certificate of the client's
unix://USER:PASSWORD@/run/redis.sock?db=DB           | a socket; celery's redis+socket://...?virtual_host=DB as well

"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis import Connection, ConnectionPool, Redis, RedisError, exceptions
from redis.backoff import ConstantBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as NoConnection
from redis.retry import Retry

from logrotor.jobs.engine import PATIENCE, UNRESOLVED, Health, QueueUnreachable, Site, asking, one_line
from logrotor.jobs.task import tell
from logrotor.model import Problem

ASIDE = ":set-aside"
# A peer that is gone without a word is noticed after this many seconds, also where nothing is to be sent.
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 10_000,
}  # fmt: skip
_SSL = ("cert_reqs", "check_hostname", "ca_certs", "ca_path", "certfile", "keyfile", "password", "min_version")
_TCP = ("protocol", "client_name", *(f"ssl_{name}" for name in _SSL))
_CERT_REQS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "required", "CERT_NONE": "none", "optional": "required"}


def connect(site: Site) -> Redis:
    """A client that has not connected yet. Raises QueueUnreachable, ConfigError."""
    # One more try, at once, where the server has closed a connection that idled; not where it does not answer.
    again = Retry(ConstantBackoff(0.1), 1, supported_errors=(NoConnection,))
    return Redis(connection_pool=ConnectionPool(**parameters(site), socket_timeout=PATIENCE, retry=again))


def parameters(site: Site) -> dict[str, Any]:
    """What each connection to the server of the configuration is made of. Raises QueueUnreachable, ConfigError."""
    try:
        read = _read(site.url)
    except ValueError as error:  # the URL is not shown: with a bare "/" or "#" in it, a password is not found
        form = (
            "write redis://USER:PASSWORD@HOST:PORT/NUMBER, rediss:// for TLS or unix://:PASSWORD@/PATH?db=NUMBER, and "
            "what is neither a letter nor a digit in a password as %2F and the like"
        )
        what = f"the URL of the queue cannot be read{f': {error.args[1]}' if len(error.args) > 1 else ''}"
        raise QueueUnreachable(Problem(subject=site.file, problem=what, advice=form)) from None
    kind = read.setdefault("connection_class", Connection)
    if issubclass(kind, Connection):
        read |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    return {"socket_connect_timeout": PATIENCE, **read}


def _read(url: str) -> dict[str, Any]:
    """Raises ValueError; its second argument, if any, may be shown."""
    if url.startswith("redis+socket://"):
        url = url.replace("redis+socket", "unix", 1).replace("virtual_host=", "db=")
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(query) - {"db", *_TCP})
    if unknown:
        raise ValueError(url, f"the parameter {unknown[0]!r} is not known")
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = _CERT_REQS.get(query["ssl_cert_reqs"], query["ssl_cert_reqs"])
        if query["ssl_cert_reqs"] not in ("required", "none"):
            raise ValueError(url, "ssl_cert_reqs is required or none")
    if any(name.startswith("ssl_") for name in query) and parts.scheme != "rediss":
        raise ValueError(url, "the parameters of TLS need rediss://")
    if "password" in query or parts.fragment:
        raise ValueError(url)
    number = query.get("db") or (parts.path.strip("/") if parts.scheme != "unix" else "")
    if number and not unquote(number).isdecimal():
        raise ValueError(url, "the number of the database is not a number")
    if parts.scheme == "unix" and not parts.path:
        raise ValueError(url, "the path of the socket is missing")
    read: dict[str, Any] = parse_url(parts._replace(query=urlencode(query)).geturl())  # type: ignore[no-untyped-call]
    return read


@contextmanager
def reaching(site: Site, more: type[Exception] = RedisError) -> Iterator[None]:
    """Say where and why if the server fails us, or the engine with ``more``. Raises QueueUnreachable."""
    with asking(site):
        try:
            yield
        except (RedisError, OSError, more) as error:
            raise unreachable(site, error) from error


def unreachable(site: Site, error: BaseException) -> QueueUnreachable:
    """What the server's error means, and what helps."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    found = next((hint for cause, *hint in _HINTS if any(isinstance(each, cause) for each in chain)), _LOG)
    # The answer's beginning, as the protocol has it, where redis-py has no class of its own for it.
    words = [f"{each} " for each in chain if isinstance(each, RedisError)]
    kind, advice = next((_CODES[code] for code in _CODES if any(w.startswith(code) for w in words)), found)
    why = one_line(error).rstrip(".")
    return QueueUnreachable(
        Problem(subject=site.shown_url, problem=why, advice=advice.format(file=site.file), kind=kind)
    )


_LOG = ["refused", "see the log of the server"]
_URL = "start the server, or correct [queue] url in {file}"
# Cause, kind of the problem and advice; the first that is in the chain of causes.
_HINTS: tuple[tuple[type[BaseException], str, str], ...] = (
    (ssl.SSLCertVerificationError, "untrusted", "name the server's CA in [queue] url in {file}: ?ssl_ca_certs=FILE"),
    (ssl.SSLError, "untrusted", "does the server speak TLS at this port? rediss:// in [queue] url in {file} means TLS"),
    (exceptions.OutOfMemoryError, "full", "the server is full: raise its maxmemory, or remove what fills it"),
    (exceptions.NoPermissionError, "forbidden", "allow this user the command and the queue's keys: ACL SETUSER"),
    (exceptions.ReadOnlyError, "read-only", "the server is a replica: name the primary in [queue] url in {file}"),
    (exceptions.AuthenticationError, "denied", "correct the user and the password in [queue] url in {file}"),
    (exceptions.BusyLoadingError, "starting", "wait until the server has loaded its data"),
    (exceptions.TimeoutError, "silent", "the server does not answer: does it hang, or a firewall drop the packets?"),
    (socket.gaierror, "unresolved", UNRESOLVED),
    (NoConnection, "away", _URL),
    (OSError, "away", _URL),
)
_CODES = {
    "max number of clients": ("full", "raise maxclients of the server, or find who holds its connections"),
    "WRONGTYPE": ("foreign", "a key of another kind is set aside by: logrotor queue dispatch"),
    "MISCONF": ("read-only", "the server cannot write to its disk: see its log"),
    "MASTERDOWN": ("away", "the server has lost its primary: name the primary in [queue] url in {file}"),
    "NOREPLICAS": ("read-only", "the server lacks replicas: see its min-replicas-to-write"),
}


def could_write(client: Redis, key: str) -> None:
    """Raises RedisError where a job could be counted, and not be queued: a full server, a replica."""
    client.set(key, "", px=1000)


def health(client: Redis, rows: int) -> Health:
    """Of the whole server. Raises RedisError."""
    client.ping()
    began = time.monotonic()
    client.ping()
    latency = time.monotonic() - began
    said: Mapping[str, Any] = {}
    with suppress(exceptions.ResponseError):  # a user of few rights may not ask
        said = client.info()
    return Health(
        server="Redis", version=said.get("redis_version"), latency=latency, rows=rows, bytes=said.get("used_memory"),
        connections=said.get("connected_clients"), most_connections=said.get("maxclients"),
    )  # fmt: skip


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
