"""Say what is wrong when it begins, when it changes, when it ends, and once an hour: not in each run of a cron line.

What was printed is remembered in a file of the state directory. Where that cannot be read or written, all is printed;
so it is after a crash, since the file is written at the end of a run.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from logrotor.disk import state
from logrotor.errors import LogrotorError
from logrotor.events import Event, Fields, made
from logrotor.text import printable

# What each run finds again as long as it lasts; anything else is printed in any case.
_LASTING = frozenset(
    {
        "user.changed",
        "lock.held",
        "log.refused",
        "rotation.failed",
        "reopen.failed",
        "archive.failed",
        "hook.failed",
        "problem.found",
        "run.failed",
    }
)
_WHOLE = "run.failed"  # nothing ran: of this each run sees all, and of the others nothing
_ONCE = frozenset({"logs.vanished"})  # it may be meant so, and the history will not forget them soon
_AGAIN = 3600.0 - 30.0  # seconds; cron is not exact
_KEPT = 31 * 86400.0  # seconds, for runs of another scope: their cron line may have gone, or come once a month


class _Known(Struct, kw_only=True):
    """A problem that was printed, by what it is, never by its words."""

    scope: tuple[str, ...]  # of the runs that find it: their configuration and options
    event: str
    subject: str
    kind: str
    since: float
    printed: float
    runs: int = 1

    @property
    def identity(self) -> tuple[object, ...]:
        return self.scope, self.event, self.subject, self.kind


class Damper:
    """Decides for the events of one run, which has looked at everything in ``scope``, whether they are printed."""

    def __init__(self, state_dir: str, scope: tuple[str, ...], now: float) -> None:
        self._state_dir, self._scope, self._now = state_dir, scope, now
        self._known: dict[tuple[object, ...], _Known] = {}
        self._found: dict[tuple[object, ...], bool] = {}  # of this run: is it printed?
        self._silenced: list[Event] = []
        self._read()

    def _read(self) -> None:
        with suppress(LogrotorError, OSError, ValueError):  # then all that is found is new
            known = msgspec.json.decode(state.known_problems(self._state_dir) or b"[]", type=list[_Known])
            self._known = {each.identity: each for each in known}

    def filter(self, event: Event) -> Event | None:
        """The event as it is printed; None: it was printed before, and nothing has changed."""
        if event.name not in _LASTING | _ONCE:
            return event
        subject = event.subject or str(event.fields.get("log") or event.fields.get("target") or "")
        found = _Known(
            scope=self._scope, event=event.name, subject=printable(subject), kind=printable(event.kind),
            since=self._now, printed=self._now,
        )  # fmt: skip
        known = self._known.setdefault(found.identity, found)
        if found.identity not in self._found:
            self._found[found.identity] = self._is_printed(known, is_new=known is found)
        if not self._found[found.identity]:
            self._silenced.append(event)
            return None
        return event if known is found else _with_past(event, known)

    def _is_printed(self, known: _Known, *, is_new: bool) -> bool:
        if is_new:
            return True
        known.runs += 1
        if known.event in _ONCE or 0 <= self._now - known.printed < _AGAIN:
            return False
        known.printed = self._now
        return True

    def settle(self, show: Callable[[Event], None], *, whole: bool) -> None:
        """At the end of a run: print what has ended, and remember the rest. Not ``whole``: not all was looked at."""
        ended = [
            each for each in self._known.values() if each.identity not in self._found and each.scope == self._scope
        ]
        ended = [each for each in ended if whole or each.event == _WHOLE]
        if not (self._found or ended):
            return
        changed = {self._known[identity].subject for identity in self._found}
        for each in ended:
            del self._known[each.identity]
            if each.subject not in changed:
                show(_ending(each))
        try:
            state.keep_problems(self._state_dir, msgspec.json.encode(self._kept()))
        except (LogrotorError, OSError):
            for event in self._silenced:
                show(event)

    def _kept(self) -> list[_Known]:
        return [each for each in self._known.values() if self._now - each.printed < _KEPT]


def _with_past(event: Event, known: _Known) -> Event:
    return msgspec.structs.replace(event, fields={**event.fields, "since": _shown(known.since), "runs": known.runs})


def _ending(known: _Known) -> Event:
    fields: Fields = {
        "problem": known.event,
        "subject": known.subject,
        "since": _shown(known.since),
        "runs": known.runs,
    }
    return made("problem.ended", fields)


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(" ", "seconds")
