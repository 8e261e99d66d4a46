"""Load a configuration: read the files, check every table, collect every problem, build the values."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from logrotor.config.document import FROM_DICT, Document, read_document
from logrotor.config.find import ROOT_STATE, Found, Origin, default_state_dir, find_config
from logrotor.config.keys import DEFAULTS, METRICS, PAGE, TABLES, TOP
from logrotor.config.paths import Place, home_of
from logrotor.config.rules import (
    Rule,
    StateDir,
    create_conflict,
    level_conflict,
    read_rules,
    size_conflict,
    unknown_target,
)
from logrotor.config.section import Problems, Read, Section
from logrotor.config.tables import Targets, read_output, read_queue, read_targets
from logrotor.disk.identity import find_user, home_of_user, is_us
from logrotor.disk.mounts import refuse_silent
from logrotor.disk.trust import owner_of
from logrotor.disk.walk import user_name
from logrotor.errors import ConfigError
from logrotor.model import Config

if TYPE_CHECKING:
    from logrotor.config.shape import Configuration

    Source = str | os.PathLike[str] | Configuration | Found | None


def load_config(source: Source = None, *, environ: Mapping[str, str] | None = None, euid: int | None = None) -> Config:
    """The configuration in a file, in a dict (relative paths start at the working directory), or where it is found.

    A dict has the keys of a logrotor.toml, as :class:`~logrotor.config.shape.Configuration` types them; paths may be
    Path objects, durations timedeltas. A type checker wants one that was made at run time as ``Any``.

    Rules that are wrong are left out and named in ``Config.problems``. Raises :class:`ConfigError`, with all
    problems, if nothing can run. ``environ`` and ``euid`` are those of the process unless given.
    """
    environ = os.environ if environ is None else environ
    euid = os.geteuid() if euid is None else euid
    problems = Problems()
    main = _as_user(_main_document(source, environ, euid), euid)
    top, defaults = _read_top(main, problems), _read_defaults(main, problems)
    _refuse_foreign_hooks(main, euid, problems, fatal=True)
    _refuse_unknown_user(main, top, euid, problems)
    before = len(problems)
    documents = (main, *_read_included(main, top.values.get("include", ()), euid, problems))
    is_whole = len(problems) == before
    targets = read_targets(documents, problems)
    defaults = _check_default_target(main, defaults, targets, problems, fatal=is_whole)
    state = _state_dir(main, top, environ, euid, problems)
    logs = read_rules(documents, defaults, targets, state, problems)
    if not any(document.table.get("log") for document in documents):
        sample = 'at least one [[log]] with name = "app", paths = ["app.log"] and max_size = "10MB"'
        Section(main, "", problems, fatal=True).wrong("log", "no rule", f"accepted: {sample}")
    config = Config(
        state_dir=state.path,
        state_dir_origin=state.origin,
        **{name: value for name, value in top.values.items() if name not in ("state_dir", "include")},
        logs=tuple(logs),
        targets=targets.known,
        queue=read_queue(main, problems),
        metrics_textfile=read_output(main, problems, "metrics", METRICS),
        page_file=read_output(main, problems, "page", PAGE),
        files=tuple(document.file for document in documents if not document.is_dict),
    )
    if problems.fatal or not logs:
        raise ConfigError(tuple(problems.found))
    return replace(config, problems=tuple(problems.found))


# ---------------------------------------------------------------- the files


def _main_document(source: Source, environ: Mapping[str, str], euid: int) -> Document:
    home = home_of(euid, environ)
    if isinstance(source, Mapping):
        return Document(FROM_DICT, source, Place(os.getcwd(), home, euid == 0))
    if isinstance(source, Found):
        found = source
    else:
        found = find_config(os.fspath(source) if source is not None else None, environ, euid=euid)
    try:
        return read_document(found.file, home, euid)
    except ConfigError as error:
        (problem,) = error.problems
        if found.origin is Origin.VARIABLE and problem.key == "file":  # nobody sees who named it
            problem = replace(problem, problem=f"{problem.problem}; it is {Origin.VARIABLE}")
        raise ConfigError((problem,)) from None


def _as_user(main: Document, euid: int) -> Document:
    """Who becomes another user means that user's home by ``~``, and runs commands as that user."""
    user = main.table.get("run_as")
    home = home_of_user(str(user)) if euid == 0 and isinstance(user, str | int) else None
    if home is None:
        return main
    return replace(main, place=replace(main.place, home=home, is_roots=is_us(str(user))))


def _read_included(main: Document, patterns: tuple[str, ...], euid: int, problems: Problems) -> Iterator[Document]:
    """The included files that can be used, in the order of the globs, each sorted; each file once."""
    seen = {os.path.realpath(main.file)}
    for error in _unlisted(patterns):
        what = f"{error.filename} cannot be listed ({error.strerror}), so nobody knows which rules it holds"
        Section(main, "", problems).wrong("include", what, f"let {user_name(euid)} list it")
    for file in _matching(tuple(pattern for pattern in patterns if _why_silent(pattern) is None)):
        if os.path.realpath(file) in seen:
            continue
        seen.add(os.path.realpath(file))
        before = len(problems)
        try:
            document = read_document(file, main.place.home, euid)
        except ConfigError as error:
            problems.found.extend(error.problems)
            continue
        for name in document.table:
            if name not in ("log", "reopen"):
                problem = "does not belong here: an included file holds only [[log]] and [reopen.NAME]"
                Section(document, "", problems).wrong(name, problem)
        _refuse_foreign_hooks(document, euid, problems, fatal=False)
        if len(problems) == before:
            yield replace(document, place=replace(document.place, is_roots=main.place.is_roots))


def _why_silent(pattern: str) -> OSError | None:
    """Why nobody may look for its files: they lie on a file system that does not answer."""
    import glob

    folder = pattern
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    try:
        refuse_silent(folder)
    except OSError as error:
        return error
    return None


def _unlisted(patterns: tuple[str, ...]) -> Iterator[OSError]:
    """Folders of the globs that are there, and of which nobody can say what is in them."""
    import glob

    for error in map(_why_silent, patterns):
        if error is not None:
            yield error
    patterns = tuple(pattern for pattern in patterns if _why_silent(pattern) is None)
    for folder in {os.path.dirname(pattern) for pattern in patterns if glob.has_magic(os.path.basename(pattern))}:
        for path in glob.glob(folder):
            try:
                os.listdir(path)
            except OSError as error:
                yield error


def _matching(patterns: tuple[str, ...]) -> Iterator[str]:
    import glob

    for pattern in patterns:
        if glob.has_magic(pattern):
            yield from sorted(file for file in glob.glob(pattern, recursive=True) if not os.path.isdir(file))
        else:
            yield pattern


def _refuse_foreign_hooks(document: Document, euid: int, problems: Problems, *, fatal: bool) -> None:
    """Refuse a file with ``on_archive`` or a ``command`` that others may write: it would run as us.

    A dict is the caller's own, and root has read no file that others may write.
    """
    reason, advice = _who_else_may_write(document.status, euid) if document.status and euid else ("", "")
    hook = next(_hooks(document.table), None) if reason else None
    if hook:
        problem = f"names a command to run, and {document.file} {reason}"
        Section(document, "", problems, fatal=fatal).wrong(hook, problem, advice)


def _hooks(table: Mapping[str, Any]) -> Iterator[str]:
    logs = table.get("log")
    rules = [(f"log[{n}]", rule) for n, rule in enumerate(logs, 1)] if isinstance(logs, list) else []
    for path, rule in [("defaults", table.get("defaults")), *rules]:
        if isinstance(rule, Mapping) and rule.get("on_archive", "off") != "off":
            yield f"{path}.on_archive"
    targets = table.get("reopen")
    for name, target in targets.items() if isinstance(targets, Mapping) else ():
        if isinstance(target, Mapping) and "command" in target:
            yield f"reopen.{name}.command"


def _who_else_may_write(status: os.stat_result, euid: int) -> tuple[str, str]:
    """Why somebody else could put commands into this file, and what to do; empty if nobody could."""
    if status.st_uid not in (0, euid):
        return f"belongs to uid {status.st_uid}, who is neither root nor uid {euid} that runs this", "chown it"
    if status.st_mode & stat.S_IWOTH:
        return "may be written by anyone", "chmod o-w it"
    return "", ""


# ---------------------------------------------------------------- the top level and [defaults]


def _read_top(main: Document, problems: Problems) -> Read:
    table = {name: value for name, value in main.table.items() if name not in TABLES}
    return Section(main, "", problems, fatal=True).read(table, TOP, tables=TABLES)


def _refuse_unknown_user(main: Document, top: Read, euid: int, problems: Problems) -> None:
    """Only root becomes that user; for others the key has no meaning, and the user may be one of another machine."""
    user = top.values.get("run_as")
    if user is not None and euid == 0 and home_of_user(user) is None:
        section = Section(main, "", problems, fatal=True)
        section.wrong("run_as", f"{user!r} is not a user of this system", f"accepted: {TOP['run_as'].accepted}")


def _state_dir(main: Document, top: Read, environ: Mapping[str, str], euid: int, problems: Problems) -> StateDir:
    if "state_dir" in top.values:
        return StateDir(top.values["state_dir"], f"state_dir in {main.file}", main)
    found = default_state_dir(environ, euid)
    user = find_user(str(top.values.get("run_as"))) if euid == 0 else None
    if (
        user is not None
        and user.pw_uid
        and found is not None
        and found[0] == ROOT_STATE
        and owner_of(ROOT_STATE) != user.pw_uid
    ):
        found = default_state_dir({"HOME": user.pw_dir}, user.pw_uid)  # as that user has it who was not started by root
    if found is None and "state_dir" not in top.failed:
        problem = "is required where there is no $HOME, $XDG_STATE_HOME or $STATE_DIRECTORY"
        section = Section(main, "", problems, fatal=True)
        section.wrong("state_dir", problem, f"accepted: {TOP['state_dir'].accepted}")
    return StateDir(*(found or ("", "")))


def _read_defaults(main: Document, problems: Problems) -> Read:
    section = Section(main, "defaults", problems, fatal=True)
    table = section.table(main.table.get("defaults", {}), "[defaults] with keys of a rule")
    if table is None:
        return Read({})
    read = section.read(table, DEFAULTS)
    # What contradicts itself here is reported here, once, and not again in each rule.
    rule = Rule(read, Read({}))
    conflicts = [
        *(size_conflict(rule) if rule.says("schedule") and rule.says("max_size") else ()),
        *(level_conflict(rule) if rule.says("compress") and rule["compress"] != "none" else ()),
        *(create_conflict(rule) if rule.says("create") else ()),
    ]
    for conflict in conflicts:
        section.wrong(*conflict)
    return Read(read.values, read.failed | {name for name, *_ in conflicts})


def _check_default_target(main: Document, defaults: Read, targets: Targets, problems: Problems, *, fatal: bool) -> Read:
    """Report an unknown target of [defaults] once. Not ``fatal``: the file that holds it may be a broken one."""
    name = defaults.values.get("reopen")
    if not isinstance(name, str) or name in targets.known or name in targets.wrong:
        return defaults
    Section(main, "defaults", problems, fatal=fatal).wrong("reopen", *unknown_target(name, targets))
    if fatal:
        return Read(defaults.values, defaults.failed | {"reopen"})
    targets.wrong[name] = f"defaults.reopen in {main.file}"
    return defaults
