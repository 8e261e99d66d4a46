"""The local clock: which zone it goes by."""

from __future__ import annotations

import pickle
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logrotor.clock import local_now, local_zone, zone_from_bytes
from logrotor.decide.schedule import latest_slot

ZONEINFO = Path("/usr/share/zoneinfo")
SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)
WINTER = datetime(2026, 12, 1, 12, tzinfo=UTC)


def hours(zone, moment):
    return moment.astimezone(zone).utcoffset().total_seconds() / 3600


@pytest.mark.parametrize("setting", ["Europe/Berlin", ":Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_tz_sets_the_zone_with_its_clock_changes(setting):
    """TZ is honoured in every way that the C library knows."""
    zone = local_zone({"TZ": setting})
    assert (hours(zone, SUMMER), hours(zone, WINTER)) == (2, 1)


@pytest.mark.parametrize("setting", ["", "Nowhere/Atlantis", "../../etc/passwd", "/etc/passwd", "/nonexistent", "!!9"])
def test_a_tz_that_is_no_zone_means_utc(setting):
    """A misspelt TZ is UTC, as it is for the processes that write the logs."""
    assert hours(local_zone({"TZ": setting}), SUMMER) == 0


@pytest.mark.skipif(not (ZONEINFO / "Europe/Berlin").exists(), reason="needs the system's time zones")
class TestLocaltime:
    def test_a_link_into_zoneinfo_gives_its_name(self, tmp_path):
        """/etc/localtime as a link is a zone with a name."""
        (tmp_path / "localtime").symlink_to(ZONEINFO / "Europe/Berlin")
        assert str(local_zone({}, localtime=str(tmp_path / "localtime"))) == "Europe/Berlin"

    def test_a_copy_works_too(self, tmp_path):
        """/etc/localtime mounted into a container as a plain file has its clock changes."""
        shutil.copy(ZONEINFO / "Europe/Berlin", tmp_path / "localtime")
        zone = local_zone({}, localtime=str(tmp_path / "localtime"))
        assert (hours(zone, SUMMER), hours(zone, WINTER)) == (2, 1)

    def test_a_moment_in_a_zone_without_a_name_pickles(self, tmp_path):
        """A report goes through a queue whatever /etc/localtime is."""
        shutil.copy(ZONEINFO / "Europe/Berlin", tmp_path / "localtime")
        moment = SUMMER.astimezone(local_zone({}, localtime=str(tmp_path / "localtime")))
        again = pickle.loads(pickle.dumps(moment))
        assert (again, again.utcoffset()) == (moment, moment.utcoffset())


def test_without_localtime_it_is_utc(tmp_path):
    """A bare container runs on UTC."""
    assert local_zone({}, localtime=str(tmp_path / "none")) is UTC


def test_a_posix_rule_has_slots():
    """Schedules work in a zone that is only a rule."""
    zone = local_zone({"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"})
    now = datetime(2026, 3, 29, 12, tzinfo=zone)
    slot = latest_slot("30 2 * * *", now)
    assert slot is not None
    assert slot.isoformat() == "2026-03-29T03:00:00+02:00"


def test_local_now_is_aware_and_now():
    """The clock knows its zone."""
    now = local_now({"TZ": "Asia/Kathmandu"})
    assert now.utcoffset() is not None
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60


def test_bytes_that_are_no_zone_are_refused():
    """A damaged zone file is an error that says so, not a wrong time."""
    with pytest.raises(ValueError, match="magic"):
        zone_from_bytes(b"not a zone")
