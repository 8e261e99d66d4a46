"""Read logrotate's configuration language: which blocks there are, and what holds in each (logrotate.conf(5), 3.22).

Says what is written, not what it means for us. Where logrotate would drop a block for a mistake in it, the block is
read all the same, and the mistake is reported as a :class:`Fault`.
"""

from __future__ import annotations

import enum
import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator

from msgspec import Struct

from logrotor.disk import files
from logrotor.errors import problem_of
from logrotor.model import Problem
from logrotor.text import closest, typed

SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")
_FLAGS = (
    "compress", "delaycompress", "shred", "sharedscripts", "copytruncate", "renamecopy", "copy", "ifempty", "dateext",
    "dateyesterday", "datehourago", "mailfirst", "maillast", "createolddir", "missingok", "allowhardlink",
    "ignoreduplicates", "hourly", "daily", "yearly",
)  # fmt: skip
_NEGATED = (
    "nocompress", "nodelaycompress", "noshred", "nosharedscripts", "nocopytruncate", "norenamecopy", "nocopy",
    "notifempty", "nodateext", "noolddir", "nomail", "nocreate", "nocreateolddir", "nomissingok", "noallowhardlink",
)  # fmt: skip
_OPTIONAL = frozenset({"weekly", "monthly", "create", "createolddir"})  # a value may follow on the line
_VALUED = _OPTIONAL | {
    "size", "minsize", "maxsize", "rotate", "start", "minage", "maxage", "mail", "errors", "su", "olddir", "include",
    "tabooext", "taboopat", "dateformat", "extension", "addextension", "compresscmd", "uncompresscmd",
    "compressoptions", "compressext", "shredcycles", "minutes",
}  # fmt: skip
WORDS = frozenset({*_FLAGS, *_NEGATED, *_VALUED, *SCRIPTS})
_REMOVING = frozenset({"rotate", "maxage"})  # nothing is removed on a guess: a comment stays part of the value
_GROUPS = {
    "notifempty": "ifempty", "noolddir": "olddir", "maillast": "mailfirst",
    **dict.fromkeys(("minutes", "hourly", "daily", "weekly", "monthly", "yearly", "size"), "trigger"),
}  # fmt: skip
_TABOO = (
    "*,v", "*.bak", "*.cfsaved", "*.disabled", "*.dpkg-bak", "*.dpkg-del", "*.dpkg-dist", "*.dpkg-new", "*.dpkg-old",
    "*.dpkg-tmp", "*.rhn-cfg-tmp-*", "*.rpmnew", "*.rpmorig", "*.rpmsave", "*.swp", "*.ucf-dist", "*.ucf-new",
    "*.ucf-old", "*~",
)  # fmt: skip
_DEEPEST = 16  # files that include each other
_END = re.compile(r"^[ \t]*endscript\b[^\n]*", re.MULTILINE)
IGNORED = "ignored"  # the kind of a problem: logrotate does not believe the file


class Mistake(enum.StrEnum):
    """What is wrong at a place of a file."""

    UNKNOWN = "unknown word"  # logrotate ignores the line
    DROPPED = "drops the block"  # logrotate leaves out the block that it stands in


class Fault(Struct, frozen=True):
    """Something in a file that logrotate does not take as it was meant."""

    file: str
    line: int
    word: str
    mistake: Mistake
    what: str
    advice: str = ""


class Statement(Struct, frozen=True):
    """One directive. The value of a script is its text."""

    word: str
    value: str
    file: str
    line: int

    @property
    def group(self) -> str:
        """Directives of one group replace each other, the last one holds: "compress" and "nocompress"."""
        if self.word in _GROUPS:
            return _GROUPS[self.word]
        return self.word.removeprefix("no") if self.word in _NEGATED else self.word


class Block(Struct, frozen=True):
    """Logs, as globs, and all that holds for them: what stood before the block, then what stands in it."""

    file: str
    line: int
    patterns: tuple[str, ...]
    statements: tuple[Statement, ...]
    heading: str = ""  # the patterns as they are written, which a shared script gets
    comments: tuple[str, ...] = ()  # before it and in it, without "#"
    faults: tuple[Fault, ...] = ()

    @property
    def settings(self) -> dict[str, Statement]:
        """What holds of each group of directives."""
        return {statement.group: statement for statement in self.statements}

    @property
    def user(self) -> str:
        """Whom logrotate becomes for these logs; empty: nobody else."""
        statement = self.settings.get("su")
        return next(iter(statement.value.split())) if statement is not None else ""


class Reading(Struct):
    """All blocks in the order in which they are written, the files that were read, and faults outside of a block."""

    blocks: list[Block] = []
    files: list[str] = []
    faults: list[Fault] = []
    unread: list[Problem] = []  # files that cannot be read, or that logrotate does not believe: kind ``IGNORED``


def read(paths: Iterable[str], *, as_root: bool = False) -> Reading:
    """Read files, one after the other, as ``logrotate FILE...`` does. ``as_root``: no file that others could write."""
    reader = _Reader(as_root)
    for path in paths:
        reader.read_path(path, reader.globals)
    return reader.reading


def parse(text: str, file: str = "") -> Reading:
    """Read one text; what it includes is read from the disk."""
    reader = _Reader(False)
    reader.parse(text, file, reader.globals)
    return reader.reading


class _Reader:
    def __init__(self, as_root: bool) -> None:
        self.reading = Reading()
        self.globals: list[Statement] = []
        self._taboo = list(_TABOO)
        self._as_root = as_root
        self._depth = 0

    # ---------------------------------------------------------------- files

    def read_path(self, path: str, scope: list[Statement], by: str = "") -> None:
        """A file, or the files of a directory by name, but for those with a taboo name. ``by``: what includes it."""
        try:
            if self._depth >= _DEEPEST:
                raise OSError(errno.ELOOP, f"files include each other, {_DEEPEST} deep", path)
            if not os.path.isdir(path):
                self._read_file(path, scope)
                return
            names = sorted(os.listdir(path))
        except OSError as error:
            found = problem_of(error, path)
            what = f"cannot be read: {found.problem}" + (f", and {by} includes it" if by else "")
            self.reading.unread.append(Problem(subject=path, problem=what, kind=found.kind))
            return
        for name in names:
            full = os.path.join(path, name)
            if os.path.isfile(full) and not any(fnmatch.fnmatchcase(name, taboo) for taboo in self._taboo):
                self.read_path(full, scope, by)

    def _read_file(self, path: str, scope: list[Statement]) -> None:
        data, status = files.read(path)
        open_to_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if self._as_root and (open_to_others or status.st_uid != 0):
            what = "others may write it" if open_to_others else "does not belong to root"
            advice = f"chmod go-w {typed(path)}" if open_to_others else "import it as its owner"
            what = f"{what}, so logrotate ignores it"
            self.reading.unread.append(Problem(subject=path, problem=what, advice=advice, kind=IGNORED))
            return
        self.reading.files.append(path)
        self._depth += 1
        self.parse(data.decode(errors="surrogateescape").replace("\r\n", "\n"), path, scope)
        self._depth -= 1

    # ---------------------------------------------------------------- text

    def parse(self, text: str, file: str, scope: list[Statement]) -> None:
        """The statements of a text into ``scope``, its blocks into the reading."""
        cursor = _Cursor(text, file)
        while cursor.skip():
            if cursor.at("/\"'~"):
                self._block(cursor, scope)
            elif statement := self._statement(cursor, self.reading.faults):
                self._obey(statement, scope)
                cursor.comments.clear()  # they speak of it

    def _block(self, cursor: _Cursor, scope: list[Statement]) -> None:
        line, heading = cursor.line, cursor.heads()
        patterns = tuple(words_of(heading))
        own: list[Statement] = list(scope)
        faults: list[Fault] = []
        while cursor.skip():
            if cursor.take("}"):
                break
            statement = self._statement(cursor, faults)
            if statement is not None:
                self._obey(statement, own)
        else:
            faults.append(cursor.fault("{", Mistake.DROPPED, 'the block has no "}"'))
        block = Block(cursor.file, line, patterns, tuple(own), heading, tuple(cursor.comments), tuple(faults))
        cursor.comments = []
        if patterns:
            self.reading.blocks.append(block)

    def _obey(self, statement: Statement, scope: list[Statement]) -> None:
        if statement.word == "include":
            self.read_path(statement.value, scope, f"{statement.file}:{statement.line}")
        elif statement.word in ("tabooext", "taboopat"):
            given = re.split(r"[\s,]+", statement.value.removeprefix("+").strip())
            more = [name if statement.word == "taboopat" else f"*{name}" for name in given if name]
            self._taboo = [*(self._taboo if statement.value.startswith("+") else ()), *more]
        else:
            scope.append(statement)

    def _statement(self, cursor: _Cursor, faults: list[Fault]) -> Statement | None:
        """The directive at the cursor; what is none is skipped to the end of its line."""
        line, word = cursor.line, cursor.word()
        if word in SCRIPTS:
            return Statement(word, cursor.script(word, faults), cursor.file, line)
        if word in WORDS:
            value, comment = cursor.value() if word in _VALUED else ("", "")
            missing = not value and word in _VALUED and word not in _OPTIONAL
            if comment:
                cursor.comments.append(comment)
                what = f'logrotate takes "# {comment}" for a part of the value'
                faults.append(Fault(cursor.file, line, word, Mistake.DROPPED, what, "put it on a line of its own"))
            elif missing:
                faults.append(Fault(cursor.file, line, word, Mistake.DROPPED, "has no value"))
            if missing and word not in _REMOVING:
                return None
            whole = f"{value}  # {comment}" if comment and word in _REMOVING else value
            return Statement(word, whole, cursor.file, line)
        rest = cursor.rest()
        meant = closest(word, WORDS) if word else None
        what = "is not a word of logrotate, which ignores the line" if word else f"{rest!r}: logrotate ignores the line"
        advice = f"did you mean {meant!r}?" if meant else ""
        faults.append(Fault(cursor.file, line, word, Mistake.UNKNOWN, what, advice))
        return None


class _Cursor:
    """A place in a text, and the comments that were passed on the way."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.comments: list[str] = []
        self._text, self._at = text, 0
        self._line, self._counted = 1, 0  # the number of the line at a place before this one

    @property
    def line(self) -> int:
        self._line, self._counted = self._line + self._text.count("\n", self._counted, self._at), self._at
        return self._line

    def at(self, characters: str) -> bool:
        return self._text[self._at] in characters

    def take(self, character: str) -> bool:
        found = self.at(character)
        self._at += found
        return found

    def fault(self, word: str, mistake: Mistake, what: str) -> Fault:
        return Fault(self.file, self.line, word, mistake, what)

    def skip(self) -> bool:
        """Go on to what is neither blank nor a comment. False: there is nothing."""
        while match := re.compile(r"\s+|#[^\n]*").match(self._text, self._at):
            self._at = match.end()
            if match[0].startswith("#"):
                self.comments.append(match[0].strip("# \t"))
        return self._at < len(self._text)

    def word(self) -> str:
        return self._match(r"[A-Za-z]*")

    def rest(self) -> str:
        return self._match(r"[^\n]*").strip()

    def value(self) -> tuple[str, str]:
        """What follows a directive on its line, and the comment behind it. A "}" at the end closes the block."""
        written = self._match(r"[^\n]*")
        found, _, comment = re.sub(r"\s#", "\0", written, count=1).partition("\0")
        if found.rstrip().endswith("}"):
            self._at -= len(written) - written.index("}")
            found, comment = found[: found.index("}")], ""
        return re.sub(r"^[ \t]*=?[ \t]*", "", found).rstrip(), comment.strip("# \t")

    def heads(self) -> str:
        """The paths of a block, up to its "{"; a line that begins with "#" is a comment."""
        written = self._match(r"(?:(?<=\n)[ \t]*#[^\n]*|[^{])*")
        if self._at < len(self._text):
            self.take("{")
        comment = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
        self.comments += [line.strip("# \t") for line in comment.findall(written)]
        return comment.sub("", written)

    def script(self, word: str, faults: list[Fault]) -> str:
        """The text of a script, up to the line with "endscript"."""
        start, end = self._at, _END.search(self._text, self._at)
        if end is None:
            faults.append(self.fault(word, Mistake.DROPPED, 'the script has no "endscript"'))
        self._at = end.end() if end else len(self._text)
        return self._text[start : end.start() if end else None]

    def _match(self, pattern: str) -> str:
        match = re.compile(pattern).match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]


def words_of(text: str) -> Iterator[str]:
    """Paths as popt(3) takes them apart: with quotes, and a backslash before a character that stands for itself."""
    piece = r"""'(?:\\'|[^'])*'?|"(?:\\"|[^"])*"?|\\.|[^\s'"\\]"""
    for word in re.finditer(rf"(?:{piece})+", text, re.DOTALL):
        yield "".join(map(_unquoted, re.findall(piece, word[0], re.DOTALL)))


def _unquoted(piece: str) -> str:
    quote = piece[0]
    if quote == "\\":
        return piece[1:]
    if quote in "'\"":
        return piece[1:].removesuffix(quote).replace("\\" + quote, quote)
    return piece
