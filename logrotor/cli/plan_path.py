"""``logrotor plan PATH``: everything about one log, one archive, or the logs of one rule."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain

from msgspec.structs import replace

from logrotor import text
from logrotor.cli import output
from logrotor.cli.plan_table import guarantee, problems, step_lines
from logrotor.disk import mounts
from logrotor.model import Config, Due, LogPlan, NotDue, Note, Plan, as_json
from logrotor.survey import NamedLogs, find_path, real_path


def show_path(config: Config, plan: Plan, given: str, *, as_json: bool) -> int:
    """Print what is known of ``given``. 0: found; 1: it belongs to no rule, or a run would fail for it."""
    if "/" not in given and any(spec.name == given for spec in config.logs):
        return _show(config, plan, [log for log in plan.logs if log.rule == given], [], as_json=as_json)
    named = [log.path for log in plan.logs], plan.missing, (item.name for item in plan.skipped)
    path = real_path(find_path(given, chain(*named)) or given)
    logs = [log for log in plan.logs if real_path(log.path) == path]
    if logs:
        return _show(config, plan, logs, [], as_json=as_json)
    owners = [
        (log, what)
        for log in plan.logs
        for each in _places(config, log, given)
        if (what := _archive(config, log, each))
    ]
    if owners:
        about = [f"{text.printable(given)}: {text.printable(what)}" for _, what in owners]
        return _show(config, plan, [log for log, _ in owners], about, as_json=as_json)
    return _show_stranger(config, plan, given, path, as_json=as_json)


def _places(config: Config, log: LogPlan, given: str) -> list[str]:
    """Where ``given`` may be as an archive of ``log``: as a bare name wherever that has its archives."""
    homes = _homes(config, log) if "/" not in given and not mounts.exists(given) else ()
    return [real_path(os.path.join(home, given)) for home in homes] or [real_path(given)]


def _show(config: Config, plan: Plan, logs: list[LogPlan], about: list[str], *, as_json: bool) -> int:
    if as_json:
        _print_json(plan, logs=tuple(logs))
    else:
        blocks = ["\n".join(_long(config, plan, log)) for log in logs] or ["No log of this rule exists now."]
        output.write("\n\n".join([*about, *blocks, *(f"note: {text.lines(note)}" for note in plan.notes)]))
    return 1 if any(log.refused for log in logs) else 0


def _print_json(
    plan: Plan, *, logs: tuple[LogPlan, ...] = (), missing: tuple[str, ...] = (), skipped: tuple[Note, ...] = ()
) -> None:
    """The plan, reduced to what was asked for."""
    part = replace(plan, logs=logs, missing=missing, skipped=skipped, shadowed=(), unmatched=())
    output.write_json(as_json(part))


# ---------------------------------------------------------------- a log


def _long(config: Config, plan: Plan, log: LogPlan) -> list[str]:
    steps = step_lines(log, indent="    ")
    return [
        text.printable(log.path),
        *output.table(_facts(config, plan, log), indent="  "),
        *(["  a run does, in this order:", *steps] if steps else ["  a run does nothing to it"]),
        *_archives(log),
    ]


def _facts(config: Config, plan: Plan, log: LogPlan) -> list[tuple[str, str]]:
    due = ("due", f"yes: {log.due.reason}" if isinstance(log.due, Due) else f"no: {log.due.reason}")
    return [
        ("rule", f"{log.rule}{_limits(config, log)}"),
        ("size", "missing" if log.size is None else text.size(log.size)),
        *([("refused", log.refused.under(log.path).words)] if log.refused else [due]),
        *_next(plan, log),
        ("how", guarantee(log)),
    ]


def _limits(config: Config, log: LogPlan) -> str:
    """The limits of the rule, those that are set."""
    spec = next((spec for spec in config.logs if spec.name == log.rule), None)
    if spec is None:
        return ""
    shown: dict[str, Callable[[], str]] = {
        "max_size": lambda: text.size(spec.max_size),
        "min_size": lambda: text.size(spec.min_size),
        "schedule": lambda: str(spec.schedule_name or spec.schedule),
        "backup_count": lambda: str(spec.backup_count),
        "max_age": lambda: text.span(spec.max_age or 0),
        "max_total_size": lambda: text.size(spec.max_total_size),
    }
    limits = [f"{key} {say()}" for key, say in shown.items() if getattr(spec, key) is not None]
    return f" ({', '.join(limits)})" if limits else ""


def _next(plan: Plan, log: LogPlan) -> list[tuple[str, str]]:
    if isinstance(log.due, NotDue) and log.due.next_slot:
        return [("next", text.moment(log.due.next_slot, plan.now))]
    return []


def _archives(log: LogPlan) -> list[str]:
    if not (log.kept or log.retire):
        return ["  no archives"]
    rows = [(item.name, "stays", item.reason) for item in log.kept]
    rows += [(step.name, "goes now", step.reason) for step in log.retire]
    return [
        "  archives as a run leaves them, newest first; the last one kept is removed next:",
        *output.table(rows, indent="    "),
    ]


# ---------------------------------------------------------------- an archive


def _archive(config: Config, log: LogPlan, path: str) -> str:
    """What happens to the archive at ``path`` if it is one of ``log``; else nothing."""
    after = _after_moves(log, path)
    said = [f"it becomes {os.path.basename(after)}"] if after != path else []
    said += [f"{step.reason}; it is removed now" for step in log.retire if _is(step.directory, step.name, after)]
    said += [f"it becomes {step.to_name}" for step in log.compress if _is(step.directory, step.name, after)]
    waiting = [*log.kept, *log.deferred]
    said += [item.reason for item in waiting for home in _homes(config, log) if _is(home, item.name, after)]
    whose = f"an archive of {log.path} (rule {log.rule})"
    return f"{whose}: {'; '.join(dict.fromkeys(said))}" if said else ""


def _after_moves(log: LogPlan, path: str) -> str:
    """Where an archive will be once slot 1 is free: all later steps speak of it under that name."""
    for step in (*log.recover, *log.take):
        for move in getattr(step, "moves", ()):
            if _is(move.directory, move.source, path):
                path = real_path(os.path.join(move.directory, move.target))
    return path


def _is(directory: str, name: str, path: str) -> bool:
    return real_path(os.path.join(directory, name)) == path


def _homes(config: Config, log: LogPlan) -> set[str]:
    """The directories where archives of ``log`` lie."""
    beside = os.path.dirname(log.path)
    elsewhere = {spec.archive_dir for spec in config.logs if spec.name == log.rule and spec.archive_dir}
    return {beside, *(os.path.join(beside, directory) for directory in elsewhere)}


# ---------------------------------------------------------------- neither


def _show_stranger(config: Config, plan: Plan, given: str, path: str, *, as_json: bool) -> int:
    missing = tuple(item for item in plan.missing if real_path(item) == path)
    skipped = tuple(item for item in plan.skipped if real_path(item.name) == path)
    skipped += tuple(Note(f.subject, f"{f.problem}; {f.advice}") for f in plan.unclear if real_path(f.subject) == path)
    rule = None if missing or skipped or mounts.exists(path) else NamedLogs(config.logs).rule_for(path)
    if as_json:
        _print_json(plan, missing=missing if rule is None else (path,), skipped=skipped)
    else:
        said = [f"{item}: configured, but missing, which is fine" for item in missing]
        said += [f"{item.name}: left alone: {item.reason}" for item in skipped]
        said += [f"{given} does not exist; rule {rule} would have it"] if rule is not None else []
        output.write("\n".join(map(text.printable, said or _no_rule(config, plan, given))))
    return 0 if missing or skipped or rule is not None else 1


def _no_rule(config: Config, plan: Plan, given: str) -> list[str]:
    kind = "is no log or archive of any rule" if mounts.exists(given) else "does not exist, and no rule names it"
    where = config.files[0] if config.files else "the configuration"
    wrong = [f"error: {problem}" for problem in problems(config, plan)]
    return [f"{given} {kind} in {where}; logrotor never touches it", *wrong]
