"""The workers and schedules that run on this host, as /proc shows them and as they have signed in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from logrotor.config.find import named_config
from logrotor.disk import holders, proc
from logrotor.disk.signin import Signed
from logrotor.disk.walk import user_name
from logrotor.errors import LogrotorError
from logrotor.jobs.engine import CONFIG_VARIABLE, Site, open_site

_MODULE = re.compile(r"logrotor\.jobs\.engines\.([a-z]+)")  # of rq it is rq_settings
_SHELLS = ("sh", "bash", "dash", "grep")


class Running(Struct, frozen=True, dict=True):
    """A process that works on a queue, or dispatches to one. ``environ`` is None where it may not be seen."""

    process: proc.Process
    engine: str | None  # of the engine's own worker; None: logrotor's, which serves
    environ: Mapping[str, str] | None
    signed: Signed | None = None  # its own entry, or that of the process that has started it

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def config(self) -> str | None:
        """The configuration that it was started with; None if that is unknown."""
        if self.signed is not None:
            return self.signed.config
        named = (self.environ or {}).get(CONFIG_VARIABLE)
        if "queue" in self.process.argv:  # logrotor's own command line; an engine's has a -c of another meaning
            named = named_config(self.process.argv) or named
        if named is None or os.path.isabs(named):
            return named
        folder = proc.cwd(self.pid)
        return os.path.join(folder, named) if folder else None

    @property
    def ticks(self) -> bool:
        """Whether it is a schedule, a worker beside it or not."""
        after = _after_queue(self.process.argv)
        return "schedule" in after or ("worker" in after and "--schedule" in after)

    @property
    def words(self) -> str:
        """How it is called in a finding."""
        return f"process {self.pid} ({' '.join(self.process.argv)[:120]})"

    @property
    def user(self) -> str:
        return user_name(self.process.uid)

    def is_of(self, site: Site) -> bool:
        """Whether it has this configuration. Only the name counts: a stranger could name any file, none is read."""
        return self.config is not None and os.path.realpath(self.config) == os.path.realpath(site.file)

    def site(self) -> Site | None:
        """The queue that it was started for, in its own environment."""
        if self.config is None or self.environ is None or not self.process.is_believed:
            return None
        try:
            return open_site(self.config, self.environ)
        except (LogrotorError, OSError):
            return None


class Seen(Struct, frozen=True):
    """What runs for queues of logrotor, whosever it is."""

    every: Sequence[Running]

    @property
    def workers(self) -> list[Running]:
        """The engines' own; of one with children the first process."""
        pids = {each.pid for each in self.every if each.engine is not None}
        return [each for each in self.every if each.engine is not None and each.process.parent not in pids]

    @property
    def schedules(self) -> list[Running]:
        """Without what one tries in a process of its own before it starts."""
        return [each for each in self.heads if each.engine is None and each.ticks]

    @property
    def heads(self) -> list[Running]:
        """Those that nobody else of them has started: what a process manager knows, and what can be restarted."""
        pids = {each.pid for each in self.every}
        return [each for each in self.every if each.process.parent not in pids]

    def of(self, site: Site) -> Seen:
        """Those of this configuration that we can believe: our own, root's, and who has signed in."""
        return Seen([e for e in self.every if (e.signed or e.process.is_believed) and e.is_of(site)])


def look(site: Site) -> Seen:
    """Who runs; with the entries of those who have signed in with this configuration."""
    signed = {entry.pid: entry for entry in site.signed}
    found: list[Running] = []
    for process in proc.running(b"logrotor"):
        engine = _engine(process.argv)
        if engine is not None or {"worker", "schedule"} & {*_after_queue(process.argv)[:1]}:
            entry = signed.get(process.pid) or signed.get(process.parent)
            found.append(Running(process, engine, proc.environ(process.pid), entry))
    beside = {each.process.parent: each.environ for each in found}
    # One that was root and has given that up hides its environment; its worker has the same.
    shown = [replace(each, environ=each.environ or beside.get(each.pid)) for each in found]
    return Seen(sorted(shown, key=lambda each: each.pid))


def stopped(site: Site) -> list[proc.Process]:
    """Those of this configuration that a signal has stopped, and what they have started: they hold what they hold."""
    return [each for each in family(each.process for each in look(site).of(site).every) if holders.is_stopped(each.pid)]


def family(heads: Iterable[proc.Process], word: bytes = b"") -> list[proc.Process]:
    """These processes and all that they have started with ``word`` in the command line, as far as it can be seen."""
    found = {each.pid: each for each in heads}
    others = [each for each in proc.running(word) if each.pid not in found]
    while children := [each for each in others if each.parent in found and each.pid not in found]:
        found.update((each.pid, each) for each in children)
    return sorted(found.values(), key=lambda each: each.pid)


def _engine(argv: tuple[str, ...]) -> str | None:
    """The engine of a worker: its own command line names our module. A shell that quotes it is none."""
    if not argv or os.path.basename(argv[0]) in _SHELLS:
        return None
    return next((found[1] for word in argv[1:] if (found := _MODULE.search(word))), None)


def _after_queue(argv: tuple[str, ...]) -> Sequence[str]:
    """The command after ``logrotor queue``, and its options."""
    words = list(argv)
    if "queue" not in words or not any("logrotor" in word for word in words[: words.index("queue")]):
        return ()
    after = words[words.index("queue") + 1 :]
    commands = [place for place, word in enumerate(after) if word in ("worker", "schedule")]
    return after[commands[0] :] if commands else ()
