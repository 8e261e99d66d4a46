"""One host of a deployment under test: its folder, its configuration, its worker, what its history says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from logrotor.disk.history import History
from logrotor.jobs.engine import Engine, Site, open_engine, open_site
from logrotor.model import Attempt, Ending
from tests.support import command
from tests.support.command import CHECKOUT, Result

SLOW = CHECKOUT / "tests" / "jobs" / "slow"
URL_VARIABLE = "LOGROTOR_TEST_URL"
NOBODY = 1 << 22  # the lowest number that no process can have (pid_max, proc_sys_kernel(5))
PATIENCE = 120.0  # a bound for what should take a second, so that nothing hangs; no test measures it

CONFIG = """\
state_dir = "state"
lock_timeout = "0s"

[[log]]
name = "app"
paths = ["logs/app.log"]
max_size = "1K"
backup_count = 5
missing = "error"

[queue]
name = "{queue}"
engine = "{engine}"
url = "{url}"
host = "{host}"

[queue.job]
timeout = "20s"
backoff = ["1s", "2s"]
stuck_after = "2m"
"""


@dataclass
class Host:
    """A folder with a configuration and a log. The URL of the queue is only in the environment."""

    folder: Path
    engine_name: str
    url: str
    name: str = "alpha"
    more: dict[str, str] = field(default_factory=dict)  # variables of its environment
    queue_name: str = "log-rotation"  # what --check says goes for all hosts of this name

    def __post_init__(self) -> None:
        (self.folder / "logs").mkdir(parents=True)
        self.config.write_text(
            CONFIG.format(queue=self.queue_name, engine=self.engine_name, url=f"env:{URL_VARIABLE}", host=self.name)
        )

    @property
    def config(self) -> Path:
        return self.folder / "logrotor.toml"

    @property
    def log(self) -> Path:
        return self.folder / "logs" / "app.log"

    @property
    def slow(self) -> Path:
        """What this file says makes attempts slow, see slow/sitecustomize.py."""
        return self.folder / "slow"

    @property
    def variables(self) -> dict[str, str]:
        """For commands that start no attempt: none is made slow, and they can be forked."""
        return {URL_VARIABLE: self.url, **self.more}

    @property
    def environ(self) -> dict[str, str]:
        path = os.pathsep.join([str(CHECKOUT), str(SLOW)])
        return {**self.variables, "LOGROTOR_TEST_SLOW": str(self.slow), "PYTHONPATH": path}

    @property
    def site(self) -> Site:
        return open_site(str(self.config), {**command.environment(), **self.environ})

    @property
    def engine(self) -> Engine:
        return open_engine(self.site)

    def grow(self, letter: str = "x") -> None:
        """Make the log due."""
        with self.log.open("a") as file:
            file.write(f"{letter * 99}\n" * 50)

    def rotations(self) -> int:
        return sum(1 for name in os.listdir(self.folder / "logs") if name.startswith("app.log."))

    def queue(self, *args: str, check: int | None = 0) -> Result:
        """``logrotor queue ARGS``."""
        return command.logrotor("queue", args[0], "-c", self.config, *args[1:], env=self.variables, check=check)

    def dispatch(self) -> str:
        """Queue a job; returns its id."""
        return self.queue("dispatch").stdout.strip()

    def attempts(self) -> list[Attempt]:
        return History(str(self.folder / "state")).attempts_since(0)

    def endings(self) -> list[str]:
        return [attempt.ending.value for attempt in self.attempts()]

    # ------------------------------------------------------------ workers

    @contextmanager
    def working(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """The worker of this host; stopped with SIGTERM at the end."""
        worker = self.start(*options)
        try:
            yield worker
        finally:
            self.stop(worker)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        argv = command.arguments("queue", "worker", "-c", self.config, *options)
        # To a file, not a pipe: nobody reads while the worker works.
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                argv, cwd=self.folder, env=command.environment(self.environ), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def stop(self, worker: subprocess.Popen[bytes], signum: int = signal.SIGTERM) -> None:
        """Ask it to stop; KILL, with all that it has started, if it does not."""
        if worker.poll() is None:
            worker.send_signal(signum)
        try:
            worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(worker)
            raise AssertionError(f"the worker did not stop\n{self.said()}") from None

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """KILL the worker and the processes of the engine beside it, as the kernel's OOM killer might."""
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def said(self) -> str:
        return (self.folder / "worker.log").read_text() if (self.folder / "worker.log").exists() else ""

    def events(self) -> list[dict[str, Any]]:
        """What the worker and its attempts told, one JSON object a line."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Look until it holds; how long it takes decides nothing."""
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                told = "\n".join(map(repr, self.attempts()))
                raise AssertionError(f"did not happen within {PATIENCE:g} s\n{told}\n{self.said()}")
            time.sleep(0.05)

    def wait_for_endings(self, *endings: str) -> None:
        """Until the attempts have ended just so, in this order."""
        self.wait_for(lambda: len(self.endings()) >= len(endings) and "running" not in self.endings())
        assert self.endings() == list(endings), self.said()


def worker_pids(host: Host) -> Sequence[int]:
    """The processes of the engine that work for this host's configuration right now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes()
            environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"logrotor.jobs.engines." in argv and b"LOGROTOR_CONFIG=" + os.fsencode(host.config) in environ:
            found.append(int(pid))
    return found


def attempt_pids(host: Host) -> Sequence[int]:
    """The processes of attempts that run on this host's configuration right now."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--attempt" in argv and os.fsencode(host.config) in argv:
            found.append(int(pid))
    return found


def attempted(
    host: Host,
    ending: Ending,
    *,
    job: str = "job",
    ago: float = 60,
    seconds: float = 2.0,
    detail: str = "it broke",
    pid: int | None = None,
    by: str = "",
) -> None:
    """Put an attempt into the history of the host."""
    started = time.time() - ago
    (host.folder / "state").mkdir(mode=0o700, exist_ok=True)
    history = History(str(host.folder / "state"))
    begun = history.begin_attempt(
        Attempt(
            id=0, job=job, number=1, engine="huey", queue=host.site.queue, host=by or host.name,
            started=started, ended=None,
            ending=Ending.RUNNING, final=False, detail="", pid=pid or os.getpid(), payload="{}",
        ),
        overdue=0,
    )  # fmt: skip
    if ending is not Ending.RUNNING:
        history.end_attempt(replace(begun, ended=started + seconds, ending=ending, final=True, detail=detail))
