"""What is done to a log, one step at a time. Each holds the identity of the file that it was planned for."""

from __future__ import annotations

from msgspec import Struct

from logrotor.model.entries import FileId
from logrotor.model.records import Action, CopyInFlight
from logrotor.model.settings import Codec, CreateMode


class Move(Struct, frozen=True):
    """Rename within one directory, never over anything."""

    directory: str
    source: str
    target: str
    id: FileId


class DropTemp(Struct, frozen=True):
    """Remove an unfinished archive or an unused replacement that nobody works on."""

    directory: str
    name: str
    id: FileId
    reason: str


class DropAlias(Struct, frozen=True):
    """Remove the second name that an interrupted link + unlink left; the file keeps its other name."""

    directory: str
    name: str
    id: FileId
    kept: str
    reason: str


class DropDuplicate(Struct, frozen=True):
    """Remove an archive of which another form is already published and equal byte for byte."""

    directory: str
    name: str
    id: FileId
    plain: bool
    size: int
    mtime_ns: int
    twin_directory: str
    twin: str
    twin_id: FileId
    reason: str


class Shift(Struct, frozen=True):
    """Give each generation a slot of its own (highest first)."""

    moves: tuple[Move, ...]
    reason: str


class PutBack(Struct, frozen=True):
    """Give an archive that was set aside for a last look its name back, or the next one that is free by now."""

    directory: str
    name: str
    id: FileId
    target: str
    moves: tuple[Move, ...]  # make way for it, highest first
    reason: str


class FinishTake(Struct, frozen=True):
    """Bring a taken log that a crash left as ``.BASE.new`` to slot 1."""

    directory: str
    base: str
    id: FileId
    moves: tuple[Move, ...]
    reason: str


class CreateLive(Struct, frozen=True):
    """Create the live log, empty, with its mode, or give it its mode if a crash came between the two.

    ``parents``: missing parent folders are made first (0755). ``like``: the file that let in whom it is to let in.
    """

    directory: str
    base: str
    mode: CreateMode
    reason: str
    parents: bool = False
    like: str | None = None


class Copy(Struct, frozen=True):
    """An archive that may be what an interrupted copytruncate copied; its contents tell."""

    directory: str
    name: str
    id: FileId
    codec: Codec


class FinishCopytruncate(Struct, frozen=True):
    """Finish, or forget, a copytruncate that a crash interrupted; ``noted``: its record is on one of the copies."""

    directory: str
    base: str
    record: CopyInFlight
    copies: tuple[Copy, ...]
    reason: str
    accept_loss: bool = False  # also where others may write the log: it cannot be collapsed
    noted: bool = False


class Take(Struct, frozen=True):
    """Move the live log aside to slot 1 and put a replacement in its place."""

    directory: str
    base: str
    id: FileId
    size: int
    moves: tuple[Move, ...]  # make slot 1 free, highest first
    create: bool
    mode: CreateMode
    reason: str


class Copytruncate(Struct, frozen=True):
    """Copy the head of the live log to slot 1, then cut it off the log."""

    directory: str
    base: str
    id: FileId
    size: int
    moves: tuple[Move, ...]
    collapse: bool  # expected; probed before anything is cut
    accept_loss: bool
    reason: str
    elsewhere: tuple[str, ...] = ()  # other directories in which archives of it lie, or may lie by now
    strict: bool = True  # no archive that somebody could not read who could read the log


class Remove(Struct, frozen=True):
    """Delete an archive that retention no longer keeps."""

    directory: str
    name: str
    id: FileId
    size: int
    plain: bool  # uncompressed: somebody may still write it
    reason: str


class Compress(Struct, frozen=True):
    """Put an archive in its final form and place: compressed, renamed, or moved (``codec`` none)."""

    directory: str
    name: str
    id: FileId
    size: int
    to_directory: str
    to_name: str
    codec: Codec  # what is applied; NONE: the bytes stay as they are
    level: int | None
    plain: bool  # uncompressed: somebody may still write it
    reason: str
    strict: bool = True  # no archive that somebody could not read who could read the original


class RunHook(Struct, frozen=True):
    """Run ``on_archive`` for a finished archive."""

    directory: str
    name: str
    id: FileId | None  # None: it gets its final form in this very run
    argv: tuple[str, ...]
    timeout: float


Step = (
    DropTemp | DropAlias | DropDuplicate | PutBack | Shift | FinishTake | CreateLive | FinishCopytruncate
    | Take | Copytruncate | Remove | Compress | RunHook
)  # fmt: skip


def action_of(step: Step) -> Action:
    """The name of a step in reports, events and the history."""
    return _ACTIONS.get(type(step), "recover")


_ACTIONS: dict[type, Action] = {
    Take: "take", Copytruncate: "copytruncate", CreateLive: "create",
    Remove: "remove", Compress: "compress", RunHook: "hook",
}  # fmt: skip
