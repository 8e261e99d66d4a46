"""Load a configuration: read the files, check every table, collect every problem, build the values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from logrotor.config.apart import StateDir
from logrotor.config.document import FROM_DICT, Document, Unreadable, read_document
from logrotor.config.find import VARIABLE, default_state_dir, find_config
from logrotor.config.hooks import refuse_foreign_hooks
from logrotor.config.includes import read_included
from logrotor.config.keys import DEFAULTS, TABLES, TOP
from logrotor.config.outputs import read_metrics, read_page
from logrotor.config.place import Place, home_of, is_user
from logrotor.config.queues import read_queue
from logrotor.config.rules import Rule, create_conflict, level_conflict, read_rules, unknown_target
from logrotor.config.tables import Problems, Read, Section, read_table
from logrotor.config.targets import Targets, read_targets
from logrotor.config.values import shown
from logrotor.errors import ConfigError
from logrotor.model import Config, ConfigProblem, LogSpec

Source = str | os.PathLike[str] | Mapping[str, Any] | None


def load_config(source: Source = None, *, environ: Mapping[str, str] | None = None, euid: int | None = None) -> Config:
    """The configuration in a file, in a dict (relative paths start at the working directory), or where it is found.

    Rules that are wrong are left out and named in ``Config.problems``. Raises :class:`ConfigError`, with all
    problems, if nothing can run. ``environ`` and ``euid`` are those of the process unless given.
    """
    environ = os.environ if environ is None else environ
    euid = os.geteuid() if euid is None else euid
    problems = Problems()
    main = _main_document(source, environ, euid)
    top, defaults = _read_top(main, problems), _read_defaults(main, problems)
    refuse_foreign_hooks(main, euid, problems, fatal=True)
    _refuse_unknown_user(main, top, euid, problems)
    before = len(problems)
    included = read_included(main, top.values.get("include", ()), euid, problems)
    is_whole = len(problems) == before
    targets = read_targets((main, *included), problems)
    defaults = _check_default_target(main, defaults, targets, problems, fatal=is_whole)
    state = _state_dir(main, top, environ, euid, problems)
    logs = read_rules((main, *included), defaults, targets, state, problems)
    _refuse_no_rules((main, *included), problems)
    queue = read_queue(main, problems)
    metrics, page = read_metrics(main, problems), read_page(main, problems)
    if problems.fatal or not logs:
        raise ConfigError(tuple(problems.found))
    config = _config(top, logs, targets, problems, (main, *included), state)
    return replace(config, queue=queue, metrics_textfile=metrics, page_file=page)


def _config(
    top: Read,
    logs: list[LogSpec],
    targets: Targets,
    problems: Problems,
    documents: tuple[Document, ...],
    state: StateDir,
) -> Config:
    return Config(
        state_dir=state.path,
        state_dir_origin=state.origin,
        **{name: value for name, value in top.values.items() if name not in ("state_dir", "include")},
        logs=tuple(logs),
        targets=targets.known,
        files=tuple(document.file for document in documents if not document.is_dict),
        problems=tuple(problems.found),
    )


def _main_document(source: Source, environ: Mapping[str, str], euid: int) -> Document:
    home = home_of(euid, environ)
    if isinstance(source, Mapping):
        return Document(FROM_DICT, source, Place(os.getcwd(), home))
    explicit = os.fspath(source) if source is not None else None
    try:
        return read_document(find_config(explicit, environ, euid=euid), home)
    except Unreadable as error:
        raise ConfigError((_with_origin(error.problem, explicit, environ),)) from None


def _with_origin(problem: ConfigProblem, explicit: str | None, environ: Mapping[str, str]) -> ConfigProblem:
    """A file that cannot be read, where nobody sees who named it."""
    if explicit is not None or problem.key != "file" or not environ.get(VARIABLE):
        return problem
    return replace(problem, message=f"{problem.message}; it is named by ${VARIABLE}")


def _read_top(main: Document, problems: Problems) -> Read:
    table = {name: value for name, value in main.table.items() if name not in TABLES}
    return read_table(Section(main, "", problems, fatal=True), table, TOP, tables=TABLES)


def _read_defaults(main: Document, problems: Problems) -> Read:
    section = Section(main, "defaults", problems, fatal=True)
    table = main.table.get("defaults", {})
    if not isinstance(table, Mapping):
        section.wrong("", f"{shown(table)} is no table; accepted: [defaults] with keys of a rule")
        return Read({})
    read = read_table(section, table, DEFAULTS)
    # What contradicts itself here is reported here, once, and not again in each rule.
    conflicts = [*_conflicts_within(read)]
    for name, message in conflicts:
        section.wrong(name, message)
    return Read(read.values, read.failed | {name for name, _ in conflicts})


def _conflicts_within(defaults: Read) -> Iterator[tuple[str, str]]:
    rule = Rule(defaults, Read({}))
    if rule.says("compress") and rule["compress"] != "none":
        yield from level_conflict(rule)
    if rule.says("create"):
        yield from create_conflict(rule)


def _check_default_target(main: Document, defaults: Read, targets: Targets, problems: Problems, *, fatal: bool) -> Read:
    """Report an unknown target of [defaults] once. Not ``fatal``: the file that holds it may be a broken one."""
    name = defaults.values.get("reopen")
    if not isinstance(name, str) or name in targets.known or name in targets.wrong:
        return defaults
    Section(main, "defaults", problems, fatal=fatal).wrong("reopen", unknown_target(name, targets))
    if fatal:
        return Read(defaults.values, defaults.failed | {"reopen"})
    targets.wrong[name] = f"defaults.reopen in {main.file}"
    return defaults


def _refuse_no_rules(documents: tuple[Document, ...], problems: Problems) -> None:
    if not any(document.table.get("log") for document in documents):
        message = 'no rule; accepted: at least one [[log]] with name = "app", paths = ["app.log"] and max_size = "10MB"'
        Section(documents[0], "", problems, fatal=True).wrong("log", message)


def _refuse_unknown_user(main: Document, top: Read, euid: int, problems: Problems) -> None:
    """Only root becomes that user; for others the key has no meaning, and the user may be one of another machine."""
    user = top.values.get("run_as")
    if user is not None and euid == 0 and not is_user(user):
        message = f"{user!r} is no user of this system; accepted: {TOP['run_as'].accepted}"
        Section(main, "", problems, fatal=True).wrong("run_as", message)


def _state_dir(main: Document, top: Read, environ: Mapping[str, str], euid: int, problems: Problems) -> StateDir:
    if "state_dir" in top.values:
        return StateDir(top.values["state_dir"], f"state_dir in {main.file}", main)
    found = default_state_dir(environ, euid)
    if found is None and "state_dir" not in top.failed:
        message = "is required where there is no $HOME, $XDG_STATE_HOME or $STATE_DIRECTORY"
        Section(main, "", problems, fatal=True).wrong("state_dir", f"{message}; accepted: {TOP['state_dir'].accepted}")
    return StateDir(*(found or ("", "")))
