"""Take a log: move it aside to slot 1 and put a replacement in its place, so that no opener misses it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from logrotor.decide.naming import replacement_name
from logrotor.disk.calls import NOT_OFFERED
from logrotor.disk.directories import Directories
from logrotor.disk.logdir import LogDir
from logrotor.errors import Refused, Stale
from logrotor.model import FinishTake, Move, Take


def take(dirs: Directories, step: Take) -> str:
    """Carry out one take; returns the protocol that ran: "exchange", "link" or "rename".

    Raises Stale, Busy, Refused or OSError; the log is whole then, under its own name or as ``.BASE.new``.
    """
    with dirs.use(step.directory) as logdir:
        if not step.create:
            make_way(dirs, step.moves)
            _move_live(logdir, step)
            return "rename"
        name = replacement_name(step.base)
        fd = logdir.create_temp(name)
        try:
            return _take_with_replacement(dirs, logdir, step, fd)
        except BaseException:
            _drop_if_unseen(logdir, step, fd)
            raise
        finally:
            os.close(fd)


def _take_with_replacement(dirs: Directories, logdir: LogDir, step: Take, fd: int) -> str:
    old = logdir.open_file(step.base, step.id)
    try:
        logdir.dress(fd, step.mode, like=old)
        make_way(dirs, step.moves)
        return _put_in_place(logdir, step, fd, old)
    finally:
        os.close(old)


def _put_in_place(logdir: LogDir, step: Take, fd: int, old: int) -> str:
    """The first protocol that the file system knows."""
    for protocol in (take_by_exchange, take_by_link):
        try:
            protocol(logdir, step)
            return "exchange" if protocol is take_by_exchange else "link"
        except OSError as error:
            if error.errno not in NOT_OFFERED:
                raise _explained(error, step) from error
    take_by_rename(logdir, step, fd, old)
    return "rename"


def take_by_exchange(logdir: LogDir, step: Take) -> None:
    """Swap the replacement and the log in one step.

    killed before ...  | directory shows             | next plan
    exchange           | .app.log.new, empty, unused | drop it
    move to slot 1     | .app.log.new with the data, | finish the take
                       | or with a (possible) writer |
    """
    name = replacement_name(step.base)
    logdir.exchange(name, step.base)
    try:
        logdir.expect(name, step.id)
    except Stale:
        logdir.exchange(name, step.base)  # not the log that the plan saw: put it back
        raise
    logdir.move_seen(name, f"{step.base}.1", step.id)


def take_by_link(logdir: LogDir, step: Take) -> None:
    """Give the log its archive's name too, then rename the replacement over the log's own name.

    killed before ... | directory shows               | next plan
    link              | .app.log.new, empty, unused   | drop it
    replace           | app.log and app.log.1 are one | drop the second name and the temp, take anew
    """
    slot = f"{step.base}.1"
    try:
        logdir.link(step.base, slot)
    except FileExistsError:
        raise Stale(f"{slot}: exists by now") from None
    taken = logdir.stat(slot)
    if taken is None or taken.id != step.id:
        if taken is not None:
            logdir.drop_alias(slot, taken.id)
        raise Stale(f"{step.base}: changed since the plan was made")
    try:
        logdir.replace(replacement_name(step.base), step.base)
    except OSError:
        logdir.drop_alias(slot, step.id)
        raise


def take_by_rename(logdir: LogDir, step: Take, fd: int, old: int) -> None:
    """Move the log away, then create a new one: the last resort, with a moment in which no log is there.

    killed before ...  | directory shows                        | next plan
    move               | .app.log.new, empty, unused            | drop it
    create             | .app.log.new, unused, and no live log  | create the log, then drop the temp
    chmod of the new   | both, the log of the unfinished mode   | finish the log, then drop the temp
    drop               | .app.log.new, unused                   | drop it
    """
    _move_live(logdir, step)
    logdir.create_live(step.base, step.mode, like=old)
    logdir.discard(replacement_name(step.base), fd)


def finish_take(dirs: Directories, step: FinishTake) -> None:
    """Bring the taken log that a crash left as ``.BASE.new`` to slot 1."""
    with dirs.use(step.directory) as logdir:
        name = replacement_name(step.base)
        logdir.expect(name, step.id)
        make_way(dirs, step.moves)
        logdir.move_this(name, f"{step.base}.1", step.id)


def make_way(dirs: Directories, moves: Iterable[Move]) -> None:
    """Carry out moves, each only if the file still is the one that the plan saw. Raises Stale."""
    for move in moves:
        with dirs.use(move.directory) as logdir:
            logdir.move_this(move.source, move.target, move.id)


def _move_live(logdir: LogDir, step: Take) -> None:
    try:
        logdir.move_this(step.base, f"{step.base}.1", step.id)
    except OSError as error:
        raise _explained(error, step) from error


def _drop_if_unseen(logdir: LogDir, step: Take, fd: int) -> None:
    """After a failure the replacement goes, if the log still has its place.

    Else the replacement was the live log for an instant and may have a writer, or it marks that the live log is
    missing: the next plan looks at it.
    """
    live = logdir.stat(step.base)
    if live is not None and live.id == step.id:
        logdir.clear_away(replacement_name(step.base), fd)


def _explained(error: OSError, step: Take) -> BaseException:
    if error.errno == errno.EBUSY:
        return Refused(
            f"{step.base}: is mounted by itself (a bind-mounted file) and cannot be renamed; "
            'mount its directory, or set method = "copytruncate"'
        )
    return error
