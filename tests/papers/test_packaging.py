"""What is built from the checkout: the wheel, its metadata, the source archive."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import logrotor
from tests.support.command import CHECKOUT
from tests.support.need import need

PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def test_the_version_stands_in_one_place():
    """The version is that of the package; the metadata takes it from there."""
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "logrotor/__init__.py"
    assert logrotor.__version__.count(".") == 2


def test_all_holds_every_extra_for_users():
    """``logrotor[all]`` has what any other extra for users has."""
    extras = dict(PYPROJECT["project"]["optional-dependencies"])
    for developers in ("test", "dev"):
        del extras[developers]
    (everything,) = extras.pop("all")
    assert set(everything.removeprefix("logrotor[").removesuffix("]").split(",")) == set(extras)


def test_classifiers_name_the_versions_that_are_meant():
    """3.11 to 3.14, as ``requires-python`` says."""
    versions = [c.rpartition(" ")[2] for c in PYPROJECT["project"]["classifiers"] if "Python :: 3." in c]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    try:
        import build  # noqa: F401
        import hatchling  # noqa: F401
    except ImportError:
        need(False, "build and hatchling (pip install 'logrotor[dev]')")
    argv = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built: Path):
    """Every module of the package, py.typed, the licence, and no test or example."""
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"logrotor-{logrotor.__version__}-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = CHECKOUT / "logrotor"
    modules = {f"logrotor/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert names == {*modules, "logrotor/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


def test_the_metadata_has_the_command_and_the_readme(built: Path):
    """The console script is there, and the README is the description."""
    (wheel,) = built.glob("*.whl")
    files = zipfile.ZipFile(wheel)
    texts = {os.path.basename(name): files.read(name).decode() for name in files.namelist() if ".dist-info/" in name}
    assert "logrotor = logrotor.cli:main" in texts["entry_points.txt"]
    assert "# logrotor" in texts["METADATA"] and f"Version: {logrotor.__version__}\n" in texts["METADATA"]


def test_the_source_archive_can_be_tested(built: Path):
    """It holds the tests, the examples and .ci, and nothing that a run or a build left behind."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    heads = {name.partition("/")[0] for name in names}
    required = {"logrotor", "tests", "examples", ".ci", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO"}
    assert heads >= required and heads <= required | {".gitignore"}
    assert not [n for n in names if "__pycache__" in n or "/logs/" in n or "/state/" in n or n.endswith(".pyc")]
