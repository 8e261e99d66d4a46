"""The values that travel through the rooms. Frozen, printable, JSON-able; they touch nothing.

Paths and names are ``str`` as :func:`os.fsdecode` gives them (surrogateescape), because file names are bytes.
Sizes are bytes, durations seconds, moments epoch seconds (UTC) unless a field says otherwise.

A value's module is imported when the value is asked for: an idle run needs few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logrotor.model.checks import Check as Check
    from logrotor.model.checks import Finding as Finding
    from logrotor.model.convert import as_json as as_json
    from logrotor.model.files import Archive as Archive
    from logrotor.model.files import ArchiveName as ArchiveName
    from logrotor.model.files import Entry as Entry
    from logrotor.model.files import FileId as FileId
    from logrotor.model.files import FileSystem as FileSystem
    from logrotor.model.files import Nobody as Nobody
    from logrotor.model.files import Unknown as Unknown
    from logrotor.model.files import Writers as Writers
    from logrotor.model.files import Written as Written
    from logrotor.model.past import CopyInFlight as CopyInFlight
    from logrotor.model.past import LogHistories as LogHistories
    from logrotor.model.past import LogHistory as LogHistory
    from logrotor.model.past import LogMemory as LogMemory
    from logrotor.model.past import PastOutcome as PastOutcome
    from logrotor.model.past import PastRun as PastRun
    from logrotor.model.plan import Due as Due
    from logrotor.model.plan import LogPlan as LogPlan
    from logrotor.model.plan import NotDue as NotDue
    from logrotor.model.plan import Note as Note
    from logrotor.model.plan import Outcome as Outcome
    from logrotor.model.plan import Plan as Plan
    from logrotor.model.plan import Report as Report
    from logrotor.model.plan import Status as Status
    from logrotor.model.problem import Problem as Problem
    from logrotor.model.queue import Attempt as Attempt
    from logrotor.model.queue import Ending as Ending
    from logrotor.model.queue import JobSettings as JobSettings
    from logrotor.model.queue import QueueSettings as QueueSettings
    from logrotor.model.settings import Codec as Codec
    from logrotor.model.settings import Config as Config
    from logrotor.model.settings import ConfigProblem as ConfigProblem
    from logrotor.model.settings import FreeSpace as FreeSpace
    from logrotor.model.settings import LogSpec as LogSpec
    from logrotor.model.settings import Manager as Manager
    from logrotor.model.settings import Method as Method
    from logrotor.model.settings import Missing as Missing
    from logrotor.model.settings import Naming as Naming
    from logrotor.model.settings import ReopenTarget as ReopenTarget
    from logrotor.model.steps import Compress as Compress
    from logrotor.model.steps import Copy as Copy
    from logrotor.model.steps import Copytruncate as Copytruncate
    from logrotor.model.steps import CreateLive as CreateLive
    from logrotor.model.steps import DropAlias as DropAlias
    from logrotor.model.steps import DropDuplicate as DropDuplicate
    from logrotor.model.steps import DropTemp as DropTemp
    from logrotor.model.steps import FinishCopytruncate as FinishCopytruncate
    from logrotor.model.steps import FinishTake as FinishTake
    from logrotor.model.steps import Move as Move
    from logrotor.model.steps import Remove as Remove
    from logrotor.model.steps import RunHook as RunHook
    from logrotor.model.steps import Shift as Shift
    from logrotor.model.steps import Step as Step
    from logrotor.model.steps import Take as Take
    from logrotor.model.steps import action_of as action_of

_NAMES = {
    "checks": "Check Finding",
    "convert": "as_json",
    "files": "Archive ArchiveName Entry FileId FileSystem Nobody Unknown Writers Written",
    "past": "CopyInFlight LogHistories LogHistory LogMemory PastOutcome PastRun",
    "plan": "Due LogPlan NotDue Outcome Plan Report Status Note",
    "problem": "Problem",
    "queue": "Attempt Ending JobSettings QueueSettings",
    "settings": "Codec Config FreeSpace LogSpec Manager Method Missing Naming ConfigProblem ReopenTarget",
    "steps": "Compress Copy Copytruncate CreateLive DropAlias DropDuplicate DropTemp FinishCopytruncate FinishTake "
    "Move Remove RunHook Shift Step Take action_of",
}  # fmt: skip
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
