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


def by_schedule(site: Site) -> NextTick:
    """The ticks that the configuration asks for."""
    return lambda now: next_slot(site.settings.schedule, now)


def run(site: Site, connect: Callable[[], Engine], *, ticks: NextTick, now: Callable[[], datetime], wait: Wait) -> None:
    """Dispatch at each tick until ``wait`` says that it is to end. A queue out of reach is told, and tried again.

    ``connect`` is called at each tick: a connection kept for an hour between two may be dead.
    """
    while True:
        tick = ticks(now())
        if tick is None:
            return
        # In steps: a clock that is set, or a machine that slept, must not delay a tick for long.
        while (left := tick.timestamp() - now().timestamp()) > 0:
            if wait(min(left, 10.0)):
                return
        if wait(0):
            return
        try:
            dispatch(site, connect(), now())
        except QueueUnreachable as error:
            tell("job.undelivered", error=str(error), queue=site.queue)
