"""Each directive of logrotate's as keys of a rule, and what comes of it where no key does the same.

None of logrotate's defaults that remove something is taken over: what nobody wrote removes nothing.
"""

from __future__ import annotations

import os
import re

from logrotor.logrotate.blocks import Statement
from logrotor.logrotate.globs import is_greedy, rewritten
from logrotor.logrotate.losses import COSMETIC, DIFFERENTLY, LESS, MORE, Draft, number_of, size_of

_DROPS = "logrotate leaves out the block"


def carry(draft: Draft) -> None:
    """All directives but the scripts."""
    for part in (_paths, _trigger, _retention, _age, _removal, _compression, _method, _creation, _names, _folder):
        part(draft)


def _shown(size: int) -> object:
    """A size as people write it, if it is a round one."""
    for unit, length in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return size


# ---------------------------------------------------------------- which logs, and when


_ARCHIVES = ["*.[1-9]", "*.[1-9][0-9]", "*.[1-9][0-9][0-9]", "*.gz", "*.bz2", "*.xz", "*.zst"]


def _paths(draft: Draft) -> None:
    files = [path for path in draft.block.patterns if path.strip() and not path.endswith("/") and "\0" not in path]
    draft.keys["paths"] = [*map(rewritten, files)]
    draft.left_out = not files
    for path in draft.block.patterns:
        if path not in files:
            draft.lose(DIFFERENTLY, None, f"{path!r} is not the path of a file; it is left out")
    if draft.get("missingok") is None:
        draft.keys["missing"] = "error"
    if "ifempty" not in draft.settings or draft.get("ifempty"):
        draft.keys["rotate_empty"] = True
    for pattern in filter(is_greedy, files):
        draft.keys["exclude"] = _ARCHIVES
        what = f"{pattern} also matches archives, which logrotate rotates again and again; exclude leaves them out"
        draft.lose(DIFFERENTLY, None, what)


_OFTEN = "if logrotor runs more often than logrotate did, it makes more archives and they cover less time"
_SLOW = "run logrotor as often as logrotate ran"


def _trigger(draft: Draft) -> None:
    found = draft.settings.get("trigger")
    low, high = _size(draft, "minsize"), _size(draft, "maxsize")
    if found is None or found.word == "size":
        low = _by_size(draft, found)
    else:
        draft.keys["schedule"] = _period(draft, found)
    if high:
        consequence = LESS if draft.counts else DIFFERENTLY
        draft.lose(consequence, draft.settings["maxsize"], f"logrotor checks it in each run; {_OFTEN}", _SLOW)
        draft.keys["max_size"] = _shown(high)
        if low is not None and low >= high:  # whatever is as large is due by its size
            del draft.keys["schedule"]
            return
    if low:
        draft.keys["min_size"] = _shown(low)


def _by_size(draft: Draft, found: Statement | None) -> int:
    """logrotate looks at the size when its timer runs, which is once a day."""
    given = None if found is None else size_of(found.value)
    if found is None:
        draft.lose(COSMETIC, None, "nothing says when to rotate; logrotate's default, a size of 1 MiB, is used")
    elif given is None:
        draft.lose(MORE, found, f"not a size, so {_DROPS}; logrotate's default, 1 MiB, is used", "correct it")
    draft.keys["schedule"] = "daily"
    return max(1, 1 << 20 if given is None else given)


def _period(draft: Draft, found: Statement) -> str:
    number = number_of(found.value) if found.value else 0
    often = LESS if draft.counts else DIFFERENTLY
    if found.word in ("hourly", "minutes"):
        draft.lose(often, found, f"logrotor rotates as often as this says; {_OFTEN}", _SLOW)
    match found.word, number:
        case "minutes", int() if number > 0 and 60 % number == 0:
            return f"*/{number} * * * *"
        case "minutes", _:
            return "hourly"
        case "weekly", 1 | 2 | 3 | 4 | 5 | 6:
            return f"0 0 * * {number}"
        case "weekly", 7:
            draft.lose(
                DIFFERENTLY, found, "logrotate waits seven days from the last rotation; logrotor rotates on Sunday"
            )
        case "monthly", int() if 1 <= number <= 28:
            return f"0 0 {number} * *"
        case "monthly", 31:
            return "0 0 L * *"
        case "monthly", 29 | 30:
            draft.lose(
                DIFFERENTLY, found, "logrotor has no such day in February, and rotates on the last of each month"
            )
            return "0 0 L * *"
        case _, int() if number == 0:
            pass
        case _:
            draft.lose(DIFFERENTLY, found, f"not a day, so {_DROPS}; logrotor rotates on the first one", "correct it")
    return found.word


def _size(draft: Draft, word: str) -> int | None:
    statement = draft.settings.get(word)
    found = None if statement is None else size_of(statement.value)
    if statement is not None and found is None:
        draft.lose(DIFFERENTLY, statement, f"not a size, so {_DROPS}; logrotor rotates without it", "correct it")
    return found


# ---------------------------------------------------------------- how much stays


def _retention(draft: Draft) -> None:
    statement = draft.settings.get("rotate")
    count = None if statement is None else number_of(statement.value)
    if statement is None:
        what = "without rotate, logrotate removes a log as it rotates it; logrotor keeps all archives"
        draft.lose(MORE, None, what, "set backup_count; where /etc/logrotate.conf sets rotate, import that file")
    elif count is None or count < -1:
        draft.lose(MORE, statement, f"not a count, so {_DROPS}; logrotor keeps all archives", "set backup_count")
    elif count == 0:
        draft.keys["backup_count"] = 1
        draft.lose(MORE, statement, "logrotate removes a log as it rotates it; logrotor keeps the last archive")
    elif count > 0:
        draft.keys["backup_count"] = count


_ETERNITY = 36_000  # days; no max_age is as long


def _age(draft: Draft) -> None:
    oldest, youngest = draft.settings.get("maxage"), draft.settings.get("minage")
    days = number_of(oldest.value) if oldest is not None else None
    if oldest is not None and (days is None or days < 0):
        draft.lose(MORE, oldest, f"not a number of days, so {_DROPS}; no archive is too old", "set max_age")
    elif oldest is not None and days and days < _ETERNITY:  # 0 days: no archive is too old
        draft.keys["max_age"] = f"{days + 1}d"  # logrotate removes what is older than so many whole days
        what = (
            "logrotate removes old archives as it rotates the log, logrotor in each run, so also those of a quiet log"
        )
        draft.lose(LESS, oldest, what, "remove max_age if these must stay")
    if youngest is not None:
        what = "logrotate does not rotate a younger log; logrotor does, so archives cover less time"
        draft.lose(LESS if draft.counts else DIFFERENTLY, youngest, what, "use a longer schedule, or min_size")


def _removal(draft: Draft) -> None:
    if mail := draft.get("mail"):
        what = "logrotate mails an archive before it removes it; logrotor removes it"
        draft.lose(LESS, mail, what, "on_archive can send each archive")
    if shred := draft.get("shred"):
        draft.lose(DIFFERENTLY, shred, "logrotate overwrites an archive before it removes it; logrotor does not")
    for group, what in (
        ("mailfirst", "no use without mail"),
        ("shredcycles", "no use without shred"),
        ("errors", "no use"),
    ):
        if group in draft.settings:
            draft.lose(COSMETIC, draft.settings[group], what)


# ---------------------------------------------------------------- how archives are stored


_CODECS = {"gzip": "gzip", "pigz": "gzip", "zstd": "zstd", "zstdmt": "zstd", "pzstd": "zstd"}
_SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
_BEFORE = "logrotor does not count or remove archives that logrotate made"
_BY_HAND = "remove them when their time has come"


def _compression(draft: Draft) -> None:
    if draft.get("compress") is None:
        draft.keys["compress"] = "none"
        return
    program, options = draft.settings.get("compresscmd"), draft.settings.get("compressoptions")
    name = os.path.basename(program.value) if program is not None else "gzip"
    codec = _CODECS.get(name, "zstd")
    draft.keys["compress"] = codec
    if program is not None and name not in _CODECS:
        draft.lose(COSMETIC, program, "logrotor compresses by itself, with zstd or gzip; zstd is used")
    level = re.fullmatch(r"-([1-9])", options.value) if options is not None else None
    if level and name in _CODECS:
        draft.keys["compress_level"] = int(level[1])
    elif options is not None:
        draft.lose(COSMETIC, options, "logrotor compresses by itself, and takes no such option")
    if draft.get("delaycompress"):
        draft.keys["keep_uncompressed"] = 1
    _suffix(draft, codec)
    if program := draft.settings.get("uncompresscmd"):
        draft.lose(COSMETIC, program, "no use without mail")


def _suffix(draft: Draft, codec: str) -> None:
    statement = draft.settings.get("compressext")
    if statement is None or statement.value == _SUFFIXES[codec]:
        return
    if statement.value in (".gz", ".zst", ".bz2", ".xz"):
        draft.lose(COSMETIC, statement, f"the names of archives end with {_SUFFIXES[codec]}")
    else:
        draft.lose(MORE, statement, f"the names of archives end with {_SUFFIXES[codec]}; {_BEFORE}", _BY_HAND)


# ---------------------------------------------------------------- how a log is taken, and made anew


def _method(draft: Draft) -> None:
    if draft.get("copytruncate"):
        draft.keys["method"] = "copytruncate"
        if draft.keys.pop("rotate_empty", False):
            draft.lose(COSMETIC, draft.get("ifempty"), "with copytruncate, logrotor makes no empty archives")
    elif copied := draft.get("copy"):
        draft.left_out = True
        what = "logrotate copies the log and leaves it as it is; logrotor cannot, so the rule is only a comment"
        draft.lose(DIFFERENTLY, copied, what, "use copytruncate, or let the program rotate its log")
    if draft.block.user == "root":
        draft.lose(COSMETIC, draft.settings["su"], "logrotor changes no group; started by root, it works as root")
    if linked := draft.get("allowhardlink"):
        draft.lose(DIFFERENTLY, linked, "logrotor refuses a log that has several names")


def _creation(draft: Draft) -> None:
    statement = draft.get("create")
    if draft.keys.get("method") == "copytruncate":  # the log stays where it is
        return
    if statement is None:
        draft.keys["create"] = False
        return
    words = statement.value.split()
    mode = int(words.pop(0), 8) if words and re.fullmatch(r"[0-7]{1,5}", words[0]) else None
    fits = mode is not None and mode & 0o200 and mode <= 0o777
    draft.keys["create_mode"] = f"{mode:04o}" if fits else "keep"
    if mode is not None and not fits:
        what = "logrotor gives no mode without write permission for the owner, or with more bits; it keeps the mode"
        draft.lose(DIFFERENTLY, statement, what)
    if words:
        what = "logrotor changes no owner: whoever has access to the old log has access to the new one, and nobody else"
        draft.lose(DIFFERENTLY, statement, what)


def _names(draft: Draft) -> None:
    dated = draft.get("dateext")
    if dated is not None:
        draft.keys["naming"] = "dated"
        what = f"archives are named like app.log-20261121T070000Z, in UTC; {_BEFORE}"
        draft.lose(MORE, dated, what, _BY_HAND)
    for word in ("dateformat", "dateyesterday", "datehourago"):
        if word in draft.settings:
            what = "archives have the moment of the rotation in their names" if dated else "no use without dateext"
            draft.lose(COSMETIC, draft.settings[word], what)
    for word in ("extension", "addextension", "start"):
        if word in draft.settings:
            what = f"archives are named like app.log.1; {_BEFORE}"
            draft.lose(MORE, draft.settings[word], what, _BY_HAND)


def _folder(draft: Draft) -> None:
    folder, made = draft.get("olddir"), draft.get("createolddir")
    if folder is not None and not re.search(r"\$[A-Za-z_{]", folder.value):
        draft.keys["archive_dir"] = f"./{folder.value}" if folder.value == "off" else folder.value
    elif folder is not None:
        draft.lose(DIFFERENTLY, folder, "logrotor takes no path with a $; archives stay beside the log", "rename it")
    if made is not None and made.value:
        draft.lose(DIFFERENTLY, made, "logrotor creates the directory with the mode of any other, and changes no owner")
