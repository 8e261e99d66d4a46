"""How sizes, times, names and tables look."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor import text
from logrotor.cli import output

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_900_000, "12.3 MiB"),
        (1024**3 - 1, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (None, "-"),
    ],
)
def test_size(count, shown):
    """Sizes are 1024-based, with one decimal."""
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (90, "1 min 30 s"), (5400, "1 h 30 min"), (36000, "10 h"), (200000, "2 d 7 h")],
)
def test_span(seconds, shown):
    """A span is told in its largest units."""
    assert text.span(seconds) == shown


def test_moment():
    """A moment has its distance from now."""
    assert text.moment(NOW + timedelta(hours=3), NOW) == "2026-11-22 01:30 +01:00 (in 3 h)"
    assert text.moment(NOW - timedelta(seconds=5), NOW).endswith("22:29:55 +01:00 (5 s ago)")


@given(st.binary())
def test_any_name_is_printable(name):
    """Whatever bytes a name has, what is shown cannot act on a terminal."""
    shown = text.printable(os.fsdecode(name))
    shown.encode()
    assert shown.isprintable()


@pytest.mark.parametrize("name", ["app.log", "müll log", "a\\b"])
def test_harmless_names_stay(name):
    """A name without anything dangerous is shown as it is."""
    assert text.printable(name) == name


def test_direction_marks_are_escaped():
    """A name cannot turn the direction of the line."""
    assert text.printable("a\u202eb\x85") == "a\\u202eb\\x85"


def test_table():
    """Columns are aligned, cells escaped, and lines end without blanks."""
    rows = [("a", "1", "x"), ("long\n", "10", "")]
    assert output.table(rows, indent=" ", right=frozenset({1})) == [" a        1  x", " long\\n  10"]
