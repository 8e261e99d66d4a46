"""The values that travel through the rooms. Frozen, printable, JSON-able; they touch nothing.

Paths and names are ``str`` as :func:`os.fsdecode` gives them (surrogateescape), because file names are bytes.
Sizes are bytes, durations seconds, moments epoch seconds (UTC) unless a field says otherwise.

A value's module is imported when the value is asked for: an idle run needs few of them, and saves 3 ms of 70.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# ruff: noqa: F403
if TYPE_CHECKING:
    from logrotor.model.checks import *
    from logrotor.model.convert import *
    from logrotor.model.entries import *
    from logrotor.model.growth import *
    from logrotor.model.plan import *
    from logrotor.model.problem import *
    from logrotor.model.queue import *
    from logrotor.model.records import *
    from logrotor.model.settings import *
    from logrotor.model.steps import *
else:
    _NAMES = {
        "checks": "Check Finding",
        "convert": "as_json",
        "entries": "Archive ArchiveName Entry FileId FileSystem Nobody Unknown Writers Written",
        "growth": "SAMPLE_EVERY LogPoint LogSize QueuePoint Samples Space SpacePoint is_sample_due",
        "records": "Action ArchiveRecord CopyInFlight KeptOut LastReport LastRun LogHistories LogHistory Look "
        "PastOutcome PastRun PastTake looked",
        "plan": "Details Due LogPlan NotDue Outcome Plain Plan Report Status Note Vanished",
        "problem": "Problem",
        "queue": "FAILURES Attempt Ending Fault JobSettings Monitor QueueSettings Total",
        "settings": "KEEP Codec Config ConfigProblem CreateMode FreeSpace LogSpec Manager Method Missing Naming "
        "ReopenTarget",
        "steps": "Compress Copy Copytruncate CreateLive DropAlias DropDuplicate DropTemp FinishCopytruncate FinishTake "
        "Move PutBack Remove RunHook Shift Step Take action_of",
    }  # fmt: skip
    _MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = found
        return found
