"""How much of a sweep is made. All of it with LOGROTOR_EXHAUSTIVE=1 (over an hour on two cores), else a part by a fixed
rule that leaves out no scenario, no company, no operation and no errno.
"""

from __future__ import annotations

import os

EXHAUSTIVE = os.environ.get("LOGROTOR_EXHAUSTIVE", "0") != "0"


def is_chosen(number: int, every: int, offset: int = 0) -> bool:
    """One of ``every``; who gives another ``offset`` to each row of a table leaves no column of it empty."""
    return EXHAUSTIVE or (number + offset) % every == 0
