"""Rotation never stops without a word: what was seen before and is not now, or cannot be looked at, is said."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, listing
from tests.support.fixtures import world_tree
from tests.support.oracle import lines

LOCALES = {
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"LC_ALL": "C.UTF-8"},
}


@pytest.fixture
def own() -> Iterator[Deployment]:
    """A deployment of whoever runs the tests."""
    with world_tree() as root:
        yield Deployment(root)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("locale", LOCALES)
def test_a_name_beyond_ascii_is_found_in_each_locale(own: Deployment, locale: str) -> None:
    """By a path, by a glob, as an argument of a hook: names are UTF-8 as the configuration is."""
    folder, env = own.folder("prötokolle"), LOCALES[locale]
    for name in ("größe.log", "zählung.log"):
        (folder / name).write_bytes(lines("w1", 1, 50))
    hook = ["/usr/bin/touch", str(folder / "getan-ü")]
    paths = [folder / "größe.log", folder / "zä*.log"]
    own.configure({"name": "größe", "paths": paths, "max_size": 100, "on_archive": hook})
    own.command("check", env=env)
    assert [log["due"] for log in own.command("plan", "--json", env=env).json["logs"]] != []
    own.run("--only", "größe", env=env)
    assert [name for name in listing(folder) if not name.endswith(".log")] == [
        "getan-ü", "größe.log.1.zst", "zählung.log.1.zst"
    ]  # fmt: skip
    for command in (("status",), ("doctor", "--only", "directories.logs"), ("history",), ("page", "-o", "-")):
        own.command(*command, env=env)
    assert own.command("cat", folder / "größe.log", env=env).stdout.encode() == lines("w1", 1, 50)


def test_what_has_no_name_in_the_encoding_is_a_mistake(own: Deployment) -> None:
    """A rule of a dict with half a surrogate names no file; the other rules run."""
    from logrotor import load_config

    rules = [{"name": name, "paths": [f"/srv/{name}.log"], "max_size": 1} for name in ("a", "b\ud800")]
    config = load_config({"state_dir": os.fspath(own.state), "log": rules}, environ={})
    assert [spec.name for spec in config.logs] == ["a"] and {p.key for p in config.problems} == {
        "log[2].name", "log[2].paths"
    }  # fmt: skip
