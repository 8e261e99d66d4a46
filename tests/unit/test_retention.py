"""Which archives stay: each limit alone, all together, and never more than they say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logrotor import text
from logrotor.decide.retention import Generation, decide, why_kept
from logrotor.model import LogSpec
from tests.support.facts import DAY, spec

SIZES = st.one_of(st.none(), st.integers(0, 10**6))
ROWS = st.lists(st.builds(Generation, st.floats(0, 100 * DAY), st.integers(0, 10**6)), max_size=12)
LIMITS = st.builds(
    lambda count, age, size: spec(backup_count=count, max_age=age, max_total_size=size),
    st.one_of(st.none(), st.integers(1, 12)),
    st.one_of(st.none(), st.floats(1, 100 * DAY)),
    st.one_of(st.none(), st.integers(1, 5 * 10**6)),
)


@given(LIMITS, ROWS)
def test_every_limit_holds(limits: LogSpec, row: list[Generation]) -> None:
    """What stays is within count, age and total size; the newest alone may be larger."""
    kept = [g for g, reason in zip(row, decide(limits, row), strict=True) if reason is None]
    if limits.backup_count is not None:
        assert len(kept) <= limits.backup_count
    if limits.max_age is not None:
        assert all(g.age <= limits.max_age for g in kept)
    if limits.max_total_size is not None:
        assert sum(g.size or 0 for g in kept[1:]) + (kept[0].size or 0 if len(kept) > 1 else 0) <= limits.max_total_size


@given(LIMITS, ROWS)
def test_nothing_goes_without_a_limit_that_says_so(limits: LogSpec, row: list[Generation]) -> None:
    """Each removal names a limit that is set and exceeded."""
    total = 0
    for index, (generation, reason) in enumerate(zip(row, decide(limits, row), strict=True)):
        total += generation.size or 0
        if reason is None:
            continue
        by_count = limits.backup_count is not None and index >= limits.backup_count
        by_age = limits.max_age is not None and generation.age > limits.max_age
        by_size = limits.max_total_size is not None and total > limits.max_total_size
        assert (by_count and "backup_count" in reason) or (by_age and "max_age" in reason) or (
            by_size and "max_total_size" in reason
        )  # fmt: skip


@given(ROWS, st.integers(1, 10**6))
def test_the_newest_never_goes_for_its_size(row: list[Generation], limit: int) -> None:
    """It is what the operator came to read."""
    reasons = decide(spec(max_total_size=limit), row)
    assert not reasons or reasons[0] is None


@given(ROWS)
def test_without_limits_everything_stays(row: list[Generation]) -> None:
    """Nothing in a configuration deletes by accident."""
    assert decide(spec(), row) == (None,) * len(row)
    assert why_kept(spec(), 0) == "no count, age or size limit: everything is kept"


@given(LIMITS, ROWS, st.floats(0, 100 * DAY))
def test_what_is_being_taken_stays(limits: LogSpec, row: list[Generation], age: float) -> None:
    """The log that this very run takes is not removed for its age or its size, which are not known yet."""
    assert decide(limits, [Generation(age, None), *row])[0] is None


@given(LIMITS, ROWS)
def test_size_and_count_take_the_oldest(limits: LogSpec, row: list[Generation]) -> None:
    """Among generations that are not too old, none stays that is older than one that goes."""
    young = [Generation(0, g.size) for g in row]
    gone = [reason is not None for reason in decide(limits, young)]
    assert gone == sorted(gone)


def test_a_size_limit_counts_what_goes_too() -> None:
    """Sizes add up from the newest; a small old one behind a large one does not slip through."""
    row = [Generation(0, 10), Generation(1, 100), Generation(2, 1)]
    reason = "more than max_total_size = 50 bytes"
    assert decide(spec(max_total_size=50), row) == (None, reason, reason)


def test_exactly_at_the_limit_it_stays() -> None:
    """As old, as many and as large as allowed is allowed."""
    row = [Generation(DAY, 50), Generation(DAY, 50)]
    assert decide(spec(backup_count=2, max_age=DAY, max_total_size=100), row) == (None, None)


def test_reasons_are_in_the_units_of_the_user() -> None:
    """The reason shows the limit as one would write it."""
    assert decide(spec(max_age=30 * DAY), [Generation(31 * DAY, 1)]) == ("older than max_age = 30d",)
    assert why_kept(spec(backup_count=7, max_age=DAY, max_total_size=9), 2) == (
        "3 of backup_count = 7, within max_age = 1d, within max_total_size"
    )
    shown = {1: "1s", 90: "90s", 120: "2m", 5400: "90m", 7200: "2h", 86_400: "1d", 1.5: "1.5s"}
    assert {seconds: text.duration(seconds) for seconds in shown} == shown
