"""How often in a row something failed, up to now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from logrotor.model import PastOutcome
from logrotor.observe.site import Site

_LATER = 30.0  # seconds; a run marks its end in the history first, on a slow disk some time before the file last-run


def of_runs(site: Site) -> int:
    """Runs with something to do that failed, up to the last one; 0 once what failed there is mended."""
    ended = [run for run in site.runs if run.ended is not None]
    if _is_mended(site, site.last_recorded, [o for o in site.outcomes if ended and o.run == ended[-1].id]):
        return 0
    return _in_a_row([run.exit != 0 for run in ended])


def of_log(site: Site, outcomes: Sequence[PastOutcome]) -> int:
    """Runs in which something failed, up to the last one that had to do with the log; ``outcomes`` are its own."""
    failed: dict[int, bool] = {}
    for outcome in outcomes:
        if outcome.status in ("done", "failed"):
            failed[outcome.run] = failed.get(outcome.run, False) or outcome.status == "failed"
    if outcomes and _is_mended(site, outcomes[-1].time, [o for o in outcomes if o.run == outcomes[-1].run]):
        return 0
    return _in_a_row(list(failed.values()))


def _is_mended(site: Site, ended: float, outcomes: Iterable[PastOutcome]) -> bool:
    """Did a later run find nothing of it to do? Whatever fails is tried again by the next run, but a request is not."""
    later = site.last_run is not None and site.last_run > ended + _LATER
    return later and not any(o.action == "reopen" and o.status == "failed" for o in outcomes)


def _in_a_row(failed: Sequence[bool]) -> int:
    count = 0
    for each in reversed(failed):
        if not each:
            break
        count += 1
    return count
