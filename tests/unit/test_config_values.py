"""Single values: what is accepted, what it means, and what is refused with which words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.config import quantities, schedules, values
from logrotor.model import Codec, FreeSpace, Method

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("10MB", 10 * MB), ("512KiB", 512 * 1024), ("1.5G", 3 * 512 * MB), ("10k", 10240), ("10K", 10240),
        (1048576, MB), ("1048576", MB), ("1 MB", MB), (" 1mb ", MB), ("1TiB", MB * MB), ("1p", 1024**5), ("7B", 7),
        ("1", 1), (1, 1),
    ],
)  # fmt: skip
def test_sizes_are_1024_based(written, count):
    """10MB is 10 * 1024 * 1024 bytes, however it is spelt."""
    assert quantities.size(written) == count


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("10 potatoes", "is no size"), ("", "is no size"), ("MB", "is no size"), ("1,5G", "is no size"),
        ("-1MB", "is no size"), (-1, "is negative"), (0, '"off" switches the limit off'), ("0MB", '"off"'),
        ("0.1B", '"off"'), (True, "is no size"), (1.5, "is no size"), (math.nan, "is no size"), ("nan", "is no size"),
        (None, "is no size"), ([], "is no size"), (2**63, "larger than any file"), ("9999999P", "larger than any file"),
        ("1" * 5000, "is no size"), ("١MB", "is no size"),
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused(written, why):
    """A size that is misspelt, negative or nothing is an error, never a guess."""
    with pytest.raises(ValueError, match=why):
        quantities.size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("1h 30m", 5400), ("7d", 604800), ("2w", 1209600), ("1.5h", 5400), (60, 60),
     ("60", 60), (0.5, 0.5), (0, 0), ("0s", 0)],
)  # fmt: skip
def test_durations_add_up(written, seconds):
    """1h30m is 90 minutes; a plain number is seconds."""
    assert quantities.duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "why"),
    [("", "no duration"), ("soon", "no duration"), ("1x", "no duration"), ("1h30", "no duration"), ("1h1h", "no dur"),
     ("7D", "no duration"), (-1, "negative"), ("-1s", "no duration"), (True, "no duration"), (math.nan, "no duration"),
     (math.inf, "no duration"), ("101y", "no duration"), ("40000d", "100 years"), ([], "no duration")],
)  # fmt: skip
def test_what_is_no_duration_is_refused(written, why):
    """A duration that is misspelt is an error, never a guess."""
    with pytest.raises(ValueError, match=why):
        quantities.duration(written)


@pytest.mark.parametrize("written", [30, "30", 30.0])
def test_an_age_needs_its_unit(written):
    """max_age = 30 is 30 days in logrotate; taken for 30 seconds it would delete every archive."""
    with pytest.raises(ValueError, match='has no unit; for days write "30'):
        quantities.age(written)


@pytest.mark.parametrize("written", [0, "0d", "0"])
def test_an_age_of_nothing_is_refused(written):
    """max_age = 0 would delete every archive at once."""
    with pytest.raises(ValueError, match="no time at all"):
        quantities.age(written)


@pytest.mark.parametrize(
    ("written", "space"),
    [("10%", FreeSpace(percent=10)), ("2.5 %", FreeSpace(percent=2.5)), ("1G", FreeSpace(bytes=1024 * MB))],
)
def test_free_space_is_a_size_or_a_share(written, space):
    """Room to keep free is given in bytes or percent."""
    assert quantities.free_space(written) == space


@pytest.mark.parametrize("written", ["0%", "100%", "250%", "%", "-1%", "10 percent"])
def test_a_share_that_cannot_be_is_refused(written):
    """Keeping 100% of a file system free would delete everything."""
    with pytest.raises(ValueError, match="is no"):
        quantities.free_space(written)


@pytest.mark.parametrize(("written", "bits"), [("0664", 0o664), ("600", 0o600), ("0o640", 0o640), ("0777", 0o777)])
def test_modes_are_octal_digits_in_quotes(written, bits):
    """ "0664" means what chmod means by it."""
    assert values.mode(written) == bits


@pytest.mark.parametrize(
    ("written", "why"),
    [(664, 'octal digits "0664"'), (436, 'octal digits "0664"$'), (200, 'digits "0200" or "0310"$'),
     (9, 'digits "0664"$'), (999, 'octal digits "0664"'), ("0888", "is no mode"),
     ("1777", "more than the permission bits"), ("0444", "does not let the owner write"), ("", "is no mode"),
     (True, "is no mode"), ("rw-r--r--", "is no mode")],
)  # fmt: skip
def test_what_is_no_mode_is_refused(written, why):
    """The number 664 is ambiguous, and a log that its owner cannot write is useless."""
    with pytest.raises(ValueError, match=why):
        values.mode(written)


def test_a_backup_count_of_zero_would_delete():
    """Zero is refused, with what to write to keep everything."""
    with pytest.raises(ValueError, match='would delete the log when it is rotated; "off" keeps every archive'):
        values.backup_count(0)


@pytest.mark.parametrize("written", [-1, True, False, "7", 7.0, None])
def test_a_backup_count_is_a_whole_number(written):
    """Nothing but a whole number counts archives."""
    with pytest.raises(ValueError, match=r"too small|no whole number"):
        values.backup_count(written)


@pytest.mark.parametrize("written", ["true", 1, 0, None, "yes"])
def test_only_true_and_false_are_booleans(written):
    """Words and numbers are not taken for true or false."""
    with pytest.raises(ValueError, match="neither true nor false"):
        values.boolean(written)


def test_enums_accept_only_their_words():
    """bzip2 can be read but not be chosen."""
    parse = values.one_of(Codec, Codec.ZSTD, Codec.GZIP, Codec.NONE)
    assert parse("zstd") is Codec.ZSTD
    assert values.one_of(Method)("copytruncate") is Method.COPYTRUNCATE
    for written in ("bzip2", "ZSTD", 3, None, ["zstd"]):
        with pytest.raises(ValueError, match="is not known here"):
            parse(written)


@pytest.mark.parametrize("written", ["a/b", " a", "", "-x", "off", "a\nb", 7, "a\0"])
def test_a_name_is_never_taken_for_something_else(written):
    """Names have no slash, no control characters, and are neither an option nor "off"."""
    with pytest.raises(ValueError, match=r"is (no|empty)|holds a NUL"):
        values.name(written)


@pytest.mark.parametrize("written", ["a", "queue-workers", "web.1", "größe", "two words"])
def test_ordinary_names_are_fine(written):
    """A rule may be named in any language."""
    assert values.name(written) == written


@pytest.mark.parametrize(
    ("written", "why"),
    [("reload nginx", "is not a list"), ([], "is empty"), ([1], "item 1, 1, which is no text"), (["a\0"], "NUL"),
     ([""], "names no command"), ({}, "is not a list")],
)  # fmt: skip
def test_a_command_is_a_list(written, why):
    """A string would be a shell command, and no shell is ever run."""
    with pytest.raises(ValueError, match=why):
        values.argv(written)


def test_an_empty_argument_is_an_argument():
    """Commands may be given an empty argument."""
    assert values.argv(["x", ""]) == ("x", "")


@pytest.mark.parametrize(("written", "word"), [("USR1", "USR1"), ("SIGHUP", "HUP"), ("usr2", "USR2")])
def test_signals_have_one_spelling(written, word):
    """SIGHUP, hup and HUP are the same signal."""
    assert values.signal_name(written) == word


@pytest.mark.parametrize(
    ("written", "why"), [("FOO", "no name of a signal"), (10, "no name of a signal"), ("KILL", "cannot be handled")]
)
def test_a_signal_that_cannot_reopen_is_refused(written, why):
    """KILL ends a process; it reopens nothing."""
    with pytest.raises(ValueError, match=why):
        values.signal_name(written)


@pytest.mark.parametrize("written", ["a b", "../x", "-H", "", 5])
def test_a_unit_is_never_taken_for_an_option(written):
    """Units are plain names."""
    with pytest.raises(ValueError, match=r"is (no|empty)"):
        values.unit(written)


def test_a_directory_is_no_log():
    """paths = ["logs/"] says which glob is meant."""
    with pytest.raises(ValueError, match=r'is a directory; for the logs in it write "DIR/\*\.log"'):
        values.file_path("logs/")


def test_path_objects_are_paths():
    """The library takes pathlib paths."""
    assert values.file_path(Path("a/b.log")) == "a/b.log"


@pytest.mark.parametrize(
    ("written", "expression"),
    [("daily", "0 0 * * *"), ("Hourly", "0 * * * *"), ("weekly", "0 0 * * 0"), ("monthly", "0 0 1 * *"),
     ("yearly", "0 0 1 1 *"), ("*/5  8-18 * * mon-fri", "*/5 8-18 * * mon-fri"), ("0 0 29 2 *", "0 0 29 2 *")],
)  # fmt: skip
def test_schedules_are_names_or_cron(written, expression):
    """daily is midnight; anything else is what cron means by it."""
    assert schedules.schedule(written).expression == expression


@pytest.mark.parametrize(
    ("written", "why"),
    [("0 0 0 * * *", "6 fields; a schedule has no seconds"), ("0 0 30 2 *", "bad day-of-month"),
     ("0 0 */30 2 MON#5", "no such day comes in 50 years"), ("61 * * * *", "bad minute"), ("fortnightly", "1 field,"),
     ("@daily", "write it without the @"), ("", "is no schedule"), (5, "is no schedule"), ("* * * *", "4 fields"),
     ("0 25 * * *", "bad hour")],
)  # fmt: skip
def test_an_impossible_schedule_is_refused(written, why):
    """A schedule that never comes would be a log that is never rotated."""
    with pytest.raises(ValueError, match=why):
        schedules.schedule(written)


@given(st.text(alphabet="0123456789*/,-#LWMONJAN ", max_size=20) | st.text(max_size=10))
def test_no_schedule_crashes(written):
    """Whatever stands there is a schedule or an error."""
    try:
        assert schedules.schedule(written).expression
    except ValueError as error:
        assert str(error).startswith(("is no schedule", "has 6 fields"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), ("a" * 100, "'" + "a" * 56 + "..."), (7, "7"), (None, "None")],
)
def test_values_are_shown_short(value, text):
    """A message stays readable whatever the value is."""
    assert values.shown(value) == text


def test_a_huge_number_is_shown_in_words():
    """Python refuses to print numbers of thousands of digits; the message comes all the same."""
    assert values.shown(10**5000) == "a huge number"
