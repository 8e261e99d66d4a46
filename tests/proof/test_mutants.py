"""Each known bug is caught by the test that it names, and by nothing else being wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.proof import mutants
from tests.proof.mutants import CHECKOUT, MUTANTS, Mutant, NotRun, copied, fails, killed
from tests.support.need import need

EACH = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@EACH
def test_it_applies_and_compiles(mutant: Mutant) -> None:
    """Its text stands in the source exactly once. If you changed that piece, change the mutant with it."""
    compile(mutant.applied(CHECKOUT), mutant.file, "exec")


def test_there_are_enough() -> None:
    """No two of one name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 10


@pytest.mark.long
@pytest.mark.timeout(900)
def test_without_a_mutant_the_tests_pass() -> None:
    """The tests that catch them see nothing in the tree as it is."""
    with copied() as tree, all_run():
        assert fails(tree, *dict.fromkeys(mutant.test for mutant in MUTANTS)) is None


@pytest.mark.long
@pytest.mark.timeout(900)
@EACH
def test_it_is_caught(mutant: Mutant) -> None:
    """With the bug in it, the package fails the test."""
    with all_run():
        assert killed(mutant) is not None, f"{mutant.name} survived {mutant.test}"


@contextmanager
def all_run() -> Iterator[None]:
    """A machine on which a test would be skipped proves nothing."""
    try:
        yield
    except NotRun as error:
        need(False, f"what the tests need: {error}")


@pytest.mark.long
def test_the_command_fails_when_the_tree_is_sick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test that fails without the mutant as well proves nothing."""
    with copied() as tree:
        MUTANTS[0].plant(tree)
        monkeypatch.setattr(mutants, "CHECKOUT", tree)
        assert mutants.main([MUTANTS[0].name]) == 1
    assert "the tests fail without any mutant" in capsys.readouterr().out


@pytest.mark.long
def test_the_command_fails_when_a_mutant_survives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A change that no test notices is told by its name."""
    harmless = replace(
        MUTANTS[0],
        name="harmless",
        file="logrotor/act/form.py",
        changes=(("files.sync_and_close_check(self._out)\n",) * 2,),
    )
    monkeypatch.setattr(mutants, "MUTANTS", (harmless,))
    assert mutants.main([]) == 1
    assert re.search(r"^SURVIVED +harmless", capsys.readouterr().out, re.MULTILINE)
