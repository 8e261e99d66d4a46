"""The laws of DESIGN: who may import whom, change files, print, read the clock. Each violation is reported by name."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import strace
from tests.support.command import CHECKOUT, arguments, environment
from tests.support.oracle import lines

PACKAGE = CHECKOUT / "logrotor"

# What a room may import: itself, and every room that stands below it.
RANKS = {
    "model": 0, "errors": 0, "events": 0, "text": 0,
    "decide": 1,
    "disk": 2,
    "logrotate": 3,
    "config": 4, "clock": 4,
    "notify": 5,
    "act": 6,
    "survey": 7,
    "watch": 8,
    "rotator": 9,
    "jobs": 10, "observe": 10,
    "cli": 11,
    "__init__": 12, "__main__": 12,
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A module of the package as written."""

    name: str  # "logrotor.act.take"
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


def modules() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("logrotor", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path, ast.parse(path.read_text(), str(path))))
    return found


MODULES = modules()
NAMES = {module.name for module in MODULES}


def violations(judge: Callable[[Module], Iterator[tuple[int, str]]]) -> list[str]:
    return [f"{module.path.relative_to(CHECKOUT)}:{line}: {what}" for module in MODULES for line, what in judge(module)]


def imported(module: Module) -> Iterator[tuple[int, str]]:
    """Every module that is imported anywhere in it, lazily and by a string for importlib as well."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in NAMES else base
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES:
            yield node.lineno, node.value


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def uses(module: Module) -> Iterator[tuple[int, str]]:
    """Every dotted name that is used: ``os.path.join``, also by ``from os import path`` or ``import os as o``."""
    origin: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                origin[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            origin.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and (name := _dotted(node)):
            head, dot, rest = name.partition(".")
            yield node.lineno, origin.get(head, head) + dot + rest


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def rooms_but(*rooms: str) -> Callable[[Module], bool]:
    return lambda module: module.room not in rooms


# ---------------------------------------------------------------- the judge is judged


def planted(code: str, name: str = "logrotor.decide.planted") -> Module:
    return Module(name, PACKAGE / "decide" / "planted.py", ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import logrotor.cli.run", "from logrotor.cli import run", "from logrotor import cli", "from ..cli import run",
        "def f():\n    from logrotor.cli.run import run", "NAME = 'logrotor.cli.group'", "from ..cli.run import x as y",
    ],
)  # fmt: skip
def test_a_planted_import_is_seen(code: str) -> None:
    """At the top, in a function, relative, or as a string for importlib: an import is an import."""
    assert any(name.startswith("logrotor.cli") for _, name in imported(planted(code)))


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.rename(a, b)", "import os as o\no.rename(a, b)", "from os import rename\nrename(a, b)",
        "from os import rename as r\nr(a, b)", "import os\nx = [os.rename]", "def f():\n    import os\n    os.rename",
        "import os.path\nchange('rename', os.rename, a)",
    ],
)  # fmt: skip
def test_a_planted_call_is_seen(code: str) -> None:
    """Under whatever name it came in, and also if it is only handed on."""
    assert "os.rename" in {name for _, name in uses(planted(code))}


# ---------------------------------------------------------------- imports


def test_every_room_has_its_place() -> None:
    """A new room must be put into the order before anything can be said of it."""
    assert {module.room for module in MODULES} <= RANKS.keys()


def test_imports_go_down() -> None:
    """cli, jobs and observe, rotator, watch, survey, act, notify, config, disk, decide, model: never upwards."""

    def upwards(module: Module) -> Iterator[tuple[int, str]]:
        for line, name in imported(module):
            if name == "logrotor" or not name.startswith("logrotor."):
                continue
            room = name.split(".")[1]
            if room != module.room and RANKS[room] >= RANKS[module.room] and RANKS[room] > 0:
                yield line, f"{module.room} imports {name}"

    assert violations(upwards) == []


# Where each package from elsewhere is used, and from the standard library what costs as much.
USERS = {
    "click": {"cli"},
    "structlog": {"cli"},
    "filelock": {"disk"},
    "zstandard": {"disk"},
    "isal": {"disk"},
    "xxhash": {"disk"},
    "cronsim": {"decide", "config"},
    "sqlite3": {"disk", "jobs"},
    "ctypes": {"disk"},
    "subprocess": {"disk", "act", "notify", "jobs"},
    "huey": {"jobs"},
    "procrastinate": {"jobs"},
    "psycopg": {"jobs"},
    "rq": {"jobs"},
    "redis": {"jobs"},
    "celery": {"jobs"},
    "kombu": {"jobs"},
    "logging": {"jobs"},  # of the engines, in the process of a worker
}


def test_packages_are_used_in_their_room() -> None:
    """Who needs a database, a lock, a terminal or a compressor asks the room that has it."""

    def strangers(module: Module) -> Iterator[tuple[int, str]]:
        for line, name in imported(module):
            top = name.split(".")[0]
            if (top in sys.stdlib_module_names and top not in USERS) or top in ("logrotor", "msgspec"):
                continue
            if module.room not in USERS.get(top, set()):
                yield line, f"imports {name}"

    assert violations(strangers) == []


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    """structlog, filelock, zstandard and the like are imported in the function that needs them."""
    heavy = USERS.keys() - {"click", "sqlite3", "ctypes", "subprocess"}

    def early(module: Module) -> Iterator[tuple[int, str]]:
        if module.name.startswith("logrotor.jobs.engines."):  # themselves imported only if the configuration names them
            return
        for node in module.tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                alone = Module(module.name, module.path, ast.Module([node], []))
                yield from ((line, name) for line, name in imported(alone) if name.split(".")[0] in heavy)

    assert violations(early) == []


# ---------------------------------------------------------------- the shape of the house


def circles(graph: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """Groups of modules each of which leads to every other one."""
    reach = {name: _reached(graph, name) for name in graph}
    both = {name: {other for other in reach[name] if name in reach[other]} for name in graph if name in reach[name]}
    return list({frozenset(circle) for circle in both.values()})


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    rest = [start]
    while rest:
        for name in graph.get(rest.pop(), set()) - found:
            found.add(name)
            rest.append(name)
    return found


def within_rooms(known: list[Module]) -> dict[str, set[str]]:
    """Which modules of its own room each module imports, for types or by a string included."""
    room = {module.name: module.room for module in known}
    return {m.name: {name for _, name in imported(m) if room.get(name) == m.room} - {m.name} for m in known}


def test_no_circles_in_a_room() -> None:
    """Modules of one room can be read, and imported, in an order; imports under TYPE_CHECKING count."""
    assert [sorted(circle) for circle in circles(within_rooms(MODULES))] == []


def test_a_planted_circle_is_seen() -> None:
    """Also one for types only, and one over three modules."""
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from logrotor.cli.group import cli"
    known = [planted(late, "logrotor.cli.session"), planted("import logrotor.cli.session", "logrotor.cli.group")]
    assert circles(within_rooms(known)) == [frozenset({"logrotor.cli.session", "logrotor.cli.group"})]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [frozenset("abc")]


LONGEST = 350  # lines of a module


def test_no_module_is_too_long() -> None:
    """One of more lines usually hides two."""
    lengths = {module.name: len(module.path.read_text().splitlines()) for module in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_a_name_is_that_of_one_module() -> None:
    """Whoever says "status" means one module; packages and their __init__ are not counted."""
    bases = Counter(m.name.rpartition(".")[2] for m in MODULES if m.path.name != "__init__.py")
    assert {base for base, number in bases.items() if number > 1} == set()


APART = {"partition", "rpartition", "split", "rsplit", "removeprefix", "removesuffix", "startswith", "endswith"}
FORMATS = {  # what looks like prose, and is a format of somebody else's
    "logrotor.disk.writers: rpartition(' (deleted)')",  # proc(5), of a removed file
    "logrotor.disk.proc: startswith('btime ')",  # proc(5), /proc/stat
    "logrotor.disk.proc: partition(' - ')",  # proc(5), /proc/PID/mountinfo
}


def taken_apart(module: Module) -> Iterator[tuple[int, str]]:
    """Text that is cut or asked at a piece of a sentence, or that was an error or a problem a moment ago."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in APART:
            made = isinstance(node.func.value, ast.Call) and _dotted(node.func.value.func) == "str"
            shown = [text for argument in node.args for text in _literals(argument)]
            prose = next((text for text in shown if not text.isspace() and re.search(r"\s|^\($", text)), None)
            if made or prose is not None:
                yield node.lineno, f"{node.func.attr}({prose!r})" if prose is not None else f"str(...).{node.func.attr}"


def _literals(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str | bytes):
            yield each.value if isinstance(each.value, str) else each.value.decode("latin-1")


def test_no_sentence_is_taken_apart() -> None:
    """What a program needs is a field of a value; a path may have ": " in it, and a rule's name "; "."""

    def found(module: Module) -> Iterator[tuple[int, str]]:
        yield from ((line, what) for line, what in taken_apart(module) if f"{module.name}: {what}" not in FORMATS)

    assert violations(found) == []


@pytest.mark.parametrize(
    "code",
    ["what.rpartition('; ')", "why.removeprefix(f'{path}: ')", "key.startswith('archive_dir ')", "x.partition(': ')",
     "str(error).split(':')", "text.moment(a, b).rpartition('(')"],
)  # fmt: skip
def test_a_planted_taking_apart_is_seen(code: str) -> None:
    """Each of the ways in which it was done; a separator of a format is none."""
    assert list(taken_apart(planted(code)))
    assert not list(taken_apart(planted("line.partition('='); path.split('/'); line.split(); fields.split(b' ')")))


_COMMAND = re.compile(r"\b(?:chmod|chgrp|chown|chattr|setfacl|getfacl|install|mkdir|rm|mv|cp|ln) [^;]*$")
_PATH = re.compile(r"(?:^|[._])(?:path|directory|here|aside|place|log|file|lock)$")


def unquoted(module: Module) -> Iterator[tuple[int, str]]:
    """Paths that stand in a command of a shell as they are, without ``typed``."""
    for node in ast.walk(module.tree):
        before = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            if isinstance(part, ast.Constant):
                before += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                value = ast.unparse(part.value)
                if _COMMAND.search(before) and _PATH.search(value):
                    yield node.lineno, f"{before}{{{value}}}"
                before += "_"


def test_a_path_in_a_command_is_quoted() -> None:
    """An advice is pasted into a shell, where a path with a space would be two."""
    assert violations(unquoted) == []


@pytest.mark.parametrize("code", ['f"as root: chmod o-w {path}"', 'f"chown {us} {self._path}"', 'f"rm {a.path}, or"'])
def test_a_planted_path_is_seen(code: str) -> None:
    assert [what for _, what in unquoted(planted(code))]
    assert not list(unquoted(planted(re.sub(r"[\w.]*path", "typed(path)", code))))


# ---------------------------------------------------------------- what is used where


def used_outside(forbidden: Callable[[str], bool], outside: Callable[[Module], bool], *allowed: str) -> list[str]:
    """``allowed``: "module: name", each with its reason at the call."""
    return violations(
        lambda module: (
            (line, name)
            for line, name in uses(module)
            if forbidden(name) and outside(module) and f"{module.name}: {name}" not in allowed
        )
    )


_CHANGES = """
write pwrite writev sendfile copy_file_range truncate ftruncate posix_fallocate fsync fdatasync sync
rename renames replace remove unlink rmdir removedirs mkdir makedirs mknod mkfifo link symlink
chmod fchmod lchmod chown fchown lchown utime setxattr removexattr setuid setgid setgroups
O_WRONLY O_RDWR O_CREAT O_TRUNC O_APPEND O_EXCL O_TMPFILE
"""
CHANGES = {"fcntl.flock", "fcntl.lockf", *(f"os.{name}" for name in _CHANGES.split())}


def test_only_disk_names_a_changing_call() -> None:
    """Every call that changes files is written in disk/ (that none is made elsewhere is shown by the audit below)."""
    found = used_outside(
        lambda name: name in CHANGES or name.startswith(("tempfile.", "shutil.")),
        rooms_but("disk"),
        # Flags only: the door opens the log for them.
        "logrotor.act.cut: os.O_RDWR",
        "logrotor.act.finish: os.O_RDWR",
        "logrotor.act.cut: os.O_APPEND",
        # The width of the terminal.
        "logrotor.cli.plan_table: shutil.get_terminal_size",
        # Closed standard streams are opened on /dev/null, so that no log gets their number.
        "logrotor.cli.output: os.O_WRONLY",
        "logrotor.cli.output: os.O_RDWR",
    )  # fmt: skip
    assert found == []


def test_nobody_changes_an_owner() -> None:
    """There is no chown anywhere: 270 failed jobs in a row were one."""
    assert used_outside(lambda name: "chown" in name, lambda module: True) == []


def test_only_the_command_line_prints() -> None:
    """Only cli/ prints, and nobody configures logging: the rotator speaks through its report and on_event."""
    spoken = ("sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "warnings.warn")
    # A worker's own events go where those of its attempts go.
    assert (
        used_outside(
            lambda name: name == "print" or name.startswith(spoken), rooms_but("cli"), "logrotor.jobs.task: sys.stderr"
        )
        == []
    )


def test_only_the_command_line_touches_the_process() -> None:
    """Signal handlers, umask and working directory are the business of whoever started the process."""
    touching = {"signal.signal", "signal.set_wakeup_fd", "signal.pthread_sigmask", "os.umask", "os.chdir", "os.fchdir",
                "sys.exit", "os._exit", "atexit.register", "os.fork", "faulthandler.enable"}  # fmt: skip
    assert used_outside(lambda name: name in touching, rooms_but("cli")) == []


CLOCK = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
}  # fmt: skip


def test_only_the_edge_reads_the_clock() -> None:
    """What time it is comes in as an argument; time.monotonic measures waits and tells nobody the time."""
    found = used_outside(
        lambda name: name in CLOCK,
        rooms_but("cli", "clock", "jobs"),
        "logrotor.rotator: time.time",  # the default of Rotator(clock=...)
    )
    assert found == []


def test_only_the_edge_reads_the_environment() -> None:
    """Variables come in as an argument."""
    found = used_outside(
        lambda name: name in ("os.environ", "os.environb", "os.getenv", "os.getenvb"),
        rooms_but("cli", "clock", "jobs"),
        # The defaults of load_config(environ=...) and find_config(environ=...).
        "logrotor.config.load: os.environ",
        "logrotor.config.find: os.environ",
        # A program that is run gets our own environment and a few variables more.
        "logrotor.disk.programs: os.environ",
    )
    assert found == []


def proc_paths(module: Module) -> Iterator[tuple[int, str]]:
    """Calls of ``open`` and of ``os`` with a path that begins with /proc."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and node.args and (name := _dotted(node.func)).startswith(("os.", "open")):
            first = node.args[0]
            start = first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first
            if isinstance(start, ast.Constant) and str(start.value).startswith("/proc"):
                yield node.lineno, f"{name} of {start.value}"


def test_one_module_reads_proc() -> None:
    """What /proc does not show is unknown, never nobody: that is judged in one place."""
    assert list(proc_paths(planted('open(f"/proc/{pid}/stat")\nos.listdir("/proc")\nos.stat("/srv")'))) != []
    assert violations(lambda module: proc_paths(module) if module.name != "logrotor.disk.proc" else iter(())) == []


PURE = {
    "os.fsencode", "os.fsdecode", "os.fspath", "os.sep", "os.stat_result", "os.strerror", "os.PathLike",
    "os.path",
    *(f"os.path.{name}" for name in ("join", "basename", "dirname", "split", "splitext", "normpath", "isabs")),
}  # fmt: skip


@pytest.mark.parametrize("room", ["model", "errors", "events", "decide"])
def test_deciding_touches_nothing(room: str) -> None:
    """The values and the decisions are pure: no call to the system at all."""
    impure = ("os.", "io.", "pathlib.", "socket.", "signal.", "subprocess.", "threading.", "time.", "sys.", "open")

    def found(module: Module) -> Iterator[tuple[int, str]]:
        for line, name in uses(module) if module.room == room else ():
            if (name.startswith(impure) and name not in PURE) or name in ("open", "input", "eval", "exec"):
                yield line, name

    assert violations(found) == []


# ---------------------------------------------------------------- what really happens

SCRIPT = """\
import json, os, sys
sys.path.insert(0, sys.argv[2])
from logrotor import Rotator, load_config
import encodings.ascii, sqlite3, zoneinfo  # nothing of the standard library is loaded while we listen

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown",
          "os.truncate", "os.utime", "os.setxattr", "os.removexattr", "sqlite3.connect", "shutil.rmtree", "shutil.move",
          "tempfile.mkstemp", "tempfile.mkdtemp", "os.mknod", "os.mkfifo", "subprocess.Popen", "os.kill", "os.killpg",
          "os.chdir", "os.fork", "os.posix_spawn", "os.system", "os.exec", "socket.connect"}
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
found, listening = [], [False]

def hook(event, args):
    if not listening[0] or (event != "open" and event not in EVENTS):
        return
    if event == "open" and not (isinstance(args[2], int) and args[2] & CHANGING):
        return
    names, frame = [], sys._getframe(1)
    while frame is not None:
        names.append(frame.f_globals.get("__name__", "?") + "." + frame.f_code.co_name)
        frame = frame.f_back
    found.append([event, repr(args[0])[-60:], names])

sys.addaudithook(hook)
site = sys.argv[1]

def reopen(paths):
    # What the caller's own function does is the caller's business, and told by its name.
    os.close(os.open(site + "/reopened", os.O_WRONLY | os.O_CREAT))

def config(**more):
    rule = {"name": "app", "paths": [site + "/logs/app.log", site + "/logs/new/made.log"], "max_size": "1K",
            "backup_count": 3, "create_missing": True, "reopen": "self", "on_archive": ["/bin/true"], **more}
    return load_config({"state_dir": site + "/state", "log": [rule], "reopen": {
        "self": {"manager": "callable", "function": reopen},
        "command": {"manager": "command", "command": ["/bin/true"]}}}, environ={})

def step(force=True, plan=False, **more):
    with open(site + "/logs/app.log", "ab") as file:
        file.write(b"line\\n" * 2000)
    rotator = Rotator(config(**more))
    listening[0] = True
    try:
        result = rotator.plan(force=force) if plan else rotator.run(force=force)
        assert plan or result.exit_code == 0, result.failed
    finally:
        listening[0] = False

if sys.argv[3] == "plan":
    step(plan=True)
    listening[0] = False
    Rotator(config()).run(force=True)
    step(plan=True, compress="gzip", naming="dated")
else:
    copied = {"method": "copytruncate", "reopen": "off"}
    for more in ({}, {"compress": "gzip"}, {"compress": "none"}, {"naming": "dated"}, copied, {"archive_dir": "old/er"},
                 {"archive_dir": sys.argv[4]}, {"reopen": "command"}, {"backup_count": 1}):
        step(**more)
    for name in (".app.log.new", ".app.log.1.zst.tmp", "app.log.8"):  # what crashes leave
        with open(site + "/logs/" + name, "wb") as file:
            file.write(b"line\\n")
    os.link(site + "/logs/app.log.8", site + "/logs/app.log.9")
    step(force=False)
    from logrotor.disk import calls  # and on a file system that does not know renameat2
    def refuse(*_):
        raise OSError(22, "Invalid argument")
    calls.renameat2 = refuse
    step()
json.dump(found, open(site + "/found.json", "w"))
"""

SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None  # another file system

# Changes that do not pass through the gate ``calls.invoke``, each with its reason.
UNGATED = {
    # filelock takes the lock itself; its file is created once and never replaced.
    ("open", "logrotor.disk.state.locked"),
    ("os.chmod", "logrotor.disk.state.locked"),
    ("os.mkdir", "logrotor.disk.state.locked"),
    # A log that copytruncate is going to cut: opened, not changed yet.
    ("open", "logrotor.disk.opendir.open_known"),
    # The mark of the last run: its bytes pass through the gate.
    ("open", "logrotor.disk.files.rewrite"),
    # The lock file of a log directory: what is there already is only locked.
    ("open", "logrotor.disk.turns._found"),
    # SQLite opens and writes its own file; each commit passes through the gate, and the sweeps kill in between.
    ("sqlite3.connect", "logrotor.disk.database.to_write"),
    ("sqlite3.connect", "logrotor.disk.database.to_look"),
    ("sqlite3.connect", "logrotor.disk.database._columns"),  # in memory
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[tuple[str, str, list[str]]]]:
    """What a full rotation through the library changes: event, file, and the calling functions, innermost first."""
    known: dict[str, list[tuple[str, str, list[str]]]] = {}

    def audit(what: str) -> list[tuple[str, str, list[str]]]:
        if what not in known:
            site = tmp_path_factory.mktemp(what)
            (site / "logs").mkdir()
            with tempfile.TemporaryDirectory(dir=SHM) as other:
                argv = [sys.executable, "-B", "-c", SCRIPT, site, CHECKOUT, what, other]
                done = subprocess.run(argv, capture_output=True, text=True, cwd="/", env=environment(), check=False)
            assert done.returncode == 0, done.stderr
            known[what] = [tuple(each) for each in json.loads((site / "found.json").read_text())]  # type: ignore[misc]
        return known[what]

    return audit


def caller(names: list[str]) -> str:
    """The innermost function of the package, or of the script itself if that is further in."""
    return next((name for name in names if name.startswith(("logrotor.", "__main__."))), "nobody")


def test_only_disk_changes_files(audited: Callable[[str], list[tuple[str, str, list[str]]]]) -> None:
    """In a full rotation every open for writing, rename, removal ... is made by disk/, in threads as well."""
    changes = audited("run")
    assert {event for event, _, _ in changes} >= {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.utime",
                                                  "sqlite3.connect", "subprocess.Popen"}  # fmt: skip
    strangers = {
        (event, path, caller(names))
        for event, path, names in changes
        if not caller(names).startswith(("logrotor.disk.", "__main__.reopen"))
    }
    assert strangers == set()


def test_every_change_passes_through_the_gate(audited: Callable[[str], list[tuple[str, str, list[str]]]]) -> None:
    """calls.change is the one gate, where the fault sweeps put their faults; the exceptions are named."""
    past = {
        (event, caller([name for name in names if name != "logrotor.disk.calls.invoke"]))
        for event, _, names in audited("run")
        if "logrotor.disk.calls.invoke" not in names
    }
    assert past - UNGATED == set()


def test_planning_changes_nothing(audited: Callable[[str], list[tuple[str, str, list[str]]]]) -> None:
    """Rotator.plan() opens nothing for writing; the history it only reads."""
    assert {(event, caller(names)) for event, _, names in audited("plan")} <= {
        ("sqlite3.connect", "logrotor.disk.database.to_look")
    }


def test_plan_makes_no_changing_system_call(tmp_path: Path) -> None:
    """strace sees no changing call in `logrotor plan`, before the first run and after it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/app.log").write_bytes(lines("w1", 1, 100))
    config = tmp_path / "logrotor.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n[[log]]\nname = "app"\npaths = ["logs/*"]\nmax_size = "1K"\n')
    for _ in range(2):
        result, calls = strace.changes(arguments("plan", "-c", config))
        assert result.code == 0 and [str(call) for call in calls] == []
        subprocess.run(arguments("run", "-c", config), env=environment(), check=True)
