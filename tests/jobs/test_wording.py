"""What ``logrotor queue`` says, word for word, on the embedded queue; see tests/cli/test_wording.py."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from logrotor.model import Ending
from tests.cli.test_wording import SAME
from tests.jobs.bench import NOBODY, Host, attempted

pytestmark = pytest.mark.parametrize("engine", ["huey"])
GOLDEN = Path(__file__).parent / "golden" / "queue.txt"


def empty(host: Host) -> None:
    """nothing is queued"""


def busy(host: Host) -> None:
    """three jobs wait, one is stuck, two have failed"""
    for _ in range(3):
        host.dispatch()
    attempted(host, Ending.DONE, job="done")
    attempted(host, Ending.RUNNING, job="stuck", ago=500, pid=NOBODY)
    attempted(host, Ending.FAILED, job="abc1", detail="logs/app.log: Permission denied")
    attempted(host, Ending.TIMEOUT, job="abd2", ago=3600, detail="did not end within 20 s, and was ended")


def replaced(old: str, new: str) -> Callable[[Host], None]:
    def scene(host: Host) -> None:
        host.config.write_text(host.config.read_text().replace(old, new))

    scene.__doc__ = f"{new or 'nothing'} instead of {old}"
    return scene


def no_queue(host: Host) -> None:
    """a configuration for cron"""
    host.config.write_text(host.config.read_text().partition("[queue]")[0])


def damaged(host: Host) -> None:
    """the history is damaged"""
    busy(host)
    (host.folder / "state" / "history.sqlite").write_bytes(b"no database" * 1000)


def out_of_reach(host: Host) -> None:
    """the folder of the queue is gone"""
    host.url = str(host.folder / "gone" / "queue.sqlite")


TRANSCRIPTS: list[tuple[Callable[[Host], None], list[str]]] = [
    (empty, ["status"]), (busy, ["status"]), (empty, ["status", "--check"]), (busy, ["status", "--check"]),
    (busy, ["status", "--check", "--max-pending", "2"]), (damaged, ["status"]), (damaged, ["failed"]),
    (out_of_reach, ["status"]),
    (empty, ["dispatch"]), (empty, ["dispatch", "--only", "nope"]), (out_of_reach, ["dispatch"]),
    (empty, ["failed"]), (busy, ["failed"]),
    (busy, ["retry", "abc"]), (busy, ["retry", "ab"]), (busy, ["retry", "zzz"]), (busy, ["retry", ""]),
    (busy, ["clear", "--failed"]), (busy, ["clear", "--stale"]), (empty, ["clear"]),
    (empty, ["clear", "--older-than", "soon"]), (empty, ["clear", "--older-than", "7"]),
    (empty, ["unit"]), (empty, ["unit", "--systemd", "--log", "x"]),
    (empty, ["unit", "--systemd", "--user", "www-data"]), (empty, ["unit", "--supervisor", "--user", "www-data"]),
    (empty, ["unit", "--supervisor", "--log", "a ;b"]),
    (no_queue, ["status"]), (no_queue, ["worker", "--once"]), (replaced('"huey"', '"hueey"'), ["dispatch"]),
    (replaced("LOGROTOR_TEST_URL", "UNSET"), ["worker", "--once"]),
]  # fmt: skip


def test_wording(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command says in each situation what the file says."""
    monkeypatch.setenv("COLUMNS", "100")
    said = []
    for number, (scene, words) in enumerate(TRANSCRIPTS):
        each = Host(tmp_path / str(number), "huey", str(tmp_path / f"{number}.sqlite"))
        scene(each)
        done = each.queue(*words, check=None)
        shown = " ".join(word or "''" for word in words)
        block = f"# {scene.__doc__}\n$ logrotor queue {shown}\n{done.stdout}{done.stderr}exit {done.code}\n"
        block = re.sub(rf"{tmp_path}/\d+", "/srv/app", block)
        block = re.sub(
            r"\b[0-9a-f]{32}\b", "ID", re.sub(r"/\S*/logrotor(?= queue)|/\S* -m logrotor", "logrotor", block)
        )
        for pattern, word in SAME:
            block = re.sub(pattern, word, block, flags=re.MULTILINE)
        said.append(block)
    text = "\n".join(said)
    if os.environ.get("LOGROTOR_RENEW_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
