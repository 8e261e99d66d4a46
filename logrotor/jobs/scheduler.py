"""The one small loop: a job at each tick of the schedule. A late or a double tick does no harm."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from logrotor.decide.schedule import next_slot
from logrotor.jobs.dispatch import dispatch
from logrotor.jobs.engine import Engine, QueueUnreachable
from logrotor.jobs.log import tell
from logrotor.jobs.site import Site

Wait = Callable[[float], bool]  # seconds -> whether the loop is to end
NextTick = Callable[[datetime], datetime | None]
_STEP = 10.0  # seconds


def by_schedule(site: Site) -> NextTick:
    """The ticks that the configuration asks for."""
    return lambda now: next_slot(site.settings.schedule, now)


def run(site: Site, connect: Callable[[], Engine], *, ticks: NextTick, now: Callable[[], datetime], wait: Wait) -> None:
    """Dispatch at each tick until ``wait`` says that it is to end. A queue out of reach is told, and tried again.

    ``connect`` is called at each tick: a connection kept for an hour between two may be dead.
    """
    while _awaited(ticks, now, wait):
        try:
            dispatch(site, connect(), now())
        except QueueUnreachable as error:
            tell("job.undelivered", error=str(error), queue=site.queue)


def _awaited(ticks: NextTick, now: Callable[[], datetime], wait: Wait) -> bool:
    """Whether the next tick has come; False: there is none, or the loop is to end."""
    tick = ticks(now())
    # In steps, and asked anew in each: a machine that slept, or a clock that was set back by a day, must not delay
    # a tick for long.
    while tick is not None and (left := tick.timestamp() - now().timestamp()) > 0:
        if wait(min(left, _STEP)):
            return False
        earlier = ticks(now())
        if earlier is not None and earlier.timestamp() < tick.timestamp():
            tick = earlier
    return tick is not None and not wait(0)
