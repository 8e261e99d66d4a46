"""logrotor rotates log files, needs no root, and loses no line whatever fails.

>>> from logrotor import Rotator, load_config
>>> report = Rotator(load_config("logrotor.toml")).run()     # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from logrotor.config import load_config as load_config
    from logrotor.rotator import Rotator as Rotator

_PLACES = {"Rotator": "logrotor.rotator", "load_config": "logrotor.config"}
__all__ = ["Rotator", "__version__", "load_config"]


def __getattr__(name: str) -> Any:
    """Import the two faces of the library when they are asked for: ``logrotor --version`` needs neither."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """For ``help(logrotor)`` and whoever completes names: what is not imported yet is there, too."""
    return sorted({*globals(), *__all__})
