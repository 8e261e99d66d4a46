"""The process that serves a queue: it has the engine's worker beside it, queues a job at each tick, or both.

It signs in with what it has loaded. Asked in the state directory, or after so much time or so many jobs, it lets its
worker end the job at work and executes itself anew: the same pid for its manager, the code and configuration of now.
"""

from __future__ import annotations

import enum
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

import logrotor
from logrotor.disk import files, programs, signin
from logrotor.disk.history import History
from logrotor.disk.signin import Signed
from logrotor.errors import LogrotorError
from logrotor.jobs import processes
from logrotor.jobs.dispatch import by_schedule, dispatch_by
from logrotor.jobs.engine import Engine, Site
from logrotor.jobs.task import tell
from logrotor.jobs.watch import Watch
from logrotor.model import Attempt

_LOOK = 0.2  # seconds between two looks at the worker
# Seconds that it lives at least, if its worker dies: a manager gives up for ever on what ends within startsecs, which
# are 5 in the programs that "queue unit" prints.
_LIFE = 10.0
_ASK = 1.0  # seconds between two looks for a request
_IDLE = 3  # looks without a job before a worker that is to do one gives up: somebody else has taken it
_TRIAL = 60.0  # seconds at most for a start of the code and configuration of now


class Duties(Struct, frozen=True, kw_only=True):
    """What a process is started for, and when it renews itself unasked."""

    works: bool
    ticks: bool
    max_time: float | None = None  # seconds
    max_jobs: int | None = None
    words: tuple[str, ...] = ()  # options of the worker


class End(enum.Enum):
    """Why a process no longer serves."""

    STOPPED = "was asked to stop"
    DIED = "its worker has ended by itself"
    RENEWED = "begins anew"
    IDLE = "its worker did nothing although jobs wait"


def serve(
    site: Site, duties: Duties, stop: Callable[[], bool], connect: Callable[[], Engine], now: Callable[[], datetime]
) -> End:
    """Serve until it is to end. The worker has ended by then, and RENEWED is for the caller to carry out."""
    watch, began = Watch(site, now, works=duties.works), time.monotonic()
    service = _Service(site, duties, stop, watch)
    with closing(watch), service.signed_in(), service.worker_beside():
        service.tell_started()
        if duties.ticks:
            dispatch_by(site, connect, ticks=by_schedule(site), now=now, wait=service.wait)
        while not service.wait(_ASK):
            pass
    while service.end is End.DIED and not stop() and time.monotonic() < began + _LIFE:
        time.sleep(_LOOK)
    if service.end is End.DIED and not stop():
        service.tell_ended()
    return End.STOPPED if stop() else service.end or End.STOPPED


def serve_once(site: Site, engine: Engine, stop: Callable[[], bool]) -> Attempt | None:
    """Have the worker do one job that waits; None: there is none. Raises QueueUnreachable, OSError."""
    if not _pending(site, engine):
        return None
    service, idle = _Service(site, Duties(works=True, ticks=False, words=("--once",)), stop), 0
    with service.signed_in(), service.worker_beside():
        while not service.wait(_ASK) and idle < _IDLE:
            idle = 0 if service.attempts() or _pending(site, engine) else idle + 1
    return next(iter(service.attempts()), None)


def _pending(site: Site, engine: Engine) -> int:
    return sum(count.pending for count in engine.counts(site.queue) if count.queue == site.queue)


def begin_anew() -> None:
    """Become the program of now, with the same pid and arguments. Returns only if there is none any more."""
    with suppress(OSError):
        os.execv(sys.executable, sys.orig_argv)


def program(engine: str) -> str:
    """A digest of logrotor's own code and of the engine's version."""
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(os.path.dirname(logrotor.__file__))):
        for name in sorted(names):
            if name.endswith(".py"):
                with suppress(OSError):
                    digest.update(name.encode() + files.read(os.path.join(folder, name))[0])
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):
        digest.update(version(engine).encode())
    return digest.hexdigest()


class _Service:
    """This process while it serves."""

    def __init__(self, site: Site, duties: Duties, stop: Callable[[], bool], watch: Watch | None = None) -> None:
        self._site, self._duties, self._stop, self._watch = site, duties, stop, watch
        self._state = site.config.state_dir
        self._began, self._asked, self._counted = time.time(), 0.0, 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._anew = False  # the same process has served before
        self._unsigned = ""  # why it could not sign in, once that was logged
        self.end: End | None = None
        pid, born, space = signin.itself()
        self._entry = Signed(
            pid=pid, born=born, space=space, since=self._began, config=os.path.realpath(site.file), loaded=site.loaded,
            program=program(site.settings.engine), engine=site.settings.engine, queue=site.queue, host=site.host,
            works=duties.works, ticks=duties.ticks, answered=signin.requested(self._state, pid),
        )  # fmt: skip

    @contextmanager
    def signed_in(self) -> Iterator[None]:
        """For as long as it serves. What stood there before a renewal is replaced, not missing for a moment."""
        signin.clear_away(self._state, self._began)
        me = (self._entry.pid, self._entry.born)
        self._anew = any((each.pid, each.born) == me for each in signin.signed(self._state))
        self._sign_in()
        if signin.requested(self._state, self._entry.pid) == self._entry.answered:  # else another one has come since
            signin.withdraw(self._state, self._entry.pid)
        try:
            yield
        finally:
            if self.end is not End.RENEWED or self._stop():
                signin.sign_out(self._state, self._entry.pid)

    def _sign_in(self) -> None:
        try:
            signin.sign_in(self._state, self._entry)
            self._unsigned = ""
        except (LogrotorError, OSError) as error:  # a full disk must not stop the rotation that would empty it
            if str(error) != self._unsigned:
                self._unsigned = str(error)
                tell("problem.found", error=self._unsigned)

    @contextmanager
    def worker_beside(self) -> Iterator[None]:
        """``logrotor queue worker`` as a child; at the end it is asked to stop, and waited for.

        It is tied to this process: killed -9 in our place, it still ends its job and stops.
        """
        if not self._duties.works:
            yield
            return
        argv = _ourselves(self._site, "--tied-to", str(os.getpid()), *self._duties.words)
        self._child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            if self._child.poll() is None:
                self._child.send_signal(signal.SIGTERM)
            job = self._site.settings.job
            try:
                self._child.wait(job.grace if self.end is End.IDLE else job.stop_wait)  # an idle one has no job to end
            except subprocess.TimeoutExpired:  # by then its job is over, whatever holds it
                self._child.kill()
                self._child.wait()

    def tell_started(self) -> None:
        site, duties = self._site, self._duties
        worker = {"worker": self._child.pid} if self._child is not None else {}
        tell(
            "worker.started", queue=site.queue, engine=site.settings.engine, config=site.file, process=self._entry.pid,
            **worker, schedule=duties.ticks, anew=self._anew,
        )  # fmt: skip

    def tell_ended(self) -> None:
        """By which signal, or with which exit code."""
        if self._child is None or (status := self._child.poll()) is None:
            return
        how: dict[str, object] = {"exit_code": status, "error": f"the worker ended with exit code {status}"}
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
            how = {"signal": name, "error": f"the worker was ended by {name}"}
        tell("worker.ended", queue=self._site.queue, worker=self._child.pid, **how)

    def wait(self, seconds: float) -> bool:
        """Let the time pass; whether it is to end, then or sooner."""
        until = time.monotonic() + seconds
        while not self._is_over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
        return self.end is not None

    def _is_over(self) -> bool:
        if self.end is not None:  # decided, and told, once
            return True
        if self._stop():
            self.end = End.STOPPED
        elif self._child is not None and self._child.poll() is not None:
            self.end = End.DIED
        elif self._is_asked() or self._is_worn():
            self.end = End.RENEWED
        elif self._watch is not None and self._watch.is_idle():
            self._tell_idle(self._watch.waiting)
            self.end = End.IDLE
        return self.end is not None

    def _tell_idle(self, pending: int) -> None:
        """Which process is ended, and why."""
        held = [each.pid for each in processes.stopped(self._site)]
        what = f"has begun no job for {self._site.settings.monitor.ticks} ticks although {pending} wait"
        stopped = f"; a signal has stopped {', '.join(map(str, held))}" if held else ""
        tell(
            "worker.idle", error=f"{what}{stopped}; it is ended, for its manager to start it again",
            queue=self._site.queue, process=self._child.pid if self._child is not None else 0, pending=pending,
            stopped=held,
        )  # fmt: skip

    def _is_asked(self) -> bool:
        """Whether there is a request that can be granted: one that cannot is answered, and all goes on."""
        if time.monotonic() - self._asked < _ASK:
            return False
        self._asked = time.monotonic()
        renewed = signin.renewed(self._state, self._entry.pid)
        if renewed is None:  # the directory was away, or full
            self._sign_in()
        elif not 0 <= time.time() - renewed < signin.KEPT:
            signin.renew(self._state, self._entry.pid)
        word = signin.requested(self._state, self._entry.pid)
        if not word:
            return False
        refused = _why_not(self._site, self._stop)
        if refused:
            self._entry = replace(self._entry, answered=word, refused=refused)
            signin.withdraw(self._state, self._entry.pid)
            self._sign_in()
        return not refused

    def _is_worn(self) -> bool:
        """Whether it has lasted long enough, and would start again; else it goes on for as long once more."""
        if not self._is_due():
            return False
        refused = _why_not(self._site, self._stop)
        if refused and not self._stop():
            tell("problem.found", error=f"does not begin anew, since it would not start again: {refused}")
            self._began = time.time()
        return not refused

    def _is_due(self) -> bool:
        lasts, jobs, now = self._duties.max_time, self._duties.max_jobs, time.time()
        if lasts is not None and now - self._began >= lasts:
            return True
        if jobs is None or abs(now - self._counted) < _ASK:
            return False
        self._counted = now
        with suppress(OSError):  # what cannot be counted goes on
            return sum(each.ended is not None for each in self.attempts()) >= jobs
        return False

    def attempts(self) -> list[Attempt]:
        """Those that have begun on this queue since we have. Raises OSError."""
        found = History(self._state).attempts_since(self._began)
        return [each for each in found if each.queue == self._site.queue and each.started >= self._began]


def _ourselves(site: Site, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "logrotor", "queue", "worker", "-c", site.file, *words]


def _why_not(site: Site, stop: Callable[[], bool]) -> str:
    """Why the code and configuration of now would not start: then what runs is better than nothing."""
    try:
        tried = programs.run(_ourselves(site, "--trial"), timeout=_TRIAL, stop=stop)
    except OSError as error:
        return str(error)
    return "" if tried.status == 0 else tried.output or tried.cut_short or f"it ended with {tried.status}"
