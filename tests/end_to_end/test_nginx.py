"""Debian's own nginx: its folder root:adm 0755, its logs www-data:adm 0640, rotated by root while it writes."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.papers import blocks
from tests.support import command, supervisor, users
from tests.support.deployment import Deployment
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.rights import actors, rights

pytestmark = pytest.mark.servers

CONFIG = """\
user www-data;
pid {root}/nginx.pid;
error_log {root}/logs/error.log;
worker_processes 2;
daemon off;
events {{}}
http {{
    log_format n '$arg_n';
    access_log {root}/logs/access.log n;
    server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}
}}
"""


@contextmanager
def nginx(root: Path) -> Iterator[int]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    need(program and os.geteuid() == 0, "nginx (package nginx), and root")
    assert program is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "nginx.conf").write_text(CONFIG.format(root=root, port=port))
    process = subprocess.Popen([program, "-c", root / "nginx.conf", "-e", root / "logs/error.log"])
    try:
        supervisor.wait_for(lambda: (root / "nginx.pid").exists() and _answers(port))
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# As nginx's own packages and those of Debian have it, but without delaycompress.
LOGROTATE = """\
/var/log/nginx/*.log {
    daily
    missingok
    rotate 14
    compress
    create 0640 www-data adm
    sharedscripts
    postrotate
        if [ -f /run/nginx.pid ]; then
            kill -USR1 `cat /run/nginx.pid`
        fi
    endscript
}
"""


def readme(root: Path) -> str:
    """The recipe of the README."""
    return next(block.text for block in blocks.blocks(users.CHECKOUT / "README.md") if "nginx/*.log" in block.text)


def imported(root: Path) -> str:
    """What import makes of logrotate's."""
    (root / "logrotate.conf").write_text(LOGROTATE)
    (root / "logrotate.conf").chmod(0o644)
    return command.logrotor("import", root / "logrotate.conf", check=0).stdout


@pytest.mark.parametrize("recipe_of", [readme, imported])
def test_stock_nginx_is_rotated_by_root(recipe_of: Callable[[Path], str]) -> None:
    """Not a request is lost over many rotations; www-data writes on, adm reads log and archives, others nothing."""
    with world_tree() as root:
        site = Deployment(root)
        logs = site.folder("logs")
        for name in ("access.log", "error.log"):
            (logs / name).touch()
            os.chown(logs / name, users.user("www-data").uid, users.user(0, groups=["adm"]).groups[0])
            (logs / name).chmod(0o640)
        os.chown(logs, 0, users.user(0, groups=["adm"]).groups[0])
        logs.chmod(0o755)
        recipe = recipe_of(root).replace("/var/log/nginx", str(logs)).replace("/run/nginx.pid", str(root / "nginx.pid"))
        site.configure(recipe)
        sent = 0
        with nginx(root) as port:
            for _ in range(5):
                before, sent = sent, sent + 200
                threads = [threading.Thread(target=_ask, args=(port, range(before + n, sent, 4))) for n in range(4)]
                for thread in threads:
                    thread.start()
                site.run("--force")
                for thread in threads:
                    thread.join()
            site.run("--force")
            supervisor.wait_for(lambda: site.run().code == 0 and not list(logs.glob("access.log.[0-9]")))
        found = [logs / "access.log", *logs.glob("access.log.*")]
        for may in rights(found, actors()):
            assert {name for name, letters in may.items() if "r" in letters} == {"www-data", "in adm"}
        assert rights(found[:1], {"nginx": users.user("www-data")}) == [{"nginx": "rw"}]
        lines = b"".join(_text(file) for file in found).split()
        assert sorted(map(int, lines)) == list(range(sent))


def _ask(port: int, numbers: range) -> None:
    for number in numbers:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/?n={number}", timeout=10).close()


def _text(file: Path) -> bytes:
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix != ".zst":
        return file.read_bytes()
    return subprocess.run(["zstd", "-dcq", file], capture_output=True, check=True).stdout
