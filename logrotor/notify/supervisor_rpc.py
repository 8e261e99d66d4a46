"""Ask supervisord by its own interface what it runs: XML-RPC over the socket that its configuration names.

Source: supervisor/rpcinterface.py (getPID, getAllConfigInfo), supervisor/options.py (server_configs_from_parser).
"""

from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING, Any

import msgspec

from logrotor.notify.supervisor_ini import Ini, Unreadable

if TYPE_CHECKING:
    from http.client import HTTPConnection

_PATIENCE = 2.0  # seconds
_MOST = 1 << 24  # bytes of an answer


class Told(msgspec.Struct, frozen=True):
    """A process, as supervisord has it configured now."""

    name: str
    group: str
    stdout_logfile: str
    stdout_logfile_maxbytes: int
    stderr_logfile: str
    stderr_logfile_maxbytes: int

    @property
    def logs(self) -> tuple[tuple[str, str, int], ...]:
        """(key of the limit, path, limit) of both streams."""
        return (
            ("stdout_logfile_maxbytes", self.stdout_logfile, self.stdout_logfile_maxbytes),
            ("stderr_logfile_maxbytes", self.stderr_logfile, self.stderr_logfile_maxbytes),
        )


def processes(ini: Ini, pid: int) -> list[Told] | None:
    """What the supervisord of that pid runs; None where it cannot be asked, or another one answers."""
    from http.client import HTTPException
    from xml.parsers.expat import ExpatError
    from xmlrpc.client import Error

    closed = (OSError, ValueError, HTTPException, Error, ExpatError, msgspec.ValidationError, Unreadable)
    for section in ("unix_http_server", "inet_http_server"):
        try:
            if section in ini.sections and _ask(ini, section, "getPID") == pid:
                return msgspec.convert(_ask(ini, section, "getAllConfigInfo"), list[Told])
        except closed:  # closed to us, or not there
            continue
    return None


def _ask(ini: Ini, section: str, method: str) -> Any:
    from xmlrpc.client import dumps, loads

    password = ini.value(section, "password") or ""
    if password.startswith("{SHA}"):
        raise Unreadable("the password is known by its hash only")
    user = ini.value(section, "username") or ""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    connection = _connection(ini, section)
    try:
        headers = {"Content-Type": "text/xml", **({"Authorization": f"Basic {login}"} if user else {})}
        connection.request("POST", "/RPC2", dumps((), f"supervisor.{method}"), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"it answers {answer.status}")
        return loads(answer.read(_MOST))[0][0]
    finally:
        connection.close()


def _connection(ini: Ini, section: str) -> HTTPConnection:
    """Raises OSError, ValueError or Unreadable."""
    from http.client import HTTPConnection

    if section == "inet_http_server":
        host, _, port = (ini.value(section, "port") or "").rpartition(":")
        return HTTPConnection("127.0.0.1" if host in ("", "*") else host, int(port), timeout=_PATIENCE)
    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(_PATIENCE)
    connection.sock.connect(ini.value(section, "file") or "")
    return connection
