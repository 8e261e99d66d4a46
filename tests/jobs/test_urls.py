"""What each engine accepts as its URL: every row with a real server, a real worker and a real job."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logrotor.jobs.engine import Engine, QueueUnreachable
from tests.jobs.bench import Host
from tests.jobs.servers import PASSWORD, PostgreSQL, await_port, free_port, redis_in
from tests.support import users
from tests.support.need import need

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

FEW = "herring"  # the password of a user that may do little


def certificates(folder: Path) -> None:
    """A CA of one's own in ca.pem, and what it has signed for localhost in cert.pem and key.pem."""
    need(shutil.which("openssl"), "openssl")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a CA of one's own")
    openssl(
        *new, "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=localhost", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE",
    )  # fmt: skip


# What the README gives as the rights of a user, by engine.
RIGHTS = {
    "rq": "~rq:* &rq:* +@all -@admin -@dangerous +info",
    "celery": "~log-rotation-* ~_kombu.* ~logrotor.* +@all -@admin -@dangerous",
}
REDIS = {
    "path": "redis://:{word}@127.0.0.1:{port}/6",
    "db": "redis://:{word}@127.0.0.1:{port}?db=6",
    "user of few rights": "redis://queue:{few}@127.0.0.1:{port}/0",
    "socket": "unix://:{word}@{folder}/redis.sock?db=6",
    "socket, as celery has it": "redis+socket://:{word}@{folder}/redis.sock?virtual_host=6",
    "TLS": "rediss://:{word}@localhost:{tls}/0?ssl_ca_certs={folder}/ca.pem",
    "TLS, as celery has it": "rediss://:{word}@localhost:{tls}/0?ssl_ca_certs={folder}/ca.pem"
    "&ssl_cert_reqs=CERT_REQUIRED",
    "TLS with a client's certificate": "rediss://:{word}@localhost:{tls}/0?ssl_ca_certs={folder}/ca.pem"
    "&ssl_certfile={folder}/cert.pem&ssl_keyfile={folder}/key.pem",
    "TLS unverified": "rediss://:{word}@127.0.0.1:{tls}/0?ssl_cert_reqs=none",
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """The places of a server that has them all."""
    folder, tls = tmp_path_factory.mktemp("redis"), free_port()
    certificates(folder)
    users_of = "".join(f"user queue-{name} on >{FEW} {rights}\n" for name, rights in RIGHTS.items())
    server = redis_in(
        folder,
        f"unixsocket {folder}/redis.sock\ntls-port {tls}\ntls-ca-cert-file {folder}/ca.pem\n"
        f"tls-cert-file {folder}/cert.pem\ntls-key-file {folder}/key.pem\ntls-auth-clients optional\n{users_of}",
    )
    yield {"folder": folder, "tls": tls, "port": server.port, "word": PASSWORD, "few": FEW}
    server.stop()


@pytest.mark.parametrize("row", REDIS)
@pytest.mark.parametrize("engine", ["rq", "celery"])
def test_a_job_by_each_url_of_redis(engine: str, row: str, redis: dict[str, object], tmp_path: Path) -> None:
    """The dispatcher and the worker read one URL as the same."""
    need(importlib.util.find_spec(engine), f"the package {engine}")
    url = REDIS[row].format(**redis).replace("//queue:", f"//queue-{engine}:")
    is_done(Host(tmp_path / "host", engine, url, tmp_path.name))


@pytest.mark.parametrize("engine", ["rq", "celery"])
def test_a_server_that_cannot_be_trusted_gets_no_password(
    engine: str, redis: dict[str, object], tmp_path: Path
) -> None:
    """A certificate of an unknown CA, or for another name: verification is on unless it is switched off by name."""
    for place, ca in (("localhost", ""), ("127.0.0.1", "?ssl_ca_certs={folder}/ca.pem")):
        url = f"rediss://:{PASSWORD}@{place}:{{tls}}/0{ca}".format(**redis)
        host = Host(tmp_path / place, engine, url)
        assert told(host.engine) == "untrusted"
        worker = host.start()
        host.wait_for(
            lambda host=host: [event["event"] for event in host.events()] == ["worker.started", "worker.waiting"]
        )
        host.stop(worker)


UNREADABLE = [
    "redis://h/zero", "redis://h/0?database=6", "redis://h/0?ssl_ca_certs=x", "rediss://h?ssl_cert_reqs=maybe", "unix://",
    "amqp://h", "redis://:a#b@h/0", "redis://:a/b@h/0", "redis://h:port/0", "redis://[/0",
]  # fmt: skip


@pytest.mark.parametrize("url", UNREADABLE)
@pytest.mark.parametrize("engine", ["rq", "celery"])
def test_a_url_that_cannot_be_read_is_no_bug(engine: str, url: str, tmp_path: Path) -> None:
    """One line, with what is accepted; not the wrong database, and not another server."""
    need(importlib.util.find_spec(engine), f"the package {engine}")
    with pytest.raises(QueueUnreachable) as caught:
        _ = Host(tmp_path / "host", engine, url).engine
    assert "redis://USER" in caught.value.problem.advice


# ---------------------------------------------------------------- PostgreSQL


POSTGRESQL = {
    "host": "postgresql://logrotor:{word}@127.0.0.1:{port}/postgres",
    "socket": "postgresql://logrotor:{word}@/postgres?host={folder}&port={port}",
    "words": "host={folder} port={port} dbname=postgres user=logrotor password={word}",
    "service": "postgresql://?service=rotation",
    "service as a word": "service=rotation",
    "several hosts": "postgresql://logrotor:{word}@127.0.0.1:{dead},127.0.0.1:{port}/postgres"
    "?target_session_attrs=read-write",
    "TLS": "postgresql://logrotor:{word}@localhost:{port}/postgres?sslmode=verify-full&sslrootcert={folder}/ca.pem",
    "a database of one's own": "postgresql://queue:{few}@127.0.0.1:{port}/rotation",
    "pgbouncer": "postgresql://logrotor:{word}@127.0.0.1:{bouncer}/postgres",
}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[dict[str, object]]:
    """The places of a cluster that has them all."""
    import psycopg

    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        folder = Path(name)
        certificates(folder)
        server = PostgreSQL(name)
        try:
            for file in ("cert.pem", "key.pem"):
                shutil.copy(folder / file, folder / "data")
                own(folder / "data" / file, 0o600)
            with psycopg.connect(server.url, autocommit=True) as admin:
                for statement in (
                    "ALTER SYSTEM SET ssl_cert_file = 'cert.pem'", "ALTER SYSTEM SET ssl_key_file = 'key.pem'",
                    "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()", f"CREATE USER queue PASSWORD '{FEW}'",
                    "CREATE DATABASE rotation OWNER queue",
                ):  # fmt: skip
                    admin.execute(statement.encode())
            (folder / "services").write_text(
                f"[rotation]\nhost=127.0.0.1\nport={server.port}\ndbname=postgres\nuser=logrotor\npassword={PASSWORD}\n"
            )
            yield {"folder": folder, "port": server.port, "word": PASSWORD, "few": FEW, "dead": free_port()}
        finally:
            server.stop()


def own(path: Path, mode: int) -> None:
    """Let the user of the servers read it."""
    path.chmod(mode)
    if os.geteuid() == 0:
        who = users.user("nobody")
        os.chown(path, who.uid, who.gid)


@pytest.mark.parametrize("row", POSTGRESQL)
def test_a_job_by_each_url_of_postgresql(row: str, postgresql: dict[str, object], tmp_path: Path) -> None:
    """Whatever libpq accepts."""
    need(importlib.util.find_spec("procrastinate"), "the package procrastinate")
    more = {"PGSERVICEFILE": f"{postgresql['folder']}/services"}
    with bouncer(int(str(postgresql["port"]))) as port:
        url = POSTGRESQL[row].format(**postgresql, bouncer=port)
        is_done(Host(tmp_path / "host", "procrastinate", url, tmp_path.name, more), jobs=3)


@contextmanager
def bouncer(server: int) -> Iterator[int]:
    """The port of a pgbouncer in transaction mode: each transaction may get another connection."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
    need(program, "pgbouncer")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"logrotor" "{PASSWORD}"\n')
        (folder / "ini").write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {folder}/users\npool_mode = transaction\n"
            "default_pool_size = 2\nunix_socket_dir =\n"
        )
        for path in (folder, folder / "users", folder / "ini"):
            own(path, 0o700)
        argv = [str(program), "-q", str(folder / "ini")]
        who = users.user("nobody") if os.geteuid() == 0 else None
        with subprocess.Popen(users.as_argv(who, argv) if who else argv, stderr=subprocess.DEVNULL) as process:
            try:
                await_port(port, process)
                yield port
            finally:
                process.kill()


# ---------------------------------------------------------------- both


def is_done(host: Host, jobs: int = 1) -> None:
    """What is dispatched is done by the one worker, and every command can look."""
    with host.working() as worker:
        for number in range(1, jobs + 1):
            host.grow(str(number))
            host.dispatch()
            host.wait_for_endings(*["done"] * number)
        assert worker.poll() is None
    assert host.rotations() == jobs
    host.queue("status", "--check")
    host.queue("failed")
    told = [event["event"] for event in host.events()]
    assert told == ["worker.started", *["run.started", "run.completed"] * jobs], host.said()


def told(engine: Engine) -> str:
    """The kind of the problem."""
    with pytest.raises(QueueUnreachable) as caught:
        engine.counts("x")
    return caught.value.problem.kind
