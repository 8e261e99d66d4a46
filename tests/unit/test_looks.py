"""When a log is looked at next: simulated growth, so that no machine's speed decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logrotor.decide.looks import GROWING, LEAST, LONGEST, MOST, growth, next_look, next_try

MB = 1 << 20
RATES = st.floats(100.0, 200 * MB)  # of a slower one whole bytes tell too little, and it takes its time
SECONDS = st.floats(0.0, 300.0)  # of growth, up to the limit


def found_at(rate: float, limit: int, start: float = 0.0, look: float = MOST) -> tuple[float, int]:
    """The size at which a log that grows evenly is found due, and after how many looks: it was at rest until a look."""
    size: float = start
    pause, looks = look, 0
    while int(size) <= limit:
        before, size, looks = size, size + rate * pause, looks + 1
        pause = next_look(int(size), limit, growth(int(before), int(size), pause))
    return size, looks


@given(rate=RATES, seconds=SECONDS, start=st.floats(0, 1))
def test_a_log_that_grows_evenly_is_found_as_it_reaches_its_limit(rate: float, seconds: float, start: float) -> None:
    """By at most a twentieth of a second of its growth, or what it grew before it was first seen to grow."""
    limit = int(rate * seconds) + 1
    size, _ = found_at(rate, limit, start * limit)
    assert size <= max(limit + rate * LEAST + rate * 1e-6 + 2, start * limit + rate * MOST)


def test_half_a_second_at_50_mb_a_second() -> None:
    """What the README promises, for a log of any limit that was seen to grow before it is due."""
    rate = 50_000_000.0
    for limit in range(51 * MB, 2000 * MB, 37 * MB):
        assert found_at(rate, limit)[0] - limit <= rate * 0.5


@given(rate=RATES, seconds=SECONDS)
def test_it_is_not_looked_at_without_need(rate: float, seconds: float) -> None:
    """As many looks as there are pauses for growing logs, and a few more at the end."""
    limit = int(rate * seconds) + 1
    size, looks = found_at(rate, limit)
    assert looks <= size / rate / GROWING + 12


@given(
    size=st.none() | st.integers(0, 1 << 60),
    limit=st.none() | st.integers(1, 1 << 60),
    rate=st.floats(-1e18, 1e18, allow_nan=False),
)
def test_a_look_is_never_far_away_nor_at_once(size: int | None, limit: int | None, rate: float) -> None:
    """Whatever is known: at most a second, at least a twentieth."""
    assert LEAST <= next_look(size, limit, rate) <= MOST


def test_at_rest_it_is_looked_at_once_a_second() -> None:
    """So all logs at rest are looked at in one go."""
    assert next_look(5, 10, 0.0) == next_look(None, 10, 5.0) == next_look(5, None, 5.0) == MOST


@given(before=st.none() | st.integers(0, 1 << 60), size=st.integers(0, 1 << 60), seconds=st.floats(0, 100))
def test_growth_is_never_negative(before: int | None, size: int, seconds: float) -> None:
    """Not where a log was taken in between either: then it has grown from nothing."""
    assert growth(before, size, seconds) >= 0


def test_tries_become_rarer_up_to_a_minute() -> None:
    """A second, two, four: by a minute whole runs come as often."""
    assert [next_try(failures) for failures in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert next_try(7) == next_try(10_000) == LONGEST
