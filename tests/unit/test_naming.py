"""The name grammar: what is ours, and nothing else."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.decide.naming import (
    aside_name,
    format_archive,
    is_ours,
    longest_base,
    parse_archive,
    parse_aside,
    parse_replacement,
    parse_temp,
    replacement_name,
    stamp_of,
    stamp_time,
    temp_name,
)
from logrotor.model import ArchiveName, Codec, Naming

# Any bytes but "/" and NUL may be a file name; these are likely to confuse the grammar.
BASES = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda b: os.fsdecode(b.replace(b"/", b"_").replace(b"\0", b"_"))),
    st.text(st.sampled_from(".-0123456789TZgz \nlog"), min_size=1, max_size=30),
    st.sampled_from(["app.log", "a", ".hidden", "app.1", "app.gz", "a-20260101T000000Z", "a.log.1.gz", "-", "1", "."]),
)
CODECS = st.sampled_from(list(Codec))
STAMPS = st.integers(0, 4_102_444_800).map(stamp_of)
NUMBERED = st.builds(ArchiveName, BASES, slot=st.integers(1, 999_999_999), codec=CODECS)
DATED = st.builds(ArchiveName, BASES, stamp=STAMPS, copy=st.integers(0, 999_999_999), codec=CODECS)


@given(st.one_of(NUMBERED, DATED))
def test_what_is_written_is_read_back(name: ArchiveName) -> None:
    """Whatever the log is called, its archives' names say which log, slot or time, and codec."""
    assert parse_archive(format_archive(name)) == name


@given(
    st.one_of(BASES, st.builds(lambda b, tail: b + tail, BASES, st.from_regex(r"[.\-0-9TZgzbx]{0,24}", fullmatch=True)))
)
def test_what_is_read_is_written_back(text: str) -> None:
    """A name that is taken for an archive is the very name that the parts would make: none is taken by chance."""
    name = parse_archive(text)
    assert name is None or format_archive(name) == text


@given(BASES)
def test_temps_lead_back_to_their_log(base: str) -> None:
    """A replacement and an unfinished archive name their log, and are ours."""
    archive = ArchiveName(base, slot=1, codec=Codec.ZSTD)
    assert parse_replacement(replacement_name(base)) == base
    assert parse_temp(temp_name(format_archive(archive))) == archive
    assert parse_aside(aside_name(format_archive(archive))) == archive
    assert is_ours(replacement_name(base)) and is_ours(temp_name(format_archive(archive)))
    assert is_ours(aside_name(format_archive(archive))) and parse_temp(aside_name(format_archive(archive))) is None


@pytest.mark.parametrize(
    "name",
    [
        "app.log", "app.log.0", "app.log.01", "app.log.1.GZ", "app.log.1.lz4", "app.log.1.gz.zst", "app.log.1 ",
        "app.log.1.gz.tmp", "app.log.-1", "app.log.1a", "app.log.", "app.log.gz", ".1", ".gz", "", "1",
        "app.log.1234567890",
        "app.log.\u0661", "app.log.1\n", "laravel-2025-10-09.log", "app.log-20251009", "app.log-2025-10-09",
        "app.log-20251009T101112", "app.log-20251309T101112Z", "app.log-20250230T000000Z", "app.log-20251009T241112Z",
        "app.log-20251009T101160Z", "app.log-00001009T101112Z", "app.log-20251009T101112Z-0",
        "app.log-20251009T101112Z-01",
        "app.log-20251009T101112Z-", "app.log-20251009T101112z", "-20251009T101112Z", "app.log20251009T101112Z",
        ".app.log.new.tmp", "app.log.new", ".app.log.tmp", ".new", "..new", ".tmp", "..tmp", ".app.log.1.gz.TMP",
    ],
)  # fmt: skip
def test_names_that_are_not_ours(name: str) -> None:
    """Logs of a daily channel, other rotators' names, near misses and impossible dates are never touched."""
    assert not is_ours(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app.log.1", ArchiveName("app.log", 1)),
        ("app.log.10.gz", ArchiveName("app.log", 10, codec=Codec.GZIP)),
        ("app.log.2.bz2", ArchiveName("app.log", 2, codec=Codec.BZIP2)),
        ("app.log.3.xz", ArchiveName("app.log", 3, codec=Codec.XZ)),
        ("app.log.1.2.zst", ArchiveName("app.log.1", 2, codec=Codec.ZSTD)),
        ("app-20261121T070000Z", ArchiveName("app", stamp="20261121T070000Z")),
        ("app-20261121T070000Z-2.gz", ArchiveName("app", stamp="20261121T070000Z", copy=2, codec=Codec.GZIP)),
        ("a\nb.log.1", ArchiveName("a\nb.log", 1)),
    ],
)
def test_names_that_are_ours(text: str, name: ArchiveName) -> None:
    """Slots and UTC stamps, with the codec's suffix, newlines in file names included."""
    assert parse_archive(text) == name


@given(st.integers(0, 4_102_444_800), st.floats(0, 0.999))
def test_a_stamp_is_its_second(second: int, fraction: float) -> None:
    """A stamp is UTC, floored to the second, and reads back as that second."""
    assert stamp_time(stamp_of(second + fraction)) == second


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_time_of_a_file_makes_a_name(moment: float) -> None:
    """touch(1) can give a file any time; its stamp is a name of ours all the same."""
    assert parse_archive(f"app.log-{stamp_of(moment)}") is not None


@given(st.integers(0, 4_102_444_800), st.integers(0, 4_102_444_800))
def test_stamps_sort_like_their_times(one: int, other: int) -> None:
    """The order of stamps as text is the order of time."""
    assert (stamp_of(one) < stamp_of(other)) == (one < other)


@pytest.mark.parametrize("base", ["x", "ü"])
def test_no_name_gets_too_long(base: str) -> None:
    """A log that is let through has room for the longest name that may ever lie beside it."""
    last, stamp = 999_999_999, stamp_of(0)
    for naming, slot, moment, copy in ((Naming.NUMBERED, last, None, 0), (Naming.DATED, None, stamp, last)):
        longest = os.fsdecode((os.fsencode(base) * 255)[: longest_base(naming)])
        name = ArchiveName(longest, slot, moment, copy, Codec.ZSTD)
        assert len(os.fsencode(aside_name(format_archive(name)))) == 255
