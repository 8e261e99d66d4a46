"""A copytruncate that was killed, met by another configuration before its own next run comes.

Nothing but the files tells the other one of it: its state directory is another. Killed at each changing call, whatever
the other one does then, and whoever comes next: each line stands once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.proof.test_copies import Place, disk, every_kill

__all__ = ["disk"]

OTHERS: dict[str, dict[str, Any]] = {
    "cuts": {"compress": "none"},
    "cuts and compresses": {"compress": "gzip"},
    "cuts and moves": {"archive_dir": "old"},
    "cuts and dates": {"naming": "dated", "compress": "none"},
    "renames": {"method": "rename", "compress": "none"},
    "renames and compresses": {"method": "rename", "compress": "gzip"},
    "renames and moves": {"method": "rename", "archive_dir": "old"},
    "renames and dates": {"method": "rename", "naming": "dated"},
}
ORDERS = ["ba", "bba", "bcab"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("followed", [True, False], ids=["followed", "alone"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("beats", [False, True], ids=["lines", "beats"])
def test_killed_and_met_by_another_configuration(
    disk: Path, beats: bool, other: str, followed: bool, order: str
) -> None:
    """Killed before any change; the log grows, the other configurations come first: no line is lost or doubled."""
    keys = {"a": {"compress": "none"}, "b": OTHERS[other], "c": {"compress": "zstd"}}
    wrong = []

    def write(place: Place, count: int) -> None:
        (place.beat if beats else place.write)(count)

    for nth, place in every_kill(disk, lambda place: write(place, 600), followed, **keys["a"]):
        write(place, 600)
        said = []
        for which in order:
            report = place.rotator(which, **keys[which]).run()
            said += [f"{which}: {outcome.action}: {outcome.reason}" for outcome in report.failed]
            write(place, 3)
        fault = _fault(place, beats)
        if said or fault:
            wrong.append(f"killed before {nth}: {fault} {said} {sorted(os.listdir(place.logs))}")
    assert not wrong, f"{len(wrong)} points: " + "\n".join(wrong)


def _fault(place: Place, beats: bool) -> str:
    if beats:
        return "" if place.beats() == place.written else f"{place.beats()} of {place.written} beats"
    tally = place.tally()
    return "" if tally.clean else f"{tally}"
