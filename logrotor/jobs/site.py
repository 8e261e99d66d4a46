"""Where a worker or a dispatcher stands: the configuration, its queue settings, the host, the real URL."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping

from msgspec import Struct

from logrotor.config import find_config, load_config
from logrotor.disk import state
from logrotor.errors import ConfigError
from logrotor.model import Config, ConfigProblem, QueueSettings

CONFIG_VARIABLE = "LOGROTOR_CONFIG"  # how a worker's process knows its configuration


class Site(Struct, frozen=True, dict=True):
    """A loaded configuration that has a queue. ``url`` holds a password, so it is never printed: see ``shown_url``."""

    file: str
    config: Config
    settings: QueueSettings
    host: str
    environ: Mapping[str, str]

    @property
    def queue(self) -> str:
        """The queue of this host."""
        return queue_of(self.settings.name, self.host)

    @property
    def sha256(self) -> str:
        """Of the files of the configuration; empty if they cannot be read any more."""
        digest = hashlib.sha256()
        try:
            for name in self.config.files:
                with open(name, "rb") as file:
                    digest.update(file.read())
        except OSError:
            return ""
        return digest.hexdigest()

    @property
    def url(self) -> str:
        """The URL with its password. Raises ConfigError if its variable is not set."""
        written = self.settings.url
        if written is None:
            return os.path.join(self.config.state_dir, state.QUEUE)
        if not written.startswith("env:"):
            return written
        name = written.removeprefix("env:")
        if not self.environ.get(name):
            raise ConfigError((ConfigProblem(self.file, "queue.url", f"the variable {name} is not set here; set it in "
                                       "the environment of every worker and of whatever dispatches"),))  # fmt: skip
        return self.environ[name]

    @property
    def shown_url(self) -> str:
        """For messages: the password is ***."""
        return mask(self.url)


def open_site(file: str | None, environ: Mapping[str, str]) -> Site:
    """Load a configuration for its queue. Raises ConfigError, also if there is no usable ``[queue]``."""
    found = os.path.abspath(find_config(file, environ))
    config = load_config(found, environ=environ)
    if config.queue is None:
        wrong = tuple(p for p in config.problems if p.key.split(".")[0] == "queue")
        missing = ConfigProblem(found, "queue", 'there is no [queue] table; for a queue without a server add: [queue] '
                          'with engine = "huey"')  # fmt: skip
        raise ConfigError(wrong or (missing,))
    host = config.queue.host or socket.gethostname()
    return Site(found, config, config.queue, host, environ)


def queue_of(name: str, host: str) -> str:
    """``NAME-HOST`` as every engine accepts it: rq allows no dots, and procrastinate's channel has 40 characters."""
    full = f"{name}-{re.sub(r'[^A-Za-z0-9_-]', '_', host)}"
    return full if len(full) <= 40 else f"{full[:31]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def mask(text: str) -> str:
    """``text`` with the passwords of its URLs as ***, those in a query or a key=value string included."""
    # Up to the last @: a password may hold, against the rules, a / or an @ of its own.
    text = re.sub(r"(?<=://)([^/?#\s:]*):(\S*)@", r"\1:***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|secret|token)=('[^']*'|[^&\s]+)", r"\1=***", text)
