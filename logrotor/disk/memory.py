"""The old name of :mod:`logrotor.disk.history`, until its users have changed their imports."""

from logrotor.disk.history import History
from logrotor.disk.history import RunHistory as Memory
from logrotor.model import LogHistories as Recollection

__all__ = ["Memory", "Recollection", "recall"]


def recall(state_dir: str) -> Recollection:
    return History(state_dir).recall()
