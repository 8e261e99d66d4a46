"""From the globs of the rules to directories and names, as a shell would read them."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyfakefs.fake_filesystem import FakeFilesystem

from logrotor import Rotator, load_config
from logrotor.disk import descent
from logrotor.disk.discover import Search, is_excluded
from logrotor.errors import UnknownSelection
from logrotor.model import LogSpec, Plan
from tests.support import users
from tests.support.facts import spec
from tests.support.fixtures import world_tree


def found(*patterns: str, **more: Any) -> list[str]:
    """The files that the patterns of one rule name."""
    return matches(spec(paths=patterns, **more))


def matches(*rules: LogSpec) -> list[str]:
    names = []
    for selector in Search(rules).selectors:
        if selector.name is not None:
            names.append(os.path.join(selector.directory, selector.name))
        elif os.path.isdir(selector.directory) and os.access(selector.directory, os.R_OK):
            inside = sorted(name for name in os.listdir(selector.directory) if selector.takes(name))
            names += [path for name in inside if os.path.isfile(path := os.path.join(selector.directory, name))]
    return [name for name in names if not is_excluded(rules[0], name)]


@pytest.fixture
def tree(fs: FakeFilesystem) -> FakeFilesystem:
    """Logs at several depths, hidden ones, and names that hold what globs are made of."""
    for path in (
        "/srv/app.log", "/srv/b.log", "/srv/app.txt", "/srv/.hidden.log", "/srv/a[1].log", "/srv/a1.log",
        "/srv/new\nline.log", "/srv/one/app.log", "/srv/one/two/app.log",
        "/srv/one/.git/app.log", "/srv/.cache/app.log", "/srv/ONE/app.log",
    ):  # fmt: skip
        fs.create_file(path)
    fs.create_dir("/srv/dir.log")
    fs.create_symlink("/srv/link", "/srv/one")
    return fs


def test_a_path_is_a_name(tree: FakeFilesystem) -> None:
    """A path without magic names one log, whether it is there or not, its folder included."""
    assert found("/srv/app.log", "/none/gone.log", "/srv/link/app.log") == [
        "/srv/app.log", "/none/gone.log", "/srv/link/app.log"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("/srv/*.log", ["/srv/a1.log", "/srv/a[1].log", "/srv/app.log", "/srv/b.log", "/srv/new\nline.log"]),
        ("/srv/?.log", ["/srv/b.log"]),
        ("/srv/[!b]*.txt", ["/srv/app.txt"]),
        ("/srv/a[1].log", ["/srv/a1.log"]),
        ("/srv/a[[]1].log", ["/srv/a[1].log"]),
        ("/srv/.*.log", ["/srv/.hidden.log"]),
        ("/srv/o*/app.log", ["/srv/one/app.log"]),
        ("/srv/*/app.log", ["/srv/ONE/app.log", "/srv/link/app.log", "/srv/one/app.log"]),
        ("/srv/.*/app.log", ["/srv/.cache/app.log"]),
        ("/srv/**/app.log", ["/srv/app.log", "/srv/ONE/app.log", "/srv/one/app.log", "/srv/one/two/app.log"]),
        ("/srv/one/**", ["/srv/one/app.log", "/srv/one/two/app.log"]),
        ("/srv/**/two/*", ["/srv/one/two/app.log"]),
        ("/srv/one/**/**/*.log", ["/srv/one/app.log", "/srv/one/two/app.log"]),
        ("/none/*.log", []),
        ("/srv/app.log/*", []),
    ],
)
def test_a_glob_is_read_as_in_a_shell(tree: FakeFilesystem, pattern: str, names: list[str]) -> None:
    """Hidden names only by a pattern with a dot, ** through folders but neither hidden ones nor links, case matters."""
    assert found(pattern) == names


def test_rules_and_paths_keep_their_order(tree: FakeFilesystem) -> None:
    """In the order of the file; the folders of one glob sorted."""
    rules = spec(paths=("/srv/b.log", "/srv/app.*")), spec(name="other", paths=("/srv/*/app.log",))
    assert matches(*rules)[:4] == ["/srv/b.log", "/srv/app.log", "/srv/app.txt", "/srv/ONE/app.log"]


@pytest.mark.parametrize(
    ("exclude", "out"),
    [
        ("b.log", ["/srv/b.log"]),
        ("*.log", ["/srv/a1.log", "/srv/a[1].log", "/srv/app.log", "/srv/b.log", "/srv/new\nline.log"]),
        ("/srv/a*", ["/srv/a1.log", "/srv/a[1].log", "/srv/app.log"]),
        ("/other/*", []),
        ("srv", []),
        ("B.LOG", []),
    ],
)
def test_exclude(tree: FakeFilesystem, exclude: str, out: list[str]) -> None:
    """A pattern with a slash is for the whole path, one without for the file name alone."""
    everything = found("/srv/*.log")
    assert [name for name in everything if name not in found("/srv/*.log", exclude=(exclude,))] == out


def test_a_folder_that_cannot_be_listed(tree: FakeFilesystem) -> None:
    """What it holds is not found, as with every glob; the others are."""
    tree.pause()
    with world_tree() as root:
        for name, mode in (("open", 0o755), ("shut", 0o700)):
            (root / name).mkdir()
            (root / name / "app.log").touch()
            (root / name).chmod(mode)
        assert users.as_user("www-data", found, f"{root}/**/*.log") == [f"{root}/open/app.log"]
        assert users.as_user("www-data", found, f"{root}/*/*.log") == [f"{root}/open/app.log"]
    tree.resume()


PARTS = st.sampled_from(
    ["*", "**", "a*", ".*", "?", "[ab]", "[!a]*", "a", "b", "a.log", "*.log", ".h", "*.*", "b*[0-9]", "a**"]
)


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree without links."""
    root = tmp_path_factory.mktemp("forest")
    for folder in ("", "a", "b", ".h", "a/a", "a/b", "a/.h", "b/ab", "a/b/a", ".h/a", "b2"):
        (root / folder).mkdir(exist_ok=True, parents=True)
        for name in ("a.log", "b.log", ".h.log", "b7", "x"):
            (root / folder / name).touch()
    return root


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=st.lists(PARTS, min_size=1, max_size=4))
def test_globs_agree_with_pythons(forest: Path, parts: list[str]) -> None:
    """Any pattern finds the files that glob.glob finds."""
    pattern = os.path.join(str(forest), *parts)
    theirs = {os.path.normpath(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    ours = found(pattern)
    if glob.has_magic(os.path.join(*parts)):
        assert set(ours) == theirs
    else:
        assert ours == [pattern]


# ---------------------------------------------------------------- from rules to logs


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., Plan]:
    """The plan for rules over tmp_path."""

    def plan(*rules: dict[str, Any], only: tuple[str, ...] = ()) -> Plan:
        logs = [{"name": f"rule{n}", "max_size": "1GB", **rule} for n, rule in enumerate(rules, 1)]
        for log in logs:
            log["paths"] = [str(tmp_path / path) for path in log["paths"]]
        config = load_config({"state_dir": str(tmp_path / "state"), "log": logs}, environ={})
        return Rotator(config).plan(only=only)

    return plan


def logs(plan: Plan) -> list[tuple[str, str]]:
    return [(os.path.basename(log.path), log.rule) for log in plan.logs]


def test_archives_and_temps_are_never_logs(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    """A glob that matches everything takes the logs, dated ones of others included, and nothing that is ours."""
    for name in ("app.log", "app.log.1", "app.log.2.zst", "app.log-20261121T070000Z.gz", ".app.log.new",
                 ".app.log.1.zst.tmp", "laravel-2025-10-09.log", "app.log.old"):  # fmt: skip
        (tmp_path / name).touch()
    (tmp_path / "folder.log").mkdir()
    assert logs(planned({"paths": ["*"]})) == [
        ("app.log", "rule1"), ("app.log.old", "rule1"), ("laravel-2025-10-09.log", "rule1")
    ]  # fmt: skip
    assert logs(planned({"paths": [".*"]})) == []


def test_the_state_is_no_log(tmp_path: Path) -> None:
    """Globs that reach the state directory take the logs there, but not what logrotor itself keeps in it."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_bytes(b"x\n")
    (tmp_path / "logs" / "lock").write_bytes(b"x\n")  # a name as any other there
    rule = {"name": "all", "paths": [f"{tmp_path}/*/*"], "max_size": "1KB", "archive_dir": str(tmp_path)}
    config = load_config({"state_dir": str(tmp_path / "state"), "log": [rule]}, environ={})
    Rotator(config).run(force=True)
    for name in ("queue.sqlite", "queue.sqlite-wal", "history.sqlite-journal", "history.sqlite.damaged-1"):
        (tmp_path / "state" / name).write_bytes(b"x\n")
    (tmp_path / "state" / "worker.log").write_bytes(b"x\n")
    Rotator(config).run(force=True)
    plan = Rotator(config).plan(force=True)
    assert [os.path.relpath(log.path, tmp_path) for log in plan.logs] == [
        "logs/app.log", "logs/lock", "state/worker.log"
    ]  # fmt: skip
    assert {os.path.basename(item.name) for item in plan.skipped} >= {"lock", "last-run", "history.sqlite"}
    with pytest.raises(UnknownSelection):
        Rotator(config).plan(only=[f"{tmp_path}/state/lock"])


def test_a_log_that_is_gone_is_known_by_its_archives(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    """For a glob, archives with a mark name their log also when it was deleted; it must match as logs do."""
    for name, base in (
        ("gone.log.1", "gone.log"), ("taken.log-20261121T070000Z", "taken.log"), ("other.txt.1", "other.txt"),
        ("unmarked.log.1", None), ("marked.log.1", "another.log"),
    ):  # fmt: skip
        with (tmp_path / name).open("w") as file:
            if base is not None:
                descent.note_taken(file.fileno(), base, 0.0)
    plan = planned({"paths": ["*.log"]})
    assert logs(plan) == [("gone.log", "rule1"), ("taken.log", "rule1")] and all(log.missing for log in plan.logs)
    assert plan.missing == (), "only a path can be missing"


def test_a_glob_of_folders_misses_nothing(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    """`*/app.log` in a folder without app.log: nothing is missing, and create_missing makes nothing there."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "one/app.log").touch()
    plan = planned({"paths": ["*/app.log"], "missing": "error", "create_missing": True})
    assert logs(plan) == [("app.log", "rule1")]
    assert (plan.missing, plan.problems, plan.is_idle) == ((), (), True)


@pytest.mark.parametrize("path", ["empty/*.lgo", "none/*.log", "*/x.log"])
def test_a_glob_without_a_log(tmp_path: Path, planned: Callable[..., Plan], path: str) -> None:
    """With missing = "error" it is an error as a path is; else the plan names rules of which nothing matches."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "out.log").touch()
    (tmp_path / "app.log").touch()
    given, out = f"{tmp_path}/{path}", f"{tmp_path}/empty/out.l??"
    plan = planned({"paths": [path, "empty/out.l??"], "missing": "error", "exclude": ["out.log"]})
    assert [problem.subject for problem in plan.problems] == [given, out]
    plan = planned({"paths": ["a*.log", path]}, {"paths": [path, "gone.log"]})
    assert plan.problems == ()
    assert [(w.name, w.reason) for w in plan.unmatched] == [("rule2", f"nothing matches {given}, {tmp_path}/gone.log")]
    rules = {"paths": ["app.log"]}, {"paths": [path], "missing": "error"}
    assert planned(*rules, only=("rule1",)).problems == ()
    assert len(planned(*rules, only=("rule2",)).problems) == 1


def test_of_a_glob_in_a_refused_directory_nobody_knows(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    """Its refusal is told, and once is enough."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad").chmod(0o777)
    for more in ({}, {"missing": "error"}):
        plan = planned({"paths": ["bad/*.log", "bad/a.log"], **more})
        assert len(plan.problems) == 1 and plan.unmatched == ()


def test_a_file_in_two_rules_belongs_to_the_first(tmp_path: Path, planned: Callable[..., Plan]) -> None:
    """In file order, and plan says so; twice in one rule is no matter."""
    for name in ("a.log", "b.log"):
        (tmp_path / name).touch()
    plan = planned({"paths": ["a.log", "*.log", "a.log"], "exclude": ["b.log"]}, {"paths": ["*.log"]})
    assert logs(plan) == [("a.log", "rule1"), ("b.log", "rule2")]
    assert [(os.path.basename(w.name), w.reason) for w in plan.shadowed] == [
        ("a.log", "rule rule1 has it; rule2 names it too")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["rule1"], ["a.log", "gone.log"]),
        (["{}/link/b.log", "{}/a.log"], ["a.log", "b.log"]),
        (["{}/gone.log"], ["gone.log"]),
        (["b.log"], ["b.log"]),
        (["rule1", "nonsense"], None),
        (["{}/bad/a.log"], []),
        (["{}/bad/a.txt"], None),
    ],
    ids=["rule", "paths", "missing", "name", "nonsense", "refused directory", "no log there either"],
)
def test_only(tmp_path: Path, planned: Callable[..., Plan], only: list[str], found: list[str] | None) -> None:
    """A rule, the path of a log, also through a link, or its name; in a refused directory, its refusal."""
    (tmp_path / "bad").mkdir()
    for name in ("a.log", "b.log", "c.log", "bad/a.log"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "bad").chmod(0o777)
    rules = {"paths": ["a.log", "gone.log"]}, {"paths": ["*.log", "bad/*.log"]}
    names = tuple(each.format(tmp_path) for each in only)
    if found is None:
        with pytest.raises(UnknownSelection):
            planned(*rules, only=names)
        return
    plan = planned(*rules, only=names)
    assert [*(name for name, _ in logs(plan)), *map(os.path.basename, plan.missing)] == found
    assert [problem.subject for problem in plan.problems] == [f"{tmp_path}/bad"]
