"""Single values: what is accepted, what it means, and what is refused with which advice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor import text
from logrotor.config import paths, values
from logrotor.config.values import Invalid
from logrotor.model import Codec, FreeSpace, Method

MB = 1024 * 1024
codec = values.one_of((Codec.ZSTD, Codec.GZIP, Codec.NONE))

# What is written, and what it means.
ACCEPTED: list[tuple[Callable[[object], Any], dict[Any, Any]]] = [
    (
        values.size,  # 1024-based, however it is spelt
        {
            "10MB": 10 * MB, "512KiB": 512 * 1024, "1.5G": 3 * 512 * MB, "10k": 10240, "10K": 10240, 1048576: MB,
            "1048576": MB, "1 MB": MB, " 1mb ": MB, "1TiB": MB * MB, "1p": 1024**5, "7B": 7, "1": 1, 1: 1,
        },
    ),
    (
        values.duration,  # parts add up, a plain number is seconds
        {
            "90s": 90, "1h30m": 5400, "1h 30m": 5400, "7d": 604800, "2w": 1209600, "1.5h": 5400, 60: 60, "60": 60,
            0.5: 0.5, 0: 0, "0s": 0,
        },
    ),
    (values.age, {"12h": 43200, "1h30m": 5400, "2w": 1209600}),
    (
        values.free_space,
        {"10%": FreeSpace(percent=10), "2.5 %": FreeSpace(percent=2.5), "1G": FreeSpace(bytes=1024 * MB)},
    ),
    (values.mode, {"0664": 0o664, "600": 0o600, "0o640": 0o640, "0777": 0o777, "keep": "keep"}),
    (values.user, {"www-data": "www-data", "33": "33", 33: "33", 0: "0"}),
    (codec, {"zstd": Codec.ZSTD, "none": Codec.NONE}),
    (values.one_of(Method), {"copytruncate": Method.COPYTRUNCATE}),
    (values.name, {word: word for word in ("a", "queue-workers", "web.1", "größe", "two words")}),
    (values.argv, {("x", ""): ("x", "")}),  # an empty argument is one
    (values.signal_name, {"USR1": "USR1", "SIGHUP": "HUP", "usr2": "USR2"}),
    (paths.file_path, {Path("a/b.log"): "a/b.log"}),
    (
        lambda written: values.schedule(written).expression,
        {
            "daily": "0 0 * * *", "Hourly": "0 * * * *", "weekly": "0 0 * * 0", "monthly": "0 0 1 * *",
            "yearly": "0 0 1 1 *", "*/5  8-18 * * mon-fri": "*/5 8-18 * * mon-fri", "0 0 29 2 *": "0 0 29 2 *",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "written", "meant"), [(parse, *each) for parse, cases in ACCEPTED for each in cases.items()]
)
def test_what_is_accepted(parse: Callable[[object], Any], written: object, meant: object) -> None:
    """Each spelling means what a reader of the configuration would say."""
    assert parse(written) == meant


NO_TEXT = [7, None, True, ["a"], {}]
# What is refused, with what the advice says where the user most likely meant something else.
REFUSED: list[tuple[Callable[[object], Any], str, list[object]]] = [
    (values.size, "", ["10 potatoes", "", "MB", "1,5G", "-1MB", -1, True, 1.5, math.nan, "nan", None, [], 2**63,
                       "9999999P", "1" * 5000, "١MB"]),
    (values.size, '"off"', [0, "0MB", "0.1B"]),
    (values.duration, "", ["", "soon", "1x", "1h30", "1h1h", "7D", -1, "-1s", True, math.nan, math.inf, "101y",
                           "40000d", []]),
    (values.positive_duration, "", [0, "0s", "0"]),
    (values.age, "", [0, "0d", "0"]),  # would remove every archive at once
    (values.age, 'for days write "30', [30, "30", 30.0]),  # 30 days in logrotate
    (values.free_space, "", ["0%", "100%", "250%", "%", "-1%", "10 percent"]),
    (values.mode, 'the octal digits "0664"', [664, 0o664, 9, 999]),
    (values.mode, '"0200" or "0310"', [200]),
    (values.user, "", ["", "a/b", -1, True, 2**32 - 1, 1.5]),
    (values.mode, "", ["0888", "1777", "0444", "", True, "rw-r--r--"]),
    (values.backup_count, '"off" keeps every archive', [0]),
    (values.backup_count, "", [-1, True, False, "7", 7.0, None]),
    (values.boolean, "", ["true", 1, 0, None, "yes"]),
    (codec, "", ["bzip2", 3, None, ["zstd"]]),  # bzip2 can be read but not be chosen
    (codec, "'zstd'", ["ZSTD"]),
    (values.name, "", ["a/b", " a", "", "-x", "off", "a\nb", "a\0", *NO_TEXT]),
    (values.unit, "", ["a b", "../x", "-H", "", *NO_TEXT]),
    (values.argv, "put it in [ ]", ["reload nginx"]),
    (values.argv, "", [[], [1], ["a\0"], [""], {}]),
    (values.signal_name, "", ["FOO", 10, "KILL", "STOP"]),
    (paths.file_path, '"DIR/*.log"', ["logs/"]),
    (paths.textfile, "", ["x.txt"]),
    (values.schedule, "", ["0 0 30 2 *", "0 0 */30 2 MON#5", "61 * * * *", "fortnightly", "", 5, "* * * *",
                           "0 25 * * *"]),
    (values.schedule, "drop the first one", ["0 0 0 * * *"]),
    (values.schedule, "without the @", ["@daily"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "written", "advice"), [(parse, each, advice) for parse, advice, cases in REFUSED for each in cases]
)
def test_what_is_refused(parse: Callable[[object], Any], written: object, advice: str) -> None:
    """What is misspelt, ambiguous, impossible or harmful is an error, never a guess."""
    with pytest.raises(Invalid) as caught:
        parse(written)
    assert caught.value.problem and advice in caught.value.advice
    assert str(caught.value).startswith(caught.value.problem)


@given(st.text(alphabet="0123456789*/,-#LWMONJAN ", max_size=20) | st.text(max_size=10))
def test_no_schedule_crashes(written: str) -> None:
    """Whatever stands there is a schedule or an error."""
    try:
        assert values.schedule(written).expression
    except Invalid as error:
        assert error.problem


@given(st.integers(0, 10**9) | st.integers(0, 10**7).map(lambda n: n / 10))
def test_a_duration_is_spelt_as_it_is_read(seconds: float) -> None:
    """What a message shows can be written into the configuration, and means the same."""
    assert values.duration(text.duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"), ("a" * 100, "'" + "a" * 56 + "..."), (7, "7"), (None, "None"), (Path("a"), "'a'"),
        pytest.param(10**5000, "a huge number", id="huge"),  # Python refuses to print numbers of thousands of digits
    ],
)  # fmt: skip
def test_values_are_shown_short(value: object, shown: str) -> None:
    """A message stays readable whatever the value is."""
    assert values.shown(value) == shown
