"""The table of keys: it drives validation, messages and the reference in the README. Nothing else lists keys.

A further key is a field with its default in model/settings.py, an entry here, and its line in the README, which
:func:`reference` prints.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import replace

from logrotor.config import paths, values
from logrotor.config.paths import Place
from logrotor.model import Codec, Manager, Method, Missing, Naming

NO_OFF = object()  # "off" means nothing for this key


class Kind(Struct, frozen=True):
    """What a value may be: how it is parsed, in words what is accepted, and how a path becomes absolute."""

    parse: Callable[[object], Any]
    accepts: str
    locate: Callable[[Place, Any], Any] | None = None


class Key(Struct, frozen=True):
    """One key: what it accepts, what it means, and what holds without it."""

    name: str
    kind: Kind
    doc: str
    off: Any = NO_OFF  # what "off" sets
    aliases: tuple[str, ...] = ()  # what other programs call it
    without: str = ""  # what holds without it, in words, where the field only says None
    field: str = ""  # the field that it sets, where that has another name
    of: str = ""  # the value in model/ that has this field; what the field holds by default holds without the key
    required: frozenset[Manager] = frozenset()
    allowed: frozenset[Manager] = frozenset(Manager)

    @property
    def accepted(self) -> str:
        """All that is accepted, "off" included."""
        return self.kind.accepts if self.off is NO_OFF else f'{self.kind.accepts}, or "off"'

    @property
    def value(self) -> Any:
        """What the code uses without it; NODEFAULT where it is required."""
        from logrotor import model

        struct = getattr(model, self.of)
        names, defaults = struct.__struct_fields__, struct.__struct_defaults__
        values = (NODEFAULT,) * (len(names) - len(defaults)) + defaults
        return dict(zip(names, values, strict=True)).get(self.field or self.name)


def _table(of: str, *keys: Key) -> Mapping[str, Key]:
    return {key.name: replace(key, of=of) for key in keys}


def _words(members: Iterable[enum.StrEnum]) -> str:
    """``"zstd", "gzip" or "none"``."""
    *words, last = (f'"{member}"' for member in members)
    return f"{', '.join(words)} or {last}"


def _one_of(members: Iterable[enum.StrEnum]) -> Kind:
    return Kind(values.one_of(members), _words(members))


def _reopen(value: object) -> Any:
    """A target's name; from a dict also a built target, which stays as it is."""
    from logrotor.model import ReopenTarget

    return value if isinstance(value, ReopenTarget) else values.name(value)


_MADE = tuple(codec for codec in reversed(Codec) if codec.levels is not None)  # the others are only read
_LEVELS = ", ".join(f"{c.levels[0]} to {c.levels[-1]} for {c}" for c in _MADE if c.levels)
MANAGERS = tuple(manager for manager in Manager if manager is not Manager.CALLABLE)  # that a file can name
_PLACE = "absolute, from ~, or relative to this configuration file"
_SIZE = Kind(values.size, "10MB, 512KiB, 1.5G or plain bytes (1024-based, 1 or more)")
_DURATION = Kind(values.duration, '"90s", "1h30m", "7d", "2w" or plain seconds')
_SPAN = Kind(values.positive_duration, _DURATION.accepts)
_BOOLEAN = Kind(values.boolean, "true or false")
_FILE = Kind(paths.file_path, f"a file: {_PLACE}", Place.path)
_SCHEDULE = Kind(values.schedule, "hourly, daily, weekly, monthly, yearly or a 5-field cron expression")
_TRIES = Kind(values.whole(1, 100), "a whole number from 1 to 100")

TOP = _table(
    "Config",
    Key("state_dir", Kind(paths.path, f"a directory of logrotor's own: {_PLACE}", Place.path),
        "Holds the lock and the history. Two configurations that share it never run at once.",
        without="the first entry of `$STATE_DIRECTORY`; else `/var/lib/logrotor` for root, "
        "`$XDG_STATE_HOME/logrotor` or `~/.local/state/logrotor` for others, and for a `run_as` to whom root's does "
        "not belong", aliases=("state", "statefile")),
    Key("lock_timeout", _DURATION, "How long a run waits for another one to finish before it ends with exit 3."),
    Key("compress_jobs", Kind(values.whole(1, 64), "a whole number from 1 to 64"),
        "How many archives are compressed at a time. Hundreds of small ones are divided among as many processes, "
        "at most one for each processor.", aliases=("jobs", "threads")),
    Key("run_as", Kind(values.user, "the name or number of a user"),
        "Started as root: become this user, once, at the start. `HOME`, `USER`, `LOGNAME` and `~` are this user's.",
        without="the user who starts it", aliases=("user", "su")),
    Key("include", Kind(values.list_of(paths.glob), f"a list of globs: {_PLACE}", Place.patterns),
        "Further TOML files, which hold only `[[log]]` and `[reopen.NAME]`."),
)  # fmt: skip

LOG = _table(
    "LogSpec",
    Key("name", Kind(values.name, 'a name without "/", each only once'),
        "Names the rule in reports and for `--only`."),
    Key("paths",
        Kind(values.list_of(paths.glob), f'a list of files or globs ("**" goes through folders): {_PLACE}',
             Place.patterns),
        "The logs of this rule. A file in two rules belongs to the first. A name with brackets is written as "
        "`[[]www].log`.", aliases=("path", "file", "files")),
    Key("exclude", Kind(values.list_of(paths.glob, empty=True),
                        'a list of globs; one without "/" is for the file name alone', Place.excludes),
        "Files that `paths` matches and that are left alone.", off=(), aliases=("ignore", "taboo")),
    Key("max_size", _SIZE,
        "The log is due when it is larger than this. This or `schedule` must be set; either makes it due.",
        off=None, aliases=("size", "maxsize", "maxbytes", "max_bytes")),
    Key("min_size", _SIZE, "A log that is smaller is not due by `schedule`; less than `max_size`.", off=None,
        aliases=("minsize",)),
    Key("schedule", _SCHEDULE,
        "The log is due when a slot has passed since the last rotation; missed slots are caught up once. All but "
        "hourly begin at midnight, weekly that of Sunday, in the machine's time zone (or `$TZ`).",
        off=None, aliases=("when", "interval", "cron")),
    Key("min_interval", _DURATION,
        "`logrotor watch` takes a log no sooner than this after its last take, so that a burst does not replace all "
        "archives in seconds; it may grow beyond `max_size` meanwhile. A `run` takes it at once."),
    Key("rotate_empty", _BOOLEAN, "Rotate by `schedule` or `--force` also when the log is empty.",
        aliases=("ifempty", "notifempty")),
    Key("backup_count", Kind(values.backup_count, "a whole number, 1 or more"),
        "How many archives of a log stay. Without a limit of count, age or size all stay.",
        off=None, aliases=("rotate", "count", "keep", "backups", "max_files")),
    Key("max_age", Kind(values.age, '"12h", "30d", "2w" (with a unit)'),
        'Archives older than this are removed; what counts is below, under "How old an archive is".',
        off=None, aliases=("maxage", "max_days")),
    Key("max_total_size", _SIZE, "The archives of one log may take this much room; the oldest go first.", off=None),
    Key("keep_free", Kind(values.free_space, f'{_SIZE.accepts}, or a share such as "10%"'),
        "Room to keep free on the file system of the archives; the oldest archives go for it.",
        off=None, aliases=("min_free",)),
    Key("compress", _one_of(_MADE), "How archives are compressed.",
        off=Codec.NONE, aliases=("codec", "compression", "compresscmd")),
    Key("compress_level", Kind(values.whole(0, max(c.levels[-1] for c in _MADE if c.levels)), _LEVELS),
        "How hard archives are compressed. gzip with the extra `isal` (`pip install 'logrotor[isal]'`) is two "
        "to four times as fast; its highest level is 3, and 4 to 9 mean that one.",
        off=None, without="off: the codec's own", aliases=("level",)),
    Key("keep_uncompressed", Kind(values.whole(0), "a whole number, 0 or more"),
        "The newest so many archives stay plain.", off=0, aliases=("delaycompress",)),
    Key("create", _BOOLEAN, "Put an empty log in the place of the one that was taken.", aliases=("nocreate",)),
    Key("create_mode",
        Kind(values.mode, 'octal digits in quotes, such as "0664", at most "0777", writable by the owner; or "keep"'),
        'The mode of a log that is created. Octal digits: exactly these for owner, group and others; entries of an '
        'ACL stay as they are. `"keep"`: exactly as the log before it.',
        without="as the log before it; `0664` at least where group and others could read that, or there was none",
        aliases=("mode", "chmod")),
    Key("create_missing", _BOOLEAN, "Create a log that does not exist, and its folders (0755).",
        aliases=("createolddir",)),
    Key("method", _one_of(Method),
        "How a log is taken. `copytruncate` is for writers that cannot reopen; `reopen` is not used with it.",
        aliases=("copytruncate", "renamecopy")),
    Key("accept_loss", _BOOLEAN, "Allow copytruncate where a range cannot be collapsed and lines may get lost."),
    Key("naming", _one_of(Naming), "`app.log.1`, or `app.log-20261121T070000Z` (UTC).",
        aliases=("dateext", "dateformat")),
    Key("archive_dir",
        Kind(paths.path, "a directory: absolute, from ~, or relative to the directory of each log", Place.expanded),
        "Where finished archives go, also on another file system. Log directories may share one; "
        "of two logs of one name the second is refused.",
        off=None, without="off: beside the log", aliases=("olddir",)),
    Key("reopen", Kind(_reopen, "the name of a `[reopen.NAME]` table"),
        "Who is asked to reopen the log after it was taken.", off=None, aliases=("postrotate", "notify", "signal")),
    Key("on_archive", Kind(values.argv, 'a list such as ["/usr/local/bin/upload", "--now"]', Place.command),
        "Command, run without a shell, for each finished archive; tried again in the next run until it succeeds.",
        off=(), aliases=("lastaction", "hook")),
    Key("on_archive_timeout", _SPAN, "After this long the command is stopped and counts as failed."),
    Key("missing", _one_of(Missing),
        "What a path or glob without a log means; `skip` mentions it at debug level only.",
        aliases=("missingok", "nomissingok")),
)  # fmt: skip

DEFAULTS = {name: key for name, key in LOG.items() if name not in ("name", "paths")}

_SUPERVISORD, _SYSTEMD, _PIDFILE, _COMMAND, _CALLABLE = (
    frozenset({manager})
    for manager in (Manager.SUPERVISORD, Manager.SYSTEMD, Manager.PIDFILE, Manager.COMMAND, Manager.CALLABLE)
)

REOPEN = _table(
    "ReopenTarget",
    Key("manager", Kind(values.one_of(Manager), _words(MANAGERS)),
        "Who is asked; a configuration from a dict may also say `callable`.",
        aliases=("type", "kind"), required=frozenset(Manager)),
    Key("pidfile", _FILE, "Holds the process id. The process is checked before it gets a signal.",
        aliases=("pid", "pid_file"), required=_SUPERVISORD | _PIDFILE, allowed=_SUPERVISORD | _PIDFILE),
    Key("signal", Kind(values.signal_name, 'the name of a signal, such as "USR1" or "HUP"'),
        "What is sent. supervisord always gets USR2: HUP would restart all its children.",
        required=_PIDFILE | _SYSTEMD, allowed=_PIDFILE | _SYSTEMD),
    Key("unit", Kind(values.unit, 'the name of a unit, such as "nginx.service"'), "Its main process gets the signal.",
        aliases=("service",), required=_SYSTEMD, allowed=_SYSTEMD),
    Key("user_unit", _BOOLEAN, "The unit belongs to the systemd of the user.", allowed=_SYSTEMD),
    Key("command", Kind(values.argv, 'a list such as ["/usr/sbin/nginx", "-s", "reopen"]', Place.command),
        "Run without a shell.",
        aliases=("exec", "cmd"), required=_COMMAND, allowed=_COMMAND),
    Key("timeout", _SPAN, "After this long the request counts as failed."),
    Key("supervisor_config", _FILE, "Where it is checked that supervisord does not rotate the same files.",
        without="found by supervisord's command line, then its search path", allowed=_SUPERVISORD),
)  # fmt: skip

FUNCTION = Key("function", Kind(values.function, "a function that takes a tuple of paths"),
    "Called with the logs that were taken. It reopens what its own process has open, and nothing in a child process.",
    of="ReopenTarget", required=_CALLABLE, allowed=_CALLABLE,
)  # fmt: skip

QUEUE = _table(
    "QueueSettings",
    Key("engine", Kind(values.name, '"huey", "procrastinate", "rq", "celery" or one that a plugin adds'),
        "Which queue. huey needs no server; each is an extra: `pip install logrotor[huey]`.",
        aliases=("driver", "connection", "backend")),
    Key("url",
        Kind(values.text, 'a URL, for huey the path of its file, "env:NAME" for the variable or "file:PATH" for the '
             "file that holds it", Place.url),
        "Where the queue is. With `env:NAME` or `file:PATH` no password stands in the configuration.",
        without="huey: `queue.sqlite` in the state directory; others: required",
        aliases=("broker", "dsn", "broker_url")),
    Key("name", Kind(values.queue_name, "up to 30 letters, digits, _ and -"),
        "The queue is `NAME-HOST`: rotation is local to a host.", aliases=("queue",)),
    Key("host", Kind(values.text, "a name that stays the same"),
        "In a container, whose host name changes at every recreate, set it.",
        without="the machine's host name", aliases=("hostname",)),
    Key("schedule", _SCHEDULE, "When `queue schedule` and `queue worker --schedule` dispatch a job.",
        aliases=("every", "cron", "interval")),
)  # fmt: skip

JOB = _table(
    "JobSettings",
    Key("tries", _TRIES, "How many attempts a job gets; each counts, also one whose worker died.",
        aliases=("retries", "max_tries")),
    Key("max_exceptions", _TRIES, "How many of its attempts may fail by themselves."),
    Key("timeout", _SPAN,
        "An attempt that takes longer is ended. Compressions that would not fit are left to the next job."),
    Key("backoff", Kind(values.list_of(values.duration), 'a list such as ["10s", "30s", "60s"]'),
        "How long to wait before the next attempt; the last one repeats."),
    Key("expires", _SPAN, "A job that has waited longer for its first attempt is dropped: the next one does its work.",
        without="nine tenths of the time to the next tick"),
    Key("stuck_after", _SPAN, "`queue status` calls a job stuck that has been at work for longer."),
)  # fmt: skip

MONITOR = _table(
    "Monitor",
    Key("max_pending", Kind(values.whole(0), "a whole number, 0 or more"), "So many jobs may wait on a queue.",
        aliases=("max", "pending")),
    Key("max_age", _SPAN, "So long may a job wait.", without="three ticks of `schedule`, 10 minutes at most",
        aliases=("age",)),
    Key("ticks", Kind(values.whole(2, 1000), "a whole number from 2 to 1000"),
        "After so many ticks of `schedule` without a job that was done, the rotation counts as stopped: for "
        "`queue status --check`, `status --check`, the metrics, and the worker, which ends if jobs wait meanwhile."),
    Key("queues", Kind(values.list_of(values.queue_limit), 'a list such as ["log-rotation-web-1:100"]'),
        "Queues that have a `max_pending` of their own.", aliases=("queue",)),
)  # fmt: skip

METRICS = _table(
    "Config",
    Key("textfile", Kind(paths.textfile, f"a file whose name ends in .prom: {_PLACE}", Place.path),
        "Written after each `logrotor run`, for the textfile collector of Prometheus's node exporter.",
        field="metrics_textfile", without="no metrics", aliases=("file", "path")),
)  # fmt: skip

PAGE = _table(
    "Config",
    Key("file", _FILE,
        "Written after each `logrotor run`, as `logrotor page` does: how everything stands, for a browser.",
        field="page_file", without="no page", aliases=("html", "path", "output")),
)  # fmt: skip

# The tables that stand at the top level beside its keys.
TABLES = ("defaults", "log", "reopen", "queue", "metrics", "page")
