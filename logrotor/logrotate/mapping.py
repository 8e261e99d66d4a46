"""Carry blocks of logrotate's over to rules of ours: keys, reopen targets, scripts, and what cannot be carried over.

Knows neither TOML nor what is on the disk: the keys are those of a table of our configuration.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import textwrap
from collections import Counter

from msgspec import Struct

from logrotor.logrotate.blocks import SCRIPTS, Block, Fault, Mistake, Reading, Statement
from logrotor.logrotate.directives import carry
from logrotor.logrotate.globs import bare_name
from logrotor.logrotate.losses import COSMETIC, DIFFERENTLY, LESS, Consequence, Draft, Loss
from logrotor.logrotate.scripts import Asked, Kind, asked
from logrotor.model import Problem


class Target(Struct, frozen=True):
    """A ``[reopen.NAME]`` table. Of a script that needs a shell the command is still to be set."""

    name: str
    keys: dict[str, object]
    script: str = ""


class Rule(Struct, frozen=True):
    """A ``[[log]]`` table. ``target``: the table that it brings; one of an earlier rule is only named in its keys."""

    file: str
    line: int
    keys: dict[str, object]
    comments: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    target: Target | None = None
    left_out: bool = False  # it would do what nobody asked for


class Imported(Struct, frozen=True):
    """All rules, and the user of all of them.

    ``losses`` are those of no rule, ``unread`` the files that could not be read or believed.
    """

    rules: tuple[Rule, ...]
    losses: tuple[Loss, ...]
    files: tuple[str, ...]
    unread: tuple[Problem, ...]
    run_as: str = ""

    @property
    def all_losses(self) -> tuple[Loss, ...]:
        return (*self.losses, *(loss for rule in self.rules for loss in rule.losses))


def carry_over(reading: Reading) -> Imported:
    """Rules for the blocks of a reading, with names that are each there only once."""
    names = _Names()
    targets: dict[str, Target] = {}
    users = {block.user for block in reading.blocks}
    run_as = next(iter(users - {"root", "off"}), "") if len(users) == 1 else ""
    run_as = run_as if re.fullmatch(r"\w[\w.-]*", run_as, re.ASCII) else ""
    blocks = Counter(block.file for block in reading.blocks)
    rules = []
    had: set[str] = set()  # files of the blocks before
    for block in reading.blocks:
        name = names.free("log", _rule_name(block, alone=blocks[block.file] == 1))
        rules.append(_rule(block, name, names, targets, run_as, had))
    losses = tuple(map(_of_fault, reading.faults))
    return Imported(tuple(rules), losses, tuple(reading.files), tuple(reading.unread), run_as)


def _rule(block: Block, name: str, names: _Names, targets: dict[str, Target], run_as: str, had: set[str]) -> Rule:
    draft, known = Draft(block), len(targets)
    carry(draft)
    _tell_twice(draft, had)
    if block.user not in ("", "root", run_as):
        what = "logrotate becomes this user for these logs; logrotor works as the user that starts it"
        advice = f'move the rule to a configuration of its own with run_as = "{block.user}"'
        draft.lose(DIFFERENTLY, draft.settings["su"], what, advice)
    target = _reopen(draft, name, names, targets)
    if target is not None:
        draft.keys["reopen"] = target.name
    said = {(loss.line, loss.word) for loss in draft.losses}
    draft.losses += [_of_fault(fault) for fault in block.faults if (fault.line, fault.word) not in said]
    order = list(Consequence)
    return Rule(
        file=block.file,
        line=block.line,
        keys={"name": name, **draft.keys},
        comments=block.comments,
        losses=tuple(sorted(draft.losses, key=lambda loss: order.index(loss.consequence))),
        target=target if len(targets) > known else None,
        left_out=draft.left_out,
    )


def _tell_twice(draft: Draft, had: set[str]) -> None:
    """logrotate leaves out a whole block for one file that it has already. The files are those of this machine."""
    files = {file for pattern in draft.block.patterns for file in _files(pattern)}
    twice = sorted(files & had)
    had |= files
    if twice and draft.get("ignoreduplicates") is None:
        what = f"logrotate has {twice[0]} from a block before, and leaves out this whole one; here its other logs count"
        draft.lose(LESS, None, what, "delete this rule if its archives must stay")


def _files(pattern: str) -> list[str]:
    """Those that it means here; where there is none, the pattern itself."""
    try:
        return glob.glob(pattern) or [pattern]
    except (ValueError, RecursionError):  # of a NUL, say
        return [pattern]


def _of_fault(fault: Fault) -> Loss:
    """Of a line that logrotate ignores nothing comes; of a block that it leaves out we make a rule."""
    is_rule = fault.mistake is Mistake.DROPPED
    what = f"{fault.what}, and leaves out the block; logrotor has a rule for it" if is_rule else fault.what
    return Loss(DIFFERENTLY if is_rule else COSMETIC, fault.word, "", what, fault.file, fault.line, fault.advice)


# ---------------------------------------------------------------- names


class _Names:
    """Names for rules and targets, each only once."""

    def __init__(self) -> None:
        self._taken: set[tuple[str, str]] = set()

    def free(self, kind: str, wanted: str) -> str:
        wanted = re.sub(r"[^\w.@+-]+", "-", wanted, flags=re.ASCII).strip("-.") or "log"
        stem = f"{wanted}-log" if wanted == "off" else wanted
        name, number = stem, 1
        while (kind, name) in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add((kind, name))
        return name


def _rule_name(block: Block, *, alone: bool) -> str:
    """That of the package's file, with that of the log if there are several; else that of the log."""
    folder, file = os.path.split(block.file)
    log = bare_name(block.patterns[0])
    if not os.path.basename(folder).endswith(".d"):
        return log
    return file if alone else log if log.startswith(file) else f"{file}-{log}"


def _target_name(found: Asked, rule: str) -> str:
    """That of the daemon, else of the program."""
    match found.keys:
        case {"pidfile": str(path)}:
            return os.path.basename(path).removesuffix(".pid")
        case {"unit": str(unit)}:
            return unit.removesuffix(".service")
        case {"command": [str(program), *arguments]}:
            words = [word for word in map(str, arguments) if not word.startswith("-")]
            match os.path.basename(program), words:
                case (("invoke-rc.d" | "service"), [str(name), *_]):
                    return name
                case "systemctl", [_, str(unit)]:
                    return unit.removesuffix(".service")
                case name, _:
                    return name
    return rule


# ---------------------------------------------------------------- scripts


def _reopen(draft: Draft, rule: str, names: _Names, targets: dict[str, Target]) -> Target | None:
    """The target of the rule: one of an earlier rule that does the same, or a new one."""
    for word in SCRIPTS:
        statement = draft.settings.get(word)
        if statement is not None and word != "postrotate" and asked(statement.value).kind is not Kind.NOTHING:
            draft.lose(DIFFERENTLY, statement, "logrotor does not run it")
    statement = draft.settings.get("postrotate")
    found = asked(statement.value) if statement is not None else Asked(Kind.NOTHING)
    if statement is None or found.kind is Kind.NOTHING or draft.left_out:
        return None
    if draft.keys.get("method") == "copytruncate":
        kind = COSMETIC if found.kind in (Kind.PIDFILE, Kind.SYSTEMD) else DIFFERENTLY
        draft.lose(kind, statement, "logrotor does not run it: with copytruncate nobody has to reopen the log")
        return None
    if found.everybody:
        draft.lose(DIFFERENTLY, statement, "it signals every process of the unit; logrotor signals the main process")
    script = _for_shell(draft, statement) if found.kind is Kind.SHELL else ""
    key = repr(sorted(found.keys.items())) + script
    if key not in targets:
        name = names.free("reopen", _target_name(found, rule))
        targets[key] = Target(name, found.keys or {"manager": "command"}, script)
    return targets[key]


def _for_shell(draft: Draft, statement: Statement) -> str:
    """The script as a program of its own: what logrotate hands over as ``$1`` and ``$2`` comes from the block."""
    body = textwrap.dedent(statement.value).strip("\n").rstrip().removesuffix("\\").rstrip() + "\n"
    patterns = draft.block.patterns
    if not re.search(r"\$[{]?[12@*]", body):
        return body
    if draft.get("sharedscripts"):
        return f"set -- {shlex.quote(draft.block.heading)}\n{body}"
    globs = " ".join(re.sub(r"[^\w@%+=:,./\[\]*?!^-]", r"\\\g<0>", pattern) for pattern in patterns)
    if len(patterns) > 1 or set("*?[") & set(globs):
        what = "logrotate runs it for each log that it has rotated; logrotor runs it once, for all logs of the rule"
        draft.lose(DIFFERENTLY, statement, what)
    return f'for log in {globs}; do\nset -- "$log" "$log.1"\n{body}done\n'
