"""As much of sh(1) as the scripts of packages use: one command, alone or behind tests that it can be run.

Whatever else there is, a loop, a pipe, a variable, an "else", needs a shell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct


class NeedsShell(Exception):
    """It does more than run one command."""


class Found(Struct, frozen=True):
    """The one command that a script runs, None if it runs nothing, and the tests before it."""

    command: tuple[Word, ...] | None
    tests: tuple[tuple[str, ...], ...]

    @property
    def is_unconditional(self) -> bool:
        """Do the tests ask only whether the command's own program is there? Any other may keep it from being run."""
        program = self.command[0].text if self.command else ""
        return all(_asks_for(program, test) for test in self.tests)


def one_command(script: str) -> Found:
    """Raises NeedsShell."""
    parser = _Parser(_filled_in(script))
    return Found(parser.whole(), tuple(parser.tests))


def _asks_for(program: str, test: Sequence[str]) -> bool:
    name = test[0].rpartition("/")[2]
    if name in ("[", "[[", "test"):
        asked = [word for word in test[1:] if word not in ("]", "]]", "!", "-a") and word not in _THERE]
        return asked == [program]
    return name in ("command", "which", "type") and test[-1] in (program, program.rpartition("/")[2])


_SET = re.compile(
    r"""\s*(?P<name>[A-Za-z_]\w*)=(?P<quote>["']?)(?P<value>[^\s"'`$\\;&|<>()*?~]+)(?P=quote)[ \t]*(?:;|\n)"""
)


def _filled_in(script: str) -> str:
    """Without the variables that are set once, at the head, to a path or the like."""
    while (found := _SET.match(script)) and not re.search(r"'|\\\$", script[found.end() :]):
        rest, name = script[found.end() :], found["name"]
        if re.search(rf"\b{name}=", rest):
            break
        script = re.sub(rf"\$(?:{name}\b|{{{name}}})", found["value"], rest)
    return script


class Word(Struct, frozen=True):
    """A word of a command; ``plain``: it stands for itself; ``pidfile``: it stands for what that file holds."""

    text: str
    plain: bool = True
    pidfile: str | None = None


# ---------------------------------------------------------------- words

_CAT = re.compile(
    r"(?:(?:/usr)?(?:/bin/)?cat\s+|(?:/usr)?(?:/bin/)?head\s+-(?:n\s*)?1\s+|<\s*)"
    r"""(?P<quote>["']?)(?P<path>/[^\s"'`$*?<>|;&()]+)(?P=quote)\s*(?:2>\s*/dev/null)?\s*"""
)
_PIECE = r"""
    '[^']*' | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*` | "(?:\\.|\$\([^()]*\)|[^"\\])*" | \\. | [^\s;&|()<>'"`\\]
"""
_TOKEN = re.compile(
    rf"""
    (?P<blank>(?:[ \t\r]|\\\n)+) | (?P<redirect>\d*(?:>>|>&|<&|>\||<>|<<|>|<)|&>>?) | (?P<operator>&&|\|\||;;|[;\n|&()])
    | (?P<comment>\#[^\n]*) | (?P<word>(?:{_PIECE})+)
    """,
    re.VERBOSE | re.DOTALL,
)
_EXPANDED = frozenset("$`*?[]{}~")


def _word(written: str) -> Word:
    if written in ("[", "]", "[[", "]]", "{", "}"):
        return Word(written)
    inner = written[1:-1] if written.startswith('"') and written.endswith('"') else written
    if (inner[:2] == "$(" and inner[-1] == ")") or (inner[:1] == inner[-1:] == "`" and len(inner) > 2):
        match = _CAT.fullmatch((inner[2:-1] if inner[0] == "$" else inner[1:-1]).strip())
        return Word(written, plain=False, pidfile=match["path"] if match else None)
    text, plain = "", True
    for piece in re.findall(_PIECE, written, re.VERBOSE | re.DOTALL):
        if piece[0] == "'":
            text += piece[1:-1]
        elif piece[0] == '"':
            plain = plain and not re.search(r"(?<!\\)[$`]", piece)
            text += re.sub(r'\\([$`"\\\n])', r"\1", piece[1:-1])
        elif piece[0] == "\\":
            text += piece[1:]
        else:
            plain = plain and piece[0] not in _EXPANDED
            text += piece
    return Word(text, plain)


class _Token(Struct, frozen=True):
    operator: str = ""
    word: Word | None = None
    redirect: str = ""

    @property
    def text(self) -> str:
        return self.word.text if self.word is not None else self.operator


def _tokens(script: str) -> Iterator[_Token]:
    at = 0
    while at < len(script):
        match = _TOKEN.match(script, at)
        if match is None:  # an unfinished quote
            raise NeedsShell
        at = match.end()
        if match.lastgroup == "word":
            yield _Token(word=_word(match[0]))
        elif match.lastgroup == "operator":
            yield _Token(operator=match[0])
        elif match.lastgroup == "redirect":
            yield _Token(redirect=match[0])


_Command = tuple[Word, ...]

# ---------------------------------------------------------------- the one command

_NOTHING = (("true",), (":",), ("exit", "0"), ("exit",), ("return", "0"))
_ENDS = frozenset({"exit", "return"})
_COMPOUND = frozenset(
    {
        "then",
        "fi",
        "do",
        "done",
        "esac",
        "for",
        "while",
        "until",
        "case",
        "{",
        "(",
        "function",
        "select",
        "elif",
        "else",
        "time",
    }
)
OF_SHELL = frozenset({
    ".", "source", "cd", "export", "set", "unset", "read", "eval", "trap", "umask", "ulimit", "wait", "return", "exit",
    "shift", "local", "alias", "command", "break", "continue",
})  # fmt: skip
_QUIET = frozenset({"-q", "--quiet", "-s"})
_THERE = frozenset({"-x", "-f", "-e", "-s", "-d", "-r", "-S", "-n", "-h", "-L"})


class _Parser:
    """Finds the one command that a script runs. Each function returns it, or None where there is only a test."""

    def __init__(self, script: str) -> None:
        self._left = list(_tokens(script.rstrip().removesuffix("\\")))
        self.tests: list[tuple[str, ...]] = []

    def whole(self) -> _Command | None:
        found = self._list(())
        if self._left:
            raise NeedsShell
        return found

    def _list(self, ends: Sequence[str]) -> _Command | None:
        found = None
        while self._skip(";", "\n"):
            if self._next in ends:
                break
            item = self._and_or()
            if found is not None and item is not None:
                raise NeedsShell
            found = found or item
        return found

    def _and_or(self) -> _Command | None:
        """``test && command``, ``! test || command``, ``test || exit 0``, ``command || true``."""
        is_last = self._next in _ENDS
        found, negated = self._pipeline()
        is_test = found is None
        while self._next in ("&&", "||"):
            if is_last:
                raise NeedsShell
            goes_on = (self._take() == "&&") != negated  # where what was tested is there
            self._skip("\n")
            ends = self._next in ("true", ":", *_ENDS)
            item, inverted = self._pipeline()
            if item is None and ends:
                if is_test and goes_on:  # not to be done where it is there
                    raise NeedsShell
            elif not is_test or not goes_on:
                raise NeedsShell
            else:
                found, negated, is_test = item, inverted, item is None
        if is_last and self._skip(";", "\n"):  # an end before the end
            raise NeedsShell
        return found

    def _pipeline(self) -> tuple[_Command | None, bool]:
        negated = self._next == "!"
        if negated:
            self._take()
        found, inverted = self._command()
        if self._next == "|" and [token.text.rpartition("/")[2] for token in self._left[1:2]] == ["logger"]:
            self._take(), [*self._simple()]  # what it says is kept for us, too
        if self._next in ("|", "&") or (negated and found is not None):
            raise NeedsShell
        return found, negated != inverted

    def _command(self) -> tuple[_Command | None, bool]:
        if self._next == "if":
            return self._if(), False
        words = tuple(self._simple())
        if not words or words[0].text in _COMPOUND or re.match(r"\w+\+?=", words[0].text):
            raise NeedsShell
        if tuple(word.text for word in words) in _NOTHING:
            return None, False
        if (inverted := _test(words)) is not None:
            self.tests.append(tuple(word.text for word in words))
            return None, inverted
        return words, False

    def _if(self) -> _Command | None:
        """``if test && test; then command; fi``."""
        self._expect("if")
        while True:
            self._skip("\n")
            ends = self._next in _ENDS
            found, inverted = self._pipeline()
            if found is not None or inverted or ends:
                raise NeedsShell
            if self._next != "&&":
                break
            self._take()
        self._expect("then")
        found = self._list(("fi", "else", "elif"))
        self._expect("fi")
        return found

    def _simple(self) -> Iterator[Word]:
        while self._left and not self._left[0].operator:
            token = self._left.pop(0)
            if token.word is not None:
                yield token.word
                continue
            target = self._left.pop(0).word if self._left else None
            silent = target is not None and (target.text == "/dev/null" or token.redirect.endswith("&"))
            if not silent:
                raise NeedsShell

    @property
    def _next(self) -> str:
        return self._left[0].text if self._left else ""

    def _take(self) -> str:
        return self._left.pop(0).text

    def _expect(self, word: str) -> None:
        self._skip(";", "\n")
        if self._next != word:
            raise NeedsShell
        self._take()

    def _skip(self, *operators: str) -> bool:
        while self._left and self._left[0].operator in operators:
            self._left.pop(0)
        return bool(self._left)


def _test(words: Sequence[Word]) -> bool | None:
    """Whether it asks that something is not there; None: it is no such test."""
    texts = [word.text for word in words]
    name = texts[0].rpartition("/")[2]
    if name in ("[", "[[", "test"):
        rest = texts[1:-1] if name != "test" else texts[1:]
        inverted = rest[:1] == ["!"]
        rest = rest[inverted:]
        pairs = [rest[at : at + 2] for at in range(0, len(rest), 3)]
        is_asked = all(len(pair) == 2 and pair[0] in _THERE for pair in pairs) and {*rest[2::3]} <= {"-a"}
        if not pairs or not is_asked or (inverted and len(pairs) > 1):
            raise NeedsShell
        return inverted
    arguments = [text for text in texts[1:] if text not in _QUIET]
    is_one = (
        (name == "command" and len(arguments) == 2 and arguments[0] in ("-v", "systemctl"))
        or name in ("which", "type", "pgrep", "pidof")
        or (name == "command" and arguments == ["systemctl"])
        or (name in ("invoke-rc.d", "service") and len(arguments) == 2 and arguments[1] == "status")
        or (name == "systemctl" and arguments[:1] in (["is-active"], ["status"]))
        or (texts[0].startswith("/etc/init.d/") and arguments == ["status"])
        or (name == "kill" and arguments[:1] == ["-0"])
    )
    return False if is_one else None
