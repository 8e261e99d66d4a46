"""One survey: what is known of each log that a rule claims."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial

from msgspec.structs import replace

from logrotor.decide.facts import Directory, Family, LogFacts
from logrotor.decide.naming import LOCK
from logrotor.disk import access, acl, descent, files, state, writers
from logrotor.disk.directories import Directories
from logrotor.disk.mounts import SILENT, Mounts
from logrotor.disk.opendir import is_private
from logrotor.errors import Interrupted, LogrotorError, StoppedLooking
from logrotor.model import (
    Archive,
    Config,
    CopyInFlight,
    Entry,
    LogHistories,
    LogHistory,
    Method,
    Missing,
    Note,
    Problem,
    Writers,
)
from logrotor.survey import forms, kinds, proofs
from logrotor.survey.claims import Claim, Claims, Survey
from logrotor.survey.listings import Answers, Listings, path_of, why_no_archives

_STREAM = re.compile(r"/dev/(?!shm/)|/proc/[^/]+/fd/")
_NOTHING, _NONE = LogHistory(), LogHistories({})


class Surveyor:
    """One survey of one configuration, used as a context manager.

    ``stop``: it raises StoppedLooking then. ``late``: nothing is compared. ``resting``: logs not to be taken, and why.
    """

    def __init__(
        self,
        config: Config,
        history: LogHistories | None,
        only: Sequence[str] = (),
        *,
        since: float = 0.0,
        stop: forms.Stop = lambda: False,
        late: forms.Stop = lambda: False,
        resting: Mapping[str, str] = {},
    ) -> None:
        self._stop, self._late, self._resting = stop, late, resting
        self._config, self._history, self._only, self._since = config, history, tuple(only), since
        self._mounts = Mounts()
        self._listings = Listings(self._mounts)
        self._dirs = Directories(self._listings.ids)
        self._answers = Answers(config.targets)
        self._grounds: dict[str, acl.Ground] = {}
        self._prover = proofs.Prover(self._listings, self._dirs)
        self._held = cache(writers.removed_and_open)
        self.found = Survey(directories=self._listings.ids, locked=self._listings.locked)
        self._present: set[str] = set()  # logs of which there is anything
        self._claims = Claims(
            config.logs,
            self._listings,
            self.found,
            state_dir=config.state_dir,
            history=history,
            table=self._mounts,
            answers=self._answers,
        )

    def __enter__(self) -> Surveyor:
        return self

    def __exit__(self, *_: object) -> None:
        self._dirs.__exit__()

    def survey(self) -> Survey:
        """What there is. Who writes an archive is found out when it is asked, as long as the surveyor is open."""
        for _ in self.walk():
            pass
        return self.found

    def walk(self) -> Iterator[LogFacts]:
        """The same, log by log: the rest of ``found`` is whole only at the end."""
        claims: Iterable[Claim] = self._claims
        if self._only or self._has_archives_elsewhere():
            claims = every = list(self._claims)
            for claim in every:
                archive_dir = self._listings.archive_dir(claim.spec, claim.directory)
                if archive_dir is not None:
                    self._claims.owners.add(claim.path, archive_dir)
            if self._only:
                claims = self._claims.select(every, self._only)
        for claim in claims:
            if self._stop():
                raise StoppedLooking("stopped before anything was done")
            try:
                facts = self._facts(claim)
            except Interrupted as error:  # while files were compared
                raise StoppedLooking(error.problem) from None
            if facts is not None:
                self.found.logs.append(facts)
                yield facts
        self._claims.note_unmatched(self._only)
        if self._history is not None and not self._only:
            places = {os.path.dirname(path) for path in self._present}
            self._claims.note_vanished(self._history.rotated_outside(places))

    def _has_archives_elsewhere(self) -> bool:
        recorded = self._history is not None and self._history.has_keepers
        return recorded or any(spec.archive_dir is not None for spec in self._config.logs)

    def _facts(self, claim: Claim) -> LogFacts | None:
        spec, directory = claim.spec, claim.directory
        family = directory.families.get(claim.base) or Family()
        if claim.base in directory.families or directory.problem is not None:
            self._present.add(claim.path)
        if self._is_stream(claim, family):
            return None
        history = _NOTHING if self._history is None else self._history.of(claim.path)
        archive_dir, refusal = self._archive_dir(claim)
        elsewhere = self._elsewhere(claim, archive_dir, history)
        if any(claim.base in d.families for d in elsewhere):
            self._present.add(claim.path)
        if self._is_missing(claim, family) and claim.path not in self._present:
            return None
        if family.temps or elsewhere:
            forms.find_set_aside(claim.base, (directory, *elsewhere), self._stop)
        archives = family.archives
        if elsewhere:
            archives = [*archives, *(a for d in elsewhere for a in _archives(d, claim.base))]
        closed, locked_out = self._access(claim, family)
        return LogFacts(
            spec=spec,
            path=claim.path,
            base=claim.base,
            directory=directory,
            family=family,
            elsewhere=elsewhere,
            archive_dir=archive_dir,
            history=history,
            writers=proofs.Proofs(self._prover, directory.resolved, family, archives),
            duplicates=forms.Duplicates(archives, directory.resolved, lambda: self._stop() or self._late()),
            birth=partial(files.birth, claim.path),
            made=_made,
            may_be_linked=partial(_may_be_linked, claim.base),
            since=self._since,
            strangers=kinds.Strangers(
                claim.base,
                history,
                archives,
                own=_NONE.of if self._history is None else self._history.of,
                prove=self._prove,
                directory=directory,
                family=family,
            ),
            live_writers=partial(self._live_writers, directory.resolved, family.live),
            is_alone=partial(self._is, self._prover.is_alone, directory.resolved, family.live),
            held=self._held,
            is_append_only=partial(self._is, self._prover.is_append_only, directory.resolved, family.live),
            why_not_cut=partial(self._why_not_cut, claim, family),
            noted=cache(partial(self._noted, claim, family)),
            literal=claim.literal,
            resting=self._resting.get(claim.path, ""),
            refusal=refusal or self._refusal(claim, family) or closed or (locked_out if spec.strict else None),
            proof=self._proof(claim, family),
            loses=None if spec.strict else locked_out,
            widens=_widens(claim, family),
        )

    def _is(self, ask: Callable[[str, Entry], bool], directory: str, live: Entry | None) -> bool:
        return live is not None and ask(directory, live)

    def _why_not_cut(self, claim: Claim, family: Family) -> Problem | None:
        if family.live is None:
            return None
        place = claim.directory.resolved
        found = self._prover.why_not_cut(place, family.live)
        if found is None or (
            # A run of another configuration that cuts the log just now: it is asked again when that has let go.
            found.kind == writers.OVERWRITES and (claim.directory.locked or os.path.lexists(os.path.join(place, LOCK)))
        ):
            return None
        return replace(found, subject=claim.path)

    def _noted(self, claim: Claim, family: Family) -> CopyInFlight | Problem | None:
        live, copies = family.live, family.newest_plain
        if live is None or not live.is_regular or not copies:
            return None
        return self._prover.find_cut(claim.directory.resolved, live, copies, partial(self._is_recorded, claim.path))

    def _is_recorded(self, path: str, copy: Entry) -> bool:
        """Did a run of ours make this archive, to the end?"""
        from logrotor.disk import archived  # here: asked where a file system keeps no notes

        with suppress(LogrotorError, OSError):
            known = archived.Records(os.path.join(self._config.state_dir, state.HISTORY)).of(path)
            return any(record.ordered and record.inode == copy.id.inode for record in known)
        return False

    def _prove(self, archive: Archive) -> Writers | None:
        return self._prover.prove(archive.directory, archive.entry)

    def _live_writers(self, directory: str, live: Entry | None) -> Writers | None:
        return self._prover.prove(directory, live, names=1) if live is not None else None

    def _is_stream(self, claim: Claim, family: Family) -> bool:
        """Is it a link to /dev/stdout or the like, as in many containers? Another user's link is an error.

        Another one that a glob finds, such as latest.log, is passed over too, unless it has the name of a rotated log.
        """
        live = family.live
        if live is None or not stat.S_ISLNK(live.stat.st_mode):
            return False
        target = ""
        with suppress(OSError):
            target = os.readlink(claim.path)
        if _STREAM.match(os.path.normpath(target)) and live.stat.st_uid in (0, os.geteuid()):
            self.found.skipped.append(Note(claim.path, f"links to {target}"))
        elif not claim.literal and (self._history is None or self._history.of(claim.path).last_rotation is None):
            self.found.skipped.append(Note(claim.path, f"a symlink to {target}, which a pattern happens to match"))
        else:
            return False
        return True

    def _is_missing(self, claim: Claim, family: Family) -> bool:
        if family.live is not None or not claim.literal or claim.directory.problem is not None:
            return False
        silent = self._mounts.why_silent(claim.path)  # a file that is mounted by itself
        if silent is not None:
            self._note(silent)
            return True
        if claim.spec.missing is Missing.ERROR:
            self.found.require(claim.path, f"does not exist, and rule {claim.spec.name} says missing = error")
        elif not claim.spec.create_missing:
            self.found.missing.append(claim.path)
        return not claim.spec.create_missing

    def _archive_dir(self, claim: Claim) -> tuple[str | None, Problem | None]:
        """Where finished archives go (None: beside the log), and why the log is not rotated because of that."""
        directory = self._listings.archive_dir(claim.spec, claim.directory)
        if directory is None or (directory.id is not None and directory.id == claim.directory.id):
            return None, None
        why_not = why_no_archives(claim.spec, directory)
        if directory.problem is not None and directory.problem.kind != SILENT:
            return None, why_not
        if why_not is not None:
            self._note(why_not)
        if directory.problem is not None:
            return None, None
        path, owner = path_of(directory), self._claims.owners.owner(directory, claim.base)
        if owner is None or owner == claim.path:
            return path, None
        why = f"archives of {owner} and of {claim.path} would have the same names there"
        if self._claims.named.naming(owner):
            return None, Problem(subject=path, problem=why, advice="give one of the two rules another archive_dir")
        away = f"remove or rename {owner} if nobody writes it any more"
        self._note(
            Problem(subject=path, problem=why, advice=f"give rule {claim.spec.name} another archive_dir, or {away}")
        )
        return None, None

    def _note(self, problem: Problem) -> None:
        """The log is rotated all the same, for the disk is finite, and its archives wait beside it."""
        self.found.note(problem)

    def _elsewhere(self, claim: Claim, archive_dir: str | None, history: LogHistory) -> tuple[Directory, ...]:
        if not archive_dir and not history.archive_dirs:
            return ()
        paths = dict.fromkeys(([archive_dir] if archive_dir else []) + list(history.archive_dirs))
        found = [(path, self._listings.look(path)) for path in paths]
        owners = self._claims.owners
        for path, directory in found:  # what an earlier archive_dir holds is of the log, and nobody sees it
            if directory.problem is not None and path != archive_dir and path in history.archive_dirs:
                self._note(directory.problem)
        return tuple(
            directory
            for path, directory in found
            if not directory.missing
            and (directory.id is None or directory.id != claim.directory.id)
            and (path == archive_dir or owners.owner(directory, claim.base) == claim.path)
        )

    def _refusal(self, claim: Claim, family: Family) -> Problem | None:
        if family.live is None or claim.spec.method is Method.COPYTRUNCATE:
            return None
        if claim.path in self._mounts.points:
            return Problem(
                subject=claim.path,
                problem="is mounted by itself (a bind-mounted file) and cannot be renamed",
                advice='mount its directory, or set method = "copytruncate"',
            )
        return None

    def _access(self, claim: Claim, family: Family) -> tuple[Problem | None, Problem | None]:
        """Why we could not rotate the log, and who would be locked out if we did."""
        live, directory = family.live, claim.directory
        if live is None or not live.is_regular or directory.id is None:
            return None, None
        ground = self._grounds.get(directory.resolved)
        if ground is None:
            kind = directory.file_system.type if directory.file_system is not None else ""
            ground = self._grounds[directory.resolved] = acl.Ground.at(directory.resolved, kind)
        # Of a directory that may not be written, that is the answer, once for all of its logs.
        closed = access.why_closed(claim.path, live.stat, ground, claim.spec) if directory.closed is None else None
        closed = self._answers.of(closed, directory.path, claim.spec)
        asked = partial(self._answers.asked, claim.spec)
        return closed, access.why_locked_out(claim.path, live.stat, ground, claim.spec, asked)

    def _proof(self, claim: Claim, family: Family) -> str:
        system = claim.directory.file_system
        if family.live is None or system is None:
            return ""
        return writers.expected_proof(family.live.stat.st_uid, system.type)


def _may_be_linked(base: str, path: str) -> bool:
    try:
        return is_private(os.stat(os.path.dirname(path))) or descent.is_noted(path, base)
    except OSError:
        return False


def _made(archive: Archive) -> float | None:
    """A compressed one was made after it was taken; a plain one was born as the log."""
    known = [moment for moment in (descent.taken_at(archive.path), files.birth(archive.path)) if moment is not None]
    return max(known, default=None)


def _widens(claim: Claim, family: Family) -> str:
    """How create_mode opens the log to more than it would be without: "0640 -> 0664"; "" if it does not."""
    wanted, live = claim.spec.create_mode, family.live
    if live is None or not isinstance(wanted, int) or not claim.spec.create or claim.spec.method is Method.COPYTRUNCATE:
        return ""
    mode = live.stat.st_mode & 0o777
    return f"{mode:04o} -> {wanted:04o}" if wanted & ~access.opened(mode) & 0o066 else ""


def _archives(directory: Directory, base: str) -> list[Archive]:
    family = directory.families.get(base)
    return family.archives if family is not None else []
