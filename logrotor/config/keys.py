"""The table of keys: it drives validation, messages and the reference in the README. Nothing else lists keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from logrotor.config import quantities, schedules, values
from logrotor.config.place import Place
from logrotor.model import Codec, Manager, Method, Missing, Naming

NO_OFF = object()  # "off" means nothing for this key

LEVELS = {Codec.ZSTD: range(1, 23), Codec.GZIP: range(10)}


class Key(Struct, frozen=True, kw_only=True):
    """One key: what it accepts, what it means, and what holds without it."""

    name: str
    parse: Callable[[object], Any]
    accepts: str
    doc: str
    default: str = ""  # in words, for the reference; the values stand in model.py
    locate: Callable[[Place, Any], Any] | None = None  # makes a parsed path absolute
    off: Any = NO_OFF  # what "off" sets
    aliases: tuple[str, ...] = ()  # what other programs call it
    required: frozenset[Manager] = frozenset()
    allowed: frozenset[Manager] = frozenset(Manager)

    @property
    def accepted(self) -> str:
        """All that is accepted, "off" included."""
        return self.accepts if self.off is NO_OFF else f'{self.accepts}, or "off"'


def _table(*keys: Key) -> Mapping[str, Key]:
    return {key.name: key for key in keys}


def _path(place: Place, written: str) -> str:
    return place.path(written)


def _patterns(place: Place, written: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(place.pattern(item) for item in written)


def _excludes(place: Place, written: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(place.exclude(item) for item in written)


def _expanded(place: Place, written: str) -> str:
    return place.expanded(written)


def _reopen(value: object) -> Any:
    """A target's name; from a dict also a built target, which stays as it is."""
    from logrotor.model import ReopenTarget

    return value if isinstance(value, ReopenTarget) else values.name(value)


_SIZE = "10MB, 512KiB, 1.5G or plain bytes (1024-based, 1 or more)"
_DURATION = '"90s", "1h30m", "7d", "2w" or plain seconds'
_BOOLEAN = "true or false"
_PLACE = "absolute, from ~, or relative to this configuration file"

TOP = _table(
    Key(
        name="state_dir", parse=values.path, locate=_path,
        accepts=f"a directory of logrotor's own: {_PLACE}",
        default="the first entry of `$STATE_DIRECTORY`; else `/var/lib/logrotor` for root, "
        "`$XDG_STATE_HOME/logrotor` or `~/.local/state/logrotor` for others",
        doc="Holds the lock and the history. Two configurations that share it never run at once.",
        aliases=("state", "statefile"),
    ),
    Key(
        name="lock_timeout", parse=quantities.duration, accepts=_DURATION, default="10s",
        doc="How long a run waits for another one to finish before it ends with exit 3.",
    ),
    Key(
        name="compress_jobs", parse=values.whole(1, 64), accepts="a whole number from 1 to 64", default="4",
        doc="How many archives are compressed at a time. Hundreds of small ones are divided among as many processes, "
        "at most one for each processor.", aliases=("jobs", "threads"),
    ),
    Key(
        name="run_as", parse=values.name, accepts="the name of a user", default="the user who starts it",
        doc="Started as root: become this user, once, at the start.", aliases=("user", "su"),
    ),
    Key(
        name="include", parse=values.list_of(values.glob), locate=_patterns,
        accepts=f"a list of globs: {_PLACE}",
        doc="Further TOML files, which hold only `[[log]]` and `[reopen.NAME]`.",
    ),
)  # fmt: skip

LOG = _table(
    Key(
        name="name", parse=values.name, accepts='a name without "/", each only once', default="required",
        doc="Names the rule in reports and for `--only`.",
    ),
    Key(
        name="paths", parse=values.list_of(values.glob), locate=_patterns, default="required",
        accepts=f'a list of files or globs ("**" goes through folders): {_PLACE}',
        doc="The logs of this rule. A file in two rules belongs to the first.", aliases=("path", "file", "files"),
    ),
    Key(
        name="exclude", parse=values.list_of(values.glob, empty=True), locate=_excludes, off=(), default="off",
        accepts='a list of globs; one without "/" is for the file name alone',
        doc="Files that `paths` matches and that are left alone.", aliases=("ignore", "taboo"),
    ),
    Key(
        name="max_size", parse=quantities.size, accepts=_SIZE, off=None, default="off",
        doc="The log is due when it is larger than this. This or `schedule` must be set; either makes it due.",
        aliases=("size", "maxsize", "maxbytes", "max_bytes"),
    ),
    Key(
        name="min_size", parse=quantities.size, accepts=_SIZE, off=None, default="off",
        doc="A log that is smaller is not due by `schedule`.", aliases=("minsize",),
    ),
    Key(
        name="schedule", parse=schedules.schedule, off=None, default="off", aliases=("when", "interval", "cron"),
        accepts="hourly, daily, weekly, monthly, yearly or a 5-field cron expression",
        doc="The log is due when a slot has passed since the last rotation; missed slots are caught up once.",
    ),
    Key(
        name="rotate_empty", parse=values.boolean, accepts=_BOOLEAN, default="false", aliases=("ifempty", "notifempty"),
        doc="Rotate by `schedule` or `--force` also when the log is empty.",
    ),
    Key(
        name="backup_count", parse=values.backup_count, accepts="a whole number, 1 or more", off=None, default="off",
        doc="How many archives of a log stay. Without a limit of count, age or size all stay.",
        aliases=("rotate", "count", "keep", "backups", "max_files"),
    ),
    Key(
        name="max_age", parse=quantities.age, accepts='"12h", "30d", "2w" (with a unit)', off=None, default="off",
        doc="Archives older than this are removed.", aliases=("maxage", "max_days"),
    ),
    Key(
        name="max_total_size", parse=quantities.size, accepts=_SIZE, off=None, default="off",
        doc="The archives of one log may take this much room; the oldest go first.",
    ),
    Key(
        name="keep_free", parse=quantities.free_space, accepts=f'{_SIZE}, or a share such as "10%"',
        off=None, default="off", aliases=("min_free",),
        doc="Room to keep free on the file system of the archives; the oldest archives go for it.",
    ),
    Key(
        name="compress", parse=values.one_of(Codec, Codec.ZSTD, Codec.GZIP, Codec.NONE), off=Codec.NONE,
        accepts='"zstd", "gzip" or "none"', default="zstd", aliases=("codec", "compression", "compresscmd"),
        doc="How archives are compressed.",
    ),
    Key(
        name="compress_level", parse=values.whole(0, 22), accepts="1 to 22 for zstd, 0 to 9 for gzip",
        off=None, default="off: the codec's own", aliases=("level",),
        doc="How hard archives are compressed. gzip with the extra `isal` (`pip install 'logrotor[isal]'`) is two "
            "to four times as fast; its highest level is 3, and 4 to 9 mean that one.",
    ),
    Key(
        name="keep_uncompressed", parse=values.whole(0), accepts="a whole number, 0 or more", off=0, default="0",
        doc="The newest so many archives stay plain.", aliases=("delaycompress",),
    ),
    Key(
        name="create", parse=values.boolean, accepts=_BOOLEAN, default="true", aliases=("nocreate",),
        doc="Put an empty log in the place of the one that was taken.",
    ),
    Key(
        name="create_mode", parse=values.mode, default='"0664"', aliases=("mode", "chmod"),
        accepts='octal digits in quotes, such as "0664", at most "0777", writable by the owner',
        doc="The mode of a log that is created.",
    ),
    Key(
        name="create_missing", parse=values.boolean, accepts=_BOOLEAN, default="false",
        doc="Create a log that does not exist, and its folders (0755).", aliases=("createolddir",),
    ),
    Key(
        name="method", parse=values.one_of(Method), accepts='"rename" or "copytruncate"', default="rename",
        doc="How a log is taken. `copytruncate` is for writers that cannot reopen; `reopen` is not used with it.",
        aliases=("copytruncate", "renamecopy"),
    ),
    Key(
        name="accept_loss", parse=values.boolean, accepts=_BOOLEAN, default="false",
        doc="Allow copytruncate where a range cannot be collapsed and lines may get lost.",
    ),
    Key(
        name="naming", parse=values.one_of(Naming), accepts='"numbered" or "dated"', default="numbered",
        doc="`app.log.1`, or `app.log-20261121T070000Z` (UTC).", aliases=("dateext", "dateformat"),
    ),
    Key(
        name="archive_dir", parse=values.path, locate=_expanded, off=None, default="off: beside the log",
        accepts="a directory: absolute, from ~, or relative to the directory of each log",
        doc="Where finished archives go, also on another file system. Log directories may share one; "
        "of two logs of one name the second is refused.",
        aliases=("olddir",),
    ),
    Key(
        name="reopen", parse=_reopen, accepts="the name of a `[reopen.NAME]` table", off=None, default="off",
        doc="Who is asked to reopen the log after it was taken.", aliases=("postrotate", "notify", "signal"),
    ),
    Key(
        name="on_archive", parse=values.argv, accepts='a list such as ["/usr/local/bin/upload", "--now"]',
        off=(), default="off", aliases=("lastaction", "hook"),
        doc="Command, run without a shell, for each finished archive; tried again in the next run until it succeeds.",
    ),
    Key(
        name="on_archive_timeout", parse=quantities.positive_duration, accepts=_DURATION, default="5m",
        doc="After this long the command is stopped and counts as failed.",
    ),
    Key(
        name="missing", parse=values.one_of(Missing), accepts='"skip" or "error"', default="skip",
        doc="What a path or glob without a log means; `skip` mentions it at debug level only.",
        aliases=("missingok", "nomissingok"),
    ),
)  # fmt: skip

DEFAULTS = {name: key for name, key in LOG.items() if name not in ("name", "paths")}

_SUPERVISORD, _SYSTEMD, _PIDFILE = (frozenset({m}) for m in (Manager.SUPERVISORD, Manager.SYSTEMD, Manager.PIDFILE))
_COMMAND, _CALLABLE = frozenset({Manager.COMMAND}), frozenset({Manager.CALLABLE})

REOPEN = _table(
    Key(
        name="manager", default="required", accepts='"supervisord", "systemd", "pidfile" or "command"',
        parse=values.one_of(Manager), required=frozenset(Manager), aliases=("type", "kind"),
        doc="Who is asked; a configuration from a dict may also say `callable`.",
    ),
    Key(
        name="pidfile", parse=values.file_path, locate=_path, accepts=f"a file: {_PLACE}",
        required=_SUPERVISORD | _PIDFILE, allowed=_SUPERVISORD | _PIDFILE, aliases=("pid", "pid_file"),
        doc="Holds the process id. The process is checked before it gets a signal.",
    ),
    Key(
        name="signal", parse=values.signal_name, accepts='the name of a signal, such as "USR1" or "HUP"',
        required=_PIDFILE | _SYSTEMD, allowed=_PIDFILE | _SYSTEMD,
        doc="What is sent. supervisord always gets USR2: HUP would restart all its children.",
    ),
    Key(
        name="unit", parse=values.unit, accepts='the name of a unit, such as "nginx.service"',
        required=_SYSTEMD, allowed=_SYSTEMD, aliases=("service",), doc="Its main process gets the signal.",
    ),
    Key(
        name="user_unit", parse=values.boolean, accepts=_BOOLEAN, default="false", allowed=_SYSTEMD,
        doc="The unit belongs to the systemd of the user.",
    ),
    Key(
        name="command", parse=values.argv, accepts='a list such as ["/usr/sbin/nginx", "-s", "reopen"]',
        required=_COMMAND, allowed=_COMMAND, doc="Run without a shell.", aliases=("exec", "cmd"),
    ),
    Key(
        name="timeout", parse=quantities.positive_duration, accepts=_DURATION, default="10s",
        doc="After this long the request counts as failed.",
    ),
    Key(
        name="supervisor_config", parse=values.file_path, locate=_path, accepts=f"a file: {_PLACE}",
        default="found by supervisord's command line, then its search path", allowed=_SUPERVISORD,
        doc="Where it is checked that supervisord does not rotate the same files.",
    ),
)  # fmt: skip

FUNCTION = Key(
    name="function", parse=values.function, accepts="a function that takes a tuple of paths",
    required=_CALLABLE, allowed=_CALLABLE, doc="Called with the logs that were taken.",
)  # fmt: skip

QUEUE = _table(
    Key(
        name="engine", parse=values.name, accepts='"huey", "procrastinate", "rq", "celery" or one that a plugin adds',
        default='"huey"', doc="Which queue. huey needs no server; each is an extra: `pip install logrotor[huey]`.",
        aliases=("driver", "connection", "backend"),
    ),
    Key(
        name="url", parse=values.text, aliases=("broker", "dsn", "broker_url"),
        accepts='a URL, for huey the path of its file, or "env:NAME" for the variable that holds it',
        default="huey: `queue.sqlite` in the state directory; others: required",
        doc="Where the queue is. With `env:NAME` no password stands in a file.",
    ),
    Key(
        name="name", parse=values.queue_name, accepts="up to 30 letters, digits, _ and -", default='"log-rotation"',
        doc="The queue is `NAME-HOST`: rotation is local to a host.", aliases=("queue",),
    ),
    Key(
        name="host", parse=values.text, accepts="a name that stays the same", default="the machine's host name",
        doc="In a container, whose host name changes at every recreate, set it.", aliases=("hostname",),
    ),
    Key(
        name="schedule", parse=schedules.schedule, default='"* * * * *"', aliases=("every", "cron", "interval"),
        accepts="hourly, daily, weekly, monthly, yearly or a 5-field cron expression",
        doc="When `queue schedule` and `queue worker --schedule` dispatch a job.",
    ),
)  # fmt: skip

JOB = _table(
    Key(
        name="tries", parse=values.whole(1, 100), accepts="a whole number from 1 to 100", default="3",
        doc="How many attempts a job gets; each counts, also one whose worker died.", aliases=("retries", "max_tries"),
    ),
    Key(
        name="max_exceptions", parse=values.whole(1, 100), accepts="a whole number from 1 to 100", default="3",
        doc="How many of its attempts may fail by themselves.",
    ),
    Key(
        name="timeout", parse=quantities.positive_duration, accepts=_DURATION, default="60s",
        doc="An attempt that takes longer is ended. Compressions that would not fit are left to the next job.",
    ),
    Key(
        name="backoff", parse=quantities.durations, accepts='a list such as ["10s", "30s", "60s"]',
        default='["10s", "30s", "60s"]', doc="How long to wait before the next attempt; the last one repeats.",
    ),
    Key(
        name="expires", parse=quantities.positive_duration, accepts=_DURATION,
        default="nine tenths of the time to the next tick",
        doc="A job that has waited longer for its first attempt is dropped: the next one does its work.",
    ),
    Key(
        name="stuck_after", parse=quantities.positive_duration, accepts=_DURATION, default="10m",
        doc="`queue status` calls a job stuck that has been at work for longer.",
    ),
)  # fmt: skip

METRICS = _table(
    Key(
        name="textfile", parse=values.textfile, locate=_path, accepts=f"a file whose name ends in .prom: {_PLACE}",
        default="no metrics", aliases=("file", "path"),
        doc="Written after each `logrotor run`, for the textfile collector of Prometheus's node exporter.",
    ),
)  # fmt: skip

PAGE = _table(
    Key(
        name="file", parse=values.file_path, locate=_path, accepts=f"a file: {_PLACE}", default="no page",
        aliases=("html", "path", "output"),
        doc="Written after each `logrotor run`, as `logrotor page` does: how everything stands, for a browser.",
    ),
)  # fmt: skip

# The tables that stand at the top level beside its keys.
TABLES = ("defaults", "log", "reopen", "queue", "metrics", "page")
