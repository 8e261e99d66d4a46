"""Read the tables beside the rules: ``[reopen.NAME]``, ``[queue]``, ``[metrics]`` and ``[page]``.

What is wrong there leaves out that table and the rules that need it; the other rules run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from logrotor import text
from logrotor.config.document import Document
from logrotor.config.keys import FUNCTION, JOB, MONITOR, QUEUE, REOPEN, Key
from logrotor.config.section import Problems, Read, Section
from logrotor.config.values import Invalid, did_you_mean
from logrotor.config.values import name as parse_name
from logrotor.model import Manager, ReopenTarget

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from logrotor.model import JobSettings, QueueSettings

ENGINE_GROUP = "logrotor.queue_engines"  # of entry points
ENGINES = ("huey", "procrastinate", "rq", "celery")  # each needs the package of its name; a plugin may add others


class Targets(Struct, frozen=True):
    """The targets that are right, and those that are not; a rule that uses the latter is left out."""

    known: dict[str, ReopenTarget] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)  # name: where its problem was reported
    repeated: set[tuple[str, str]] = field(default_factory=set)  # (file, name): defined a second time there


def read_targets(documents: Iterable[Document], problems: Problems) -> Targets:
    """Return the targets of all files. A name in two files belongs to the first."""
    targets = Targets()
    for document in documents:
        for name, table in _tables(document, problems):
            _add(targets, document, name, table, problems)
        for key, target in _built_targets(document):
            _add_built(targets, Section(document, key, problems), target)
    return targets


def _tables(document: Document, problems: Problems) -> Iterator[tuple[str, Any]]:
    reopen = Section(document, "reopen", problems).table(document.table.get("reopen", {}), "[reopen.NAME]")
    yield from ((str(name), table) for name, table in (reopen or {}).items())


def _add(targets: Targets, document: Document, name: str, table: object, problems: Problems) -> None:
    section = Section(document, f"reopen.{name}", problems)
    if name in targets.known or name in targets.wrong:
        section.wrong(
            "", "is defined a second time; the first one counts, and rules of this file that use it do not run"
        )
        targets.repeated.add((document.file, name))
        return
    target = _read_target(section, name, table)
    if target is None:
        targets.wrong[name] = f"{section.path} in {document.file}"
    else:
        targets.known[name] = target


def _read_target(section: Section, name: str, value: object) -> ReopenTarget | None:
    before = len(section.problems)
    try:
        parse_name(name)
    except Invalid as error:
        section.wrong("", f"{name!r} {error.problem}", 'accepted: a name without "/" that is not "off"')
    if isinstance(value, ReopenTarget):
        return replace(value, name=name) if len(section.problems) == before else None
    table = section.table(value, f"[{section.path}] with manager = ...")
    if table is None:
        return None
    read = section.read(table, _keys(section.document))
    _check_manager(section, read)
    return ReopenTarget(name=name, **read.values) if len(section.problems) == before else None


def _keys(document: Document) -> Mapping[str, Key]:
    return {**REOPEN, FUNCTION.name: FUNCTION} if document.is_dict else REOPEN


def _check_manager(section: Section, read: Read) -> None:
    manager, advice = read.values.get("manager"), f"accepted: {REOPEN['manager'].accepted}"
    if manager is None:
        if "manager" not in read.failed:
            section.wrong("manager", "is required", advice)
        return
    if manager is Manager.CALLABLE and not section.document.is_dict:
        problem = "'callable' works only from the library, where a dict can hold the function"
        section.wrong("manager", problem, advice)
        return
    for key in _keys(section.document).values():
        _check_key(section, key, manager, read)


def _check_key(section: Section, key: Key, manager: Manager, read: Read) -> None:
    is_set = key.name in read.values or key.name in read.failed
    if is_set and manager not in key.allowed:
        section.wrong(key.name, f"is not used with manager = {manager.value!r}", _why_not(key, manager))
    elif not is_set and manager in key.required:
        section.wrong(key.name, f"is required with manager = {manager.value!r}", f"accepted: {key.accepted}")


def _why_not(key: Key, manager: Manager) -> str:
    if key.name == "signal" and manager is Manager.SUPERVISORD:
        return "supervisord reopens its logs on USR2, always (HUP would restart all its children): leave it out"
    return "leave it out, or use " + " or ".join(repr(m.value) for m in Manager if m in key.allowed)


def _built_targets(document: Document) -> Iterator[tuple[str, ReopenTarget]]:
    """Targets built in Python and used in place of a name: from a dict only."""
    if not document.is_dict:
        return
    logs = document.table.get("log")
    numbered = [(f"log[{n}]", log) for n, log in enumerate(logs, 1)] if isinstance(logs, (list, tuple)) else []
    for key, table in [("defaults", document.table.get("defaults")), *numbered]:
        if isinstance(table, Mapping) and isinstance(table.get("reopen"), ReopenTarget):
            yield key, table["reopen"]


def _add_built(targets: Targets, section: Section, target: ReopenTarget) -> None:
    known = targets.known.setdefault(target.name, target)
    if known is not target and (known != target or known.function is not target.function):
        section.wrong("reopen", f"another target is already named {target.name!r}", "accepted: a name of its own")


# ---------------------------------------------------------------- what each run writes for others


def read_output(document: Document, problems: Problems, name: str, keys: Mapping[str, Key]) -> str | None:
    """The only key of ``[metrics]`` or ``[page]``: where a file goes after each run; None: nowhere."""
    value, (key,) = document.table.get(name), keys
    section = Section(document, name, problems)
    table = None if value is None else section.table(value, f"[{name}] with {key}")
    return None if table is None else section.read(table, keys).values.get(key)


# ---------------------------------------------------------------- the queue


def read_queue(document: Document, problems: Problems) -> QueueSettings | None:
    """The queue's settings; None without a ``[queue]`` table, or with one that is wrong."""
    if "queue" not in document.table:
        return None
    from logrotor.model import JobSettings, Monitor, QueueSettings

    before = len(problems)
    section, below = Section(document, "queue", problems), Section(document, "queue.job", problems)
    table = section.table(document.table["queue"], "[queue] with engine, url, name, host, schedule")
    if table is None:
        return None
    own = {key: value for key, value in table.items() if key not in ("job", "monitor")}
    read = section.read(own, QUEUE, tables=("job", "monitor"))
    job = _below(below, table.get("job", {}), JOB)
    monitor = _below(Section(document, "queue.monitor", problems), table.get("monitor", {}), MONITOR)
    settings = QueueSettings(
        **_spelt_out(read.values), job=JobSettings(**job.values), monitor=Monitor(**monitor.values)
    )
    _refuse_missing_url(section, read, settings)
    _refuse_short_stuck(below, job, settings.job)
    return settings if len(problems) == before else None


def _below(section: Section, value: object, keys: Mapping[str, Key]) -> Read:
    """A table of a table."""
    table = section.table(value, f"[{section.path}] with {', '.join(keys)}")
    return Read({}) if table is None else section.read(table, keys)


def _spelt_out(values: dict[str, Any]) -> dict[str, Any]:
    """A parsed schedule is its expression, and the name under which the user wrote it."""
    schedule = values.get("schedule")
    return {**values, "schedule": schedule.expression, "schedule_name": schedule.name} if schedule else values


def _refuse_missing_url(section: Section, read: Read, settings: QueueSettings) -> None:
    if settings.engine == "huey" or "url" in read.values or "url" in read.failed:
        return
    if settings.engine not in ENGINES and settings.engine not in (known := engines()):
        section.wrong("engine", *unknown_engine(settings.engine, known))
    else:
        section.wrong("url", f"is required with engine = {settings.engine!r}", f"accepted: {QUEUE['url'].accepted}")


def engines() -> dict[str, EntryPoint]:
    """Those that there are, ours and those of plugins, whether what they need is installed or not."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENGINE_GROUP)}


def unknown_engine(name: str, known: Mapping[str, EntryPoint]) -> tuple[str, str]:
    """The problem of an engine that nobody knows, and the advice: the nearest one, and what is installed."""
    ready = sorted(each for each, point in known.items() if _is_installed(each if each in ENGINES else point.module))
    hint = did_you_mean(name, sorted({*ENGINES, *known}))
    return f"{name!r} is not known", "; ".join(filter(None, (hint, f"installed: {', '.join(ready) or 'none'}")))


def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module.partition(".")[0]) is not None


def _refuse_short_stuck(section: Section, read: Read, job: JobSettings) -> None:
    if job.stuck_after <= job.reclaim_after:
        limit, stuck = text.duration(job.reclaim_after), text.duration(job.stuck_after)
        section.wrong(
            "stuck_after" if "stuck_after" in read.values else "timeout",
            f"a job may be at work for {limit} (timeout, grace and the engine's limits), and would count as stuck "
            f"after {stuck}",
            f"accepted: stuck_after above {limit}",
        )
