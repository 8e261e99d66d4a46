"""A plan as text: an overview by directory, and the rows of steps that the view of one log shares."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator

from logrotor import text
from logrotor.cli import output
from logrotor.model import (
    Compress,
    Config,
    Copytruncate,
    CreateLive,
    Due,
    FinishTake,
    LogPlan,
    Move,
    Note,
    Plan,
    Problem,
    PutBack,
    Remove,
    RunHook,
    Shift,
    Step,
    Take,
    action_of,
)

Row = tuple[str, str, str, str]  # action, file, size, why

_HOW = {
    "exchange": "taken by exchange (the log's name never misses)",
    "link": "taken by link and rename (the log's name never misses)",
    "rename": "taken by rename and create",
    "whole": "copied, then truncated while nobody has it open (lossless)",
    "collapse": "copied, then cut by collapsing whole blocks, as somebody may have it open; its last bytes stay "
    "(lossless for writers that append)",
    "truncate": "copied, then truncated (lines written in between are lost)",
}


def overview(config: Config, plan: Plan, *, verbose: bool) -> list[str]:
    """Every directory with its logs; idle logs in one line unless ``verbose``."""
    shown = [_headline(config, plan)]
    for directory, logs in sorted(_by_directory(plan.logs).items()):
        shown += ["", *_directory(directory, logs, verbose=verbose)]
    shown += _missing(plan.missing, verbose=verbose)
    shown += _waiting("Rules without a log", plan.unmatched, verbose=True)
    shown += _waiting("Left alone", plan.skipped, verbose=verbose)
    shown += _unclear(plan.unclear, verbose=verbose)
    shown += _waiting("Gone since earlier runs", _gone(plan), verbose=True)
    shown += _waiting("In two rules, the first has them", plan.shadowed, verbose=True)
    shown += [f"note: {text.lines(note)}" for note in plan.notes]
    return shown + [f"error: {text.lines(problem)}" for problem in problems(config, plan)]


def problems(config: Config, plan: Plan) -> list[str]:
    """What is wrong with single rules and directories, each once."""
    return list(dict.fromkeys([*(str(problem) for problem in config.problems), *map(str, plan.problems)]))


def _headline(config: Config, plan: Plan) -> str:
    removed, compressed = (sum(len(getattr(log, what)) for log in plan.logs) for what in ("retire", "compress"))
    origin = f" ({text.printable(config.files[0])})" if config.files else ""
    found = f"{text.count(len(plan.logs), 'log')}, {plan.due} due"
    work = f"{text.count(removed, 'archive')} to remove, {compressed} to compress"
    return f"Plan for {text.stamp(plan.now)}{origin}: {found}; {work}."


def _by_directory(logs: Iterable[LogPlan]) -> dict[str, list[LogPlan]]:
    found: dict[str, list[LogPlan]] = {}
    for log in logs:
        found.setdefault(os.path.dirname(log.path), []).append(log)
    return found


def _directory(directory: str, logs: list[LogPlan], *, verbose: bool) -> list[str]:
    busy = [log for log in logs if verbose or not is_quiet(log)]
    shown = [f"{text.printable(directory)}/", *(f"  {line}" for line in _guarantees(logs))]
    refused = {} if verbose else _refused_alike(busy)
    for log in busy:
        alike = refused.get(log.refused) if log.refused is not None else None
        if alike is None:
            shown += _log(log)
        elif log is alike[0]:
            names = text.printable(text.names([os.path.basename(each.path) for each in alike]))
            shown += [f"  {names}  {text.printable(verdict(log))}"]
    idle = len(logs) - len(busy)
    return [*shown, f"  {text.count(idle, 'log')} with nothing to do (-v lists them)"] if idle else shown


def _refused_alike(logs: Iterable[LogPlan]) -> dict[Problem, list[LogPlan]]:
    """Several logs with one cause, such as their directory."""
    found: dict[Problem, list[LogPlan]] = {}
    for log in logs:
        if log.refused is not None:
            found.setdefault(log.refused, []).append(log)
    return {why: alike for why, alike in found.items() if alike[1:]}


def is_quiet(log: LogPlan) -> bool:
    """Nothing happens to it and nothing is wrong with it."""
    return log.is_idle and not log.refused and not log.deferred


def _guarantees(logs: list[LogPlan]) -> list[str]:
    """How logs of one directory are taken and proved, once for all of them that get the same."""
    kinds = Counter(guarantee(log) for log in logs if log.protocol or log.proof)
    alone = len(kinds) == 1
    return [kind if alone else f"{text.count(number, 'log')}: {kind}" for kind, number in kinds.items()]


def guarantee(log: LogPlan) -> str:
    """The protocol and the proof that a log gets, in words."""
    how = _HOW.get(log.protocol, log.protocol or "not taken")
    return text.printable(f"{how}; proof that nobody writes: {log.proof or 'not needed'}")


def _log(log: LogPlan) -> list[str]:
    name = text.printable(os.path.basename(log.path))
    facts = f"{text.size(log.size)}, rule {text.printable(log.rule)}"
    return [f"  {name}  ({facts})  {text.printable(verdict(log))}", *step_lines(log, indent="      ")]


def verdict(log: LogPlan) -> str:
    """Due or not, and why, in one phrase."""
    if log.refused:
        return f"REFUSED: {log.refused.under(log.path).words}"
    if log.missing or log.size is None:
        return f"missing: {log.due.reason}"
    return f"due: {log.due.reason}" if isinstance(log.due, Due) else f"not due: {log.due.reason}"


def step_lines(log: LogPlan, *, indent: str) -> list[str]:
    """The steps of one log, in the order in which they are carried out, then what waits."""
    return output.table(_rows(log), indent=indent, right=frozenset({2}))


def _rows(log: LogPlan) -> Iterator[Row]:
    for step in (*log.recover, *log.take):
        yield from _step(step, log)
    if log.reopen:
        yield "reopen", log.reopen, "", log.reopen_reason
    later: tuple[Step, ...] = (*log.retire, *log.compress, *log.hooks)
    for step in later:
        yield from _step(step, log)
    for waiting in log.deferred:
        yield "deferred", waiting.name, "", waiting.reason
    for stranger in log.strangers:
        yield "left alone", os.path.basename(stranger.name), "", stranger.reason
    if log.take and log.loses is not None:
        yield "note", os.path.basename(log.path), "", f"{log.loses.under(log.path).problem}; create_mode accepts that"
    if log.widens:
        yield "note", os.path.basename(log.path), "", f"create_mode opens it to more than now: {log.widens}"


def _step(step: Step, log: LogPlan) -> list[Row]:
    match step:
        case Shift():
            return _moves("shift", step.moves, step.reason)
        case Take():
            return [*_moves("shift", step.moves, ""), ("take", step.base, text.size(step.size), _take(step, log))]
        case Copytruncate():
            return [*_moves("shift", step.moves, ""), ("copy", step.base, text.size(step.size), _copied(step, log))]
        case PutBack():
            return [*_moves("shift", step.moves, ""), ("put back", step.name, "", f"-> {step.target}: {step.reason}")]
        case FinishTake():
            return [*_moves("shift", step.moves, ""), ("finish", f".{step.base}.new", "", step.reason)]
        case Remove():
            return [("remove", _at(step.directory, step.name, log), text.size(step.size), step.reason)]
        case Compress():
            return [("compress", _at(step.directory, step.name, log), text.size(step.size), _target(step))]
        case RunHook():
            return [("hook", _at(step.directory, step.name, log), "", " ".join(step.argv))]
        case CreateLive():
            mode = step.mode if isinstance(step.mode, int) else 0o664
            return [("create", step.base, "", step.reason if step.like else f"mode {mode:04o}: {step.reason}")]
        case _:
            return [(_word(step), getattr(step, "name", None) or log.path, "", step.reason)]


def _word(step: Step) -> str:
    return "drop" if type(step).__name__.startswith("Drop") else action_of(step)


def _moves(word: str, moves: tuple[Move, ...], reason: str) -> list[Row]:
    return [(word, move.source, "", f"-> {move.target}" + (f": {reason}" if reason else "")) for move in moves]


def _take(step: Take, log: LogPlan) -> str:
    created = "" if step.create else "; no new log is created"
    return f"-> {step.base}.1{created}{_unless_said(step, log)}"


def _copied(step: Copytruncate, log: LogPlan) -> str:
    return f"-> {step.base}.1, then {'collapsed' if step.collapse else 'truncated'}{_unless_said(step, log)}"


def _unless_said(step: Take | Copytruncate, log: LogPlan) -> str:
    """The reason, unless the line of the log gives it already."""
    return "" if step.reason == log.due.reason else f": {step.reason}"


def _target(step: Compress) -> str:
    moved = step.directory != step.to_directory
    target = os.path.join(step.to_directory, step.to_name) if moved else step.to_name
    return f"-> {target}: {step.reason}"


def _at(directory: str, name: str, log: LogPlan) -> str:
    """The bare name beside the live log, the whole path elsewhere."""
    return name if directory in _beside(log) else os.path.join(directory, name)


def _beside(log: LogPlan) -> tuple[str, str]:
    """The directory of the live log, as configured and with its symlinks resolved."""
    directory = os.path.dirname(log.path)
    return directory, os.path.realpath(directory)


def _gone(plan: Plan) -> tuple[Note, ...]:
    return tuple(Note(gone.directory, gone.problem.words) for gone in plan.vanished)


def _missing(paths: tuple[str, ...], *, verbose: bool) -> list[str]:
    if not paths:
        return []
    if not verbose:
        return ["", f"{text.count(len(paths), 'configured log')} missing, which is fine (-v lists them)"]
    return ["", "Missing, which is fine:", *(f"  {text.printable(path)}" for path in paths)]


def _unclear(found: tuple[Problem, ...], *, verbose: bool) -> list[str]:
    """Every one, or the first three, and what to do about them all."""
    if not found:
        return []
    listed = found if verbose else found[:3]
    rows = output.table([(each.subject, each.problem) for each in listed], indent="  ")
    more = [f"  and {len(found) - 3} more (-v lists them)"] if len(found) > len(listed) else []
    advice = dict.fromkeys(f"  hint: {text.printable(each.advice)}" for each in found)
    return ["", "Unclear, so nothing is done to them:", *rows, *more, *advice]


def _waiting(title: str, items: tuple[Note, ...], *, verbose: bool) -> list[str]:
    if not items:
        return []
    if not verbose:
        return ["", f"{title}: {len(items)} (-v lists them)"]
    return ["", f"{title}:", *output.table([(item.name, item.reason) for item in items], indent="  ")]
