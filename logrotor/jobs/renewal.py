"""Have what runs begin anew, and see that it has. Nothing is ended that nobody would start again."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from logrotor.disk import holders, proc, programs, signin
from logrotor.disk.signin import Signed
from logrotor.errors import LogrotorError
from logrotor.jobs.engine import Site
from logrotor.jobs.payload import new_id
from logrotor.jobs.processes import Running, look
from logrotor.model import Problem
from logrotor.notify import supervisor_rpc, supervisord, systemd
from logrotor.notify.supervisor_ini import Ini, Unreadable

_START = 60.0  # seconds at most for a process to start and sign in
_LOOK = 0.1


class Unrenewed(LogrotorError):
    """It runs as it did, or is gone; the message says which, and what to do."""


def renew(site: Site, head: Running, tell: Callable[[str], object] = lambda _: None) -> str:
    """Have it begin anew after the job at work; says what was seen then. Raises Unrenewed, LogrotorError, OSError.

    ``tell`` gets what is waited for, at once where that may take long.
    """
    if holders.is_stopped(head.pid):
        what = "was stopped by a signal, so it does nothing, and holds what it holds"
        raise Unrenewed(Problem(subject=f"process {head.pid}", problem=what, advice=f"kill -CONT {head.pid}"))
    tell(_waited_for(site, head))
    manager = managed(site, head)
    if head.signed is None or head.signed.pid != head.pid:
        return restart(site, head, manager)
    try:
        return _renewed(site, head.signed)
    except TimeoutError:
        return restart(site, head, manager)


def _waited_for(site: Site, head: Running) -> str:
    """The job at work ends first, and a process that is stopped ends nothing."""
    most = f"at most {site.settings.job.stop_wait + _START:g} s"
    stopped = next((pid for pid in _below(head.pid) if holders.is_stopped(pid)), None)
    if stopped is None:
        return f"waits for process {head.pid}, which lets the job at work end; {most}"
    return f"waits for process {stopped}, which is stopped: kill -CONT {stopped}; {most}"


def _below(head: int) -> list[int]:
    """What a process has started, and what those have."""
    parents = {each.pid: each.parent for each in proc.running(b"")}
    found = [head]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _renewed(site: Site, entry: Signed) -> str:
    """Ask it in the state directory. Raises TimeoutError where it does not look there any more."""
    word, state_dir, before = new_id(), site.config.state_dir, {each.pid for each in site.signed}
    signin.request(state_dir, entry.pid, word)
    for _ in _until(site.settings.job.stop_wait + _START):
        signed = {each.pid: each for each in site.signed}
        there = signed.get(entry.pid)
        if there is not None and there.answered == word:
            if there.refused:
                what = f"goes on as it was, since it would not start again: {there.refused}"
                raise Unrenewed(Problem(subject=f"process {entry.pid}", problem=what))
            if _works(site, there):
                return f"process {there.pid} has begun anew, and has signed in"
        successor = next(
            (each for pid, each in signed.items() if pid not in before and each.works == entry.works), None
        )
        if there is None and successor is not None and _works(site, successor):
            return f"process {entry.pid} has ended, and process {successor.pid} has signed in in its place"
    signin.withdraw(state_dir, entry.pid)
    raise TimeoutError


def _works(site: Site, entry: Signed) -> bool:
    """Whether the engine's own worker runs beside it, where it is to have one."""
    return not entry.works or any(each.process.parent == entry.pid for each in look(site).workers)


# ---------------------------------------------------------------- by its manager


class Managed(Struct, frozen=True):
    """What restarts a process: ``command`` as it is typed; whether we may have it done."""

    command: str
    argv: tuple[str, ...] = ()  # empty: we may not


def managed(site: Site, head: Running) -> Managed:
    """The process manager of ``head``, as far as it can be seen."""
    return _by_supervisord(head) or _by_systemd(head) or Managed("stop it, then start it the way it was started")


def restart(site: Site, head: Running, manager: Managed) -> str:
    """Have its manager do it, and see the new process. Raises Unrenewed."""
    subject = f"process {head.pid}"
    if not manager.argv:
        raise Unrenewed(
            Problem(subject=subject, problem="has not signed in, so it cannot be asked", advice=manager.command)
        )
    before = {each.pid for each in look(site).every}
    try:
        done = programs.run(manager.argv, timeout=site.settings.job.stop_wait + _START, stop=lambda: False)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unrenewed(Problem(subject=subject, problem=f"{manager.command}: {error}")) from error
    for _ in _until(_START):
        new = [each for each in look(site).of(site).heads if each.pid not in before]
        if new and (new[0].engine is not None or (new[0].signed is not None and _works(site, new[0].signed))):
            return f"{manager.command}: process {new[0].pid} runs in its place"
    raise Unrenewed(Problem(subject=subject, problem=f"{manager.command}: no new process is seen{done.said}"))


def _by_supervisord(head: Running) -> Managed | None:
    environ = head.environ or {}
    name, above = environ.get("SUPERVISOR_PROCESS_NAME"), head.process
    while name and above.parent > 1 and not supervisord.is_supervisord(above.argv):
        try:
            above = proc.look(above.parent)
        except OSError:
            return None
    if not name or not supervisord.is_supervisord(above.argv):
        return None
    what = f"restart {environ.get('SUPERVISOR_GROUP_NAME', name)}:{name}"
    try:
        located = supervisord.locate(above)
        ini = Ini(located.path, located.environ)
    except (OSError, Unreadable):
        return Managed(f"as {'root' if above.uid == 0 else 'its user'}: supervisorctl {what}")
    command = ini.control(what)
    if not command:
        return Managed(f"its supervisord has no socket for supervisorctl: kill {head.pid}, where autorestart = true")
    if supervisor_rpc.processes(ini, above.pid) is None:
        return Managed(f"as whoever may use its socket: {command}")
    return Managed(command, (_supervisorctl(above.argv), *shlex.split(command)[1:]))


def _supervisorctl(argv: tuple[str, ...]) -> str:
    """The one beside the supervisord that runs."""
    beside = (os.path.join(os.path.dirname(word), "supervisorctl") for word in argv if "supervisord" in word)
    return next((path for path in beside if os.access(path, os.X_OK)), "supervisorctl")


def _by_systemd(head: Running) -> Managed | None:
    try:
        service = next((each for each in systemd.services() if each.main_pid == head.pid), None)
    except (OSError, subprocess.SubprocessError):
        return None
    if service is None:
        return None
    argv = ("systemctl", *(("--user",) if service.of_user else ()), "restart", service.name)
    command = shlex.join(argv)
    return Managed(command, argv) if service.of_user or os.geteuid() == 0 else Managed(f"as root: {command}")


def _until(patience: float) -> Iterator[None]:
    """Look again and again, at most so long."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        yield
        time.sleep(_LOOK)
