"""Two logs of one name cannot have one archive directory: whoever is asked for, and whatever is there just now.

Nor is everything ours that lies in one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from logrotor import Rotator, load_config
from logrotor.model import Report
from tests.support import oracle


class Site:
    """Two directories with an ``app.log`` each, and what was written into them."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / "store"
        self.written: dict[str, int] = {}
        for name in ("a", "b"):
            (root / name).mkdir()

    def write(self, name: str) -> None:
        first = self.written.get(name, 0) + 1
        self.written[name] = first + 9
        with open(self.root / name / "app.log", "ab") as log:
            log.write(oracle.lines(name, first, first + 9))

    def run(self, rules: dict[str, dict[str, Any]], only: tuple[str, ...] = ()) -> Report:
        """``rules``: what the rules of ``a`` and ``b`` say, in their order."""
        logs = []
        for name, keys in rules.items():
            rule = {"name": name, "paths": [f"{self.root}/{name}/app.log"], "max_size": 10, "backup_count": 1}
            logs.append({**rule, "archive_dir": str(self.store), **keys})
        config = load_config({"state_dir": str(self.root / "state"), "log": logs})
        return Rotator(config).run(only=only)

    def globs(self) -> dict[str, dict[str, Any]]:
        return {name: {"paths": [f"{self.root}/{name}/*.log"]} for name in ("a", "b")}

    def is_whole(self, *places: str) -> None:
        """Each line stands once, in the places named and in the archive directory."""
        oracle.count([*(self.root / place for place in places), self.store], "app.log", expected=self.written).check()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refused(report: Report) -> list[str]:
    """Logs whose archive directory has archives of another log of their name."""
    return [
        log.path for log in report.plan.logs if log.refused is not None and "another archive_dir" in log.refused.advice
    ]


def test_the_second_is_refused_also_where_it_alone_is_asked_for(site: Site) -> None:
    """``--only`` changes nothing about whose the archives are."""
    site.write("a")
    site.write("b")
    wrong = [f"{site.root}/b/app.log"]
    assert refused(site.run({"a": {}, "b": {}})) == wrong
    assert refused(site.run({"a": {}, "b": {}}, only=("b",))) == wrong
    site.is_whole("a", "b")


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "in a refused directory"])
def test_archives_of_a_log_that_is_not_seen(site: Site, is_gone: bool) -> None:
    """They stay its own: it may come back, and somebody may look for them."""
    site.write("a")
    assert site.run(site.globs()).exit_code == 0
    site.write("b")
    if is_gone:
        (site.root / "a" / "app.log").unlink()
    else:
        (site.root / "a").chmod(0o777)
    assert refused(site.run(site.globs())) == [f"{site.root}/b/app.log"]
    site.is_whole(*([] if is_gone else ["a"]), "b")


def test_the_directory_of_another_log(site: Site) -> None:
    """What lies beside a log is its own."""
    site.write("a")
    site.write("b")
    rules = {"a": {"archive_dir": "off"}, "b": {"archive_dir": "../a"}}
    site.store.mkdir()
    assert refused(site.run(rules)) == [f"{site.root}/b/app.log"]
    assert refused(site.run(rules, only=("b",))) == [f"{site.root}/b/app.log"]
    site.is_whole("a", "b")


def test_a_directory_that_another_log_has_got(site: Site) -> None:
    """The archives that the one had there were removed by hand; now the other has its own there."""
    site.write("b")
    site.run({"b": {}})
    for archive in site.store.iterdir():
        archive.unlink()
    del site.written["b"]
    rules = {"a": {"backup_count": 5}, "b": {"archive_dir": str(site.root / "store of b")}}
    for _ in range(3):
        site.write("a")
        (site.root / "b" / "app.log").write_bytes(b"of no interest\n")
        report = site.run(rules)
        assert (report.exit_code, report.rotated) == (0, 2)
    site.is_whole("a")


def test_a_directory_in_which_another_log_still_has_archives(site: Site) -> None:
    """They are not taken for those of the log that is to have them there from now on."""
    site.write("b")
    site.run({"b": {}})
    site.write("a")
    rules = {"a": {}, "b": {"archive_dir": str(site.root / "store of b")}}
    assert refused(site.run(rules)) == [f"{site.root}/a/app.log"]
    site.is_whole("a", "b")


def test_a_log_that_moved_keeps_its_archives(site: Site) -> None:
    """Its old place is in no rule any more, as after a release: nobody else can mean these archives."""
    site.write("a")
    site.run({"a": {}})
    site.write("b")
    (site.root / "a" / "app.log").unlink()
    report = site.run({"b": {"backup_count": 5}})
    assert (report.exit_code, report.rotated) == (0, 1)
    assert sorted(os.listdir(site.store)) == ["app.log.1.zst", "app.log.2.zst"]
    site.is_whole()


def test_another_configuration_has_archives_of_this_name(site: Site) -> None:
    """By the state directory that both share; as long as its log is there, they are not taken over."""
    for _ in range(2):
        site.write("a")
        assert site.run({"a": {"backup_count": 5}}).exit_code == 0
        site.write("b")
        report = site.run({"b": {"backup_count": 5}})
        assert (report.exit_code, refused(report), report.rotated) == (1, [], 1)
        assert "app.log.1.zst" in os.listdir(site.root / "b")
    advice = f"give rule b another archive_dir, or remove or rename {site.root}/a/app.log if nobody writes it any more"
    assert report.problems[0].advice == advice
    assert site.run({"b": {"backup_count": 5, "archive_dir": str(site.root / "store of b")}}).exit_code == 0
    site.is_whole("a", "b", "store of b")


# ---------------------------------------------------------------- files of others


def others(site: Site, *names: str) -> dict[str, bytes]:
    """Files of other programs in the archive directory, which stay as they are."""
    site.store.mkdir(exist_ok=True)
    for name in names:
        (site.store / name).write_bytes(b"a line of another program\n")
    return {name: (site.store / name).read_bytes() for name in names}


def kept(site: Site, files: dict[str, bytes]) -> bool:
    return all((site.store / name).read_bytes() == content for name, content in files.items())


@pytest.mark.parametrize("place", ["store", "a/old"])
def test_archives_of_other_programs(site: Site, place: str) -> None:
    """What lies beside its live log is its own; elsewhere, so is what we did not put there.

    Within the directory of the logs a name of ours is ours, as it is beside the logs.
    """
    site.store = site.root / place
    files = others(site, "dpkg.log", "dpkg.log.1", "dpkg.log.2", "dpkg.log.3")
    others(site, "kern.log.1")
    ours = [] if place == "store" else [f"{site.root}/a/kern.log"]
    for _ in range(2):
        site.write("a")
        report = site.run({"a": site.globs()["a"]})
        assert report.exit_code == 0 and [log.path for log in report.plan.logs] == [f"{site.root}/a/app.log", *ours]
    assert kept(site, files)
    left = set(os.listdir(site.store)) - set(files)
    assert left == {"app.log.1.zst", "kern.log.1.zst" if ours else "kern.log.1"}


def test_a_log_that_is_gone_still_ages(site: Site) -> None:
    """The history knows whose its archives are, also where two directories share the archive directory."""
    for _ in range(3):
        site.write("a")
        site.run({"a": site.globs()["a"] | {"backup_count": 3}, "b": site.globs()["b"]})
    (site.root / "a" / "app.log").unlink()
    site.run(site.globs())
    assert os.listdir(site.store) == ["app.log.1.zst"]


def test_a_log_that_is_gone_and_the_history_as_well(site: Site) -> None:
    """Nobody can tell any more whose archives these are: they stay, until their log comes back."""
    for _ in range(3):
        site.write("a")
        site.run({"a": site.globs()["a"] | {"backup_count": 3}})
    (site.root / "a" / "app.log").unlink()
    (site.root / "state" / "history.sqlite").unlink()
    assert site.run({"a": site.globs()["a"]}).plan.is_idle
    site.is_whole()
    (site.root / "a" / "app.log").touch()
    site.run({"a": site.globs()["a"]})
    assert os.listdir(site.store) == ["app.log.1.zst"]


def test_the_log_of_another_program_is_in_the_archive_directory(site: Site) -> None:
    """Its archives are its own, no rule need name it; ours wait beside our log."""
    files = others(site, "app.log", "app.log.1", "app.log.2")
    site.write("a")
    report = site.run({"a": {}})
    assert (report.exit_code, sorted(os.listdir(site.root / "a"))) == (1, ["app.log", "app.log.1.zst"])
    assert "give rule a another archive_dir, or remove or rename" in report.problems[0].advice
    assert kept(site, files)


def test_the_log_of_another_program_comes_to_our_archives(site: Site) -> None:
    """From then on nobody knows whose the archives are: nothing is moved there, and nothing removed."""
    site.write("a")
    site.run({"a": {}})
    files = others(site, "app.log", "app.log.1")
    site.write("a")
    for archive_dir in (site.store, site.root / "another"):
        report = site.run({"a": {"archive_dir": str(archive_dir)}})
        assert report.rotated == 1 and report.exit_code == (archive_dir == site.store)
        site.write("a")
        assert sorted(os.listdir(site.store)) == ["app.log", "app.log.1", "app.log.1.zst"] and kept(site, files)


# ---------------------------------------------------------------- a glob that finds archive directories


def test_a_glob_that_finds_its_own_archive_directory(site: Site) -> None:
    """The archives in it are those of the logs that send them there, and no logs that are gone."""
    rule = {"paths": [f"{site.root}/a/**/*.log"], "archive_dir": "store", "backup_count": 9}
    site.store = site.root / "a" / "store"
    for lost in (False, False, True, False):
        if lost:
            (site.root / "state" / "history.sqlite").unlink()
        site.write("a")
        report = site.run({"a": rule})
        assert (report.exit_code, [log.path for log in report.plan.logs]) == (0, [f"{site.root}/a/app.log"])
    assert sorted(os.listdir(site.store)) == [f"app.log.{n}.zst" for n in (1, 2, 3, 4)]
    site.is_whole("a")


def test_a_log_of_its_own_that_is_gone_from_an_archive_directory(site: Site) -> None:
    """It was rotated there, and nobody sent these archives there: it still has them."""
    rules = {"a": {"paths": [f"{site.root}/a/*.log"], "archive_dir": "../b"}, "b": site.globs()["b"]}
    rules["b"] |= {"archive_dir": "off", "backup_count": 3}
    for _ in range(3):
        site.write("b")
        site.run(rules)
    (site.root / "b" / "app.log").unlink()
    rules["b"] |= {"backup_count": 1}
    assert site.run(rules).exit_code == 0
    assert os.listdir(site.root / "b") == ["app.log.1.zst"]


def test_an_archive_directory_that_is_one_no_longer(site: Site) -> None:
    """The archives there are still those of the log that sent them, and of no log there that is gone."""
    rules = {"a": site.globs()["a"] | {"archive_dir": "../b"}, "b": site.globs()["b"] | {"archive_dir": "off"}}
    (site.root / "b" / "app.log").unlink(missing_ok=True)
    site.write("a")
    site.run(rules)
    rules["a"] |= {"archive_dir": "off", "backup_count": 2}
    site.write("a")
    report = site.run(rules)
    assert (report.exit_code, [log.path for log in report.plan.logs]) == (0, [f"{site.root}/a/app.log"])
    assert (os.listdir(site.root / "b"), "app.log.1.zst" in os.listdir(site.root / "a")) == (["app.log.2.zst"], True)
