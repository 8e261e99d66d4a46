"""Who writes an archive, and when a log was born: asked of few logs, so it is found out when it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

from logrotor.decide.facts import Family
from logrotor.disk import cuts, writers
from logrotor.disk.calls import is_append_only
from logrotor.disk.directories import Directories
from logrotor.disk.opendir import ANY
from logrotor.errors import LogrotorError, Stale, message
from logrotor.model import Archive, Codec, CopyInFlight, Entry, FileId, Problem, Writers, Written
from logrotor.survey.listings import Listings

T = TypeVar("T")


class Prover:
    """Finds out who writes a file, as long as ``dirs`` are open; the processes are looked at once."""

    def __init__(self, listings: Listings, dirs: Directories) -> None:
        self._listings, self._dirs = listings, dirs
        self._processes: writers.Processes | None = None

    def prove(self, directory: str, entry: Entry, names: int = ANY) -> Writers | None:
        """Who writes this file; None where it cannot be opened as a regular one of no more than ``names`` names."""
        known = self._listings.look(directory)
        kind = known.file_system.type if known.file_system is not None else "unknown"
        processes = self._look_at_processes() if entry.stat.st_uid != os.geteuid() else None
        try:
            with self._dirs.use(directory) as logdir, ExitStack() as opened:
                fd = logdir.open_file(entry.name, entry.id, names=names)
                opened.callback(os.close, fd)
                found = writers.prove(fd, kind, processes)
        except (LogrotorError, OSError):
            return None
        if isinstance(found, Written) and not found.pids:  # a lease shows that somebody writes; /proc shows who
            return self._look_at_processes().writing(entry.id, found.proof)
        return found

    def is_alone(self, directory: str, entry: Entry) -> bool:
        """Is it proved that nobody has this file open, not even to read it?"""
        known = self._listings.look(directory)
        kind = known.file_system.type if known.file_system is not None else "unknown"
        return bool(self._ask(directory, entry, lambda fd: writers.is_alone(fd, kind)))

    def is_append_only(self, directory: str, entry: Entry) -> bool:
        """Has it the attribute of ``chattr +a``?"""
        return bool(self._ask(directory, entry, is_append_only))

    def why_not_cut(self, directory: str, entry: Entry) -> Problem | None:
        """Why a copytruncate would be refused, by its block map or its writers."""
        path = os.path.join(directory, entry.name)
        return self._ask(directory, entry, lambda fd: writers.why_not_cut(fd, path, self._look_at_processes()))

    def find_cut(
        self, directory: str, live: Entry, copies: Sequence[Entry], explained: cuts.Explained
    ) -> CopyInFlight | Problem | None:
        """What these say is still to be cut off the log; or why nobody can tell."""
        try:
            with self._dirs.use(directory) as logdir:
                return cuts.find(logdir, live, copies, explained)
        except (Stale, FileNotFoundError):  # another run goes on with it
            return None
        except (LogrotorError, OSError) as error:
            what = f"nobody can tell whether a copytruncate of it was interrupted: {message(error, live.name)}"
            return Problem(subject=os.path.join(directory, live.name), problem=what)

    def _ask(self, directory: str, entry: Entry, question: Callable[[int], T]) -> T | None:
        with suppress(LogrotorError, OSError), self._dirs.use(directory) as logdir:
            fd = logdir.open_file(entry.name, entry.id)
            try:
                return question(fd)
            finally:
                os.close(fd)
        return None

    def _look_at_processes(self) -> writers.Processes:
        if self._processes is None:
            self._processes = writers.Processes.look()
        return self._processes


class Proofs(Mapping[FileId, Writers]):
    """Who writes the replacement and each plain archive of a log: everything that somebody could still write.

    Each is proved when it is asked for: of most logs nobody asks, and a proof takes six system calls.
    """

    __slots__ = ("_archives", "_beside", "_family", "_found", "_named", "_prover")

    def __init__(self, prover: Prover, beside: str, family: Family, archives: Sequence[Archive]) -> None:
        self._prover, self._beside, self._family, self._archives = prover, beside, family, archives
        self._named: dict[FileId, list[tuple[str, Entry]]] | None = None
        self._found: dict[FileId, Writers | None] = {}

    def __getitem__(self, file: FileId) -> Writers:
        if file not in self._found:
            self._found[file] = self._prove(file)
        found = self._found[file]
        if found is None:
            raise KeyError(file)
        return found

    def __iter__(self) -> Iterator[FileId]:
        return (file for file in self._names() if self.get(file) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _names(self) -> Mapping[FileId, Sequence[tuple[str, Entry]]]:
        """The files, each with its directories and names there."""
        if self._named is None:
            self._named = {}
            for directory, entry in self._wanted():
                self._named.setdefault(entry.id, []).append((directory, entry))
        return self._named

    def _wanted(self) -> Iterator[tuple[str, Entry]]:
        for archive in self._archives:
            if archive.name.codec is Codec.NONE and archive.entry.is_regular:
                yield archive.directory, archive.entry
        if self._family.replacement is not None and self._family.replacement.is_regular:
            yield self._beside, self._family.replacement

    def _prove(self, file: FileId) -> Writers | None:
        """Prove a file under the last of its names that opens; a crash can leave it two."""
        found = None
        for directory, entry in self._names().get(file, ()):
            found = self._prover.prove(directory, entry) or found
        return found
