"""logrotor rotates log files, needs no root, and loses no line whatever fails.

>>> from logrotor import Rotator, load_config
>>> report = Rotator(load_config("logrotor.toml")).run()     # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from logrotor.config import load_config as load_config
    from logrotor.config.shape import Configuration as Configuration
    from logrotor.config.shape import LogRule as LogRule
    from logrotor.errors import ConfigError as ConfigError
    from logrotor.errors import Locked as Locked
    from logrotor.errors import LogrotorError as LogrotorError
    from logrotor.errors import StateError as StateError
    from logrotor.errors import UnknownSelection as UnknownSelection
    from logrotor.events import Event as Event
    from logrotor.events import Fields as Fields
    from logrotor.events import Level as Level
    from logrotor.model import Config as Config
    from logrotor.model import Details as Details
    from logrotor.model import Outcome as Outcome
    from logrotor.model import Plan as Plan
    from logrotor.model import Problem as Problem
    from logrotor.model import ReopenTarget as ReopenTarget
    from logrotor.model import Report as Report
    from logrotor.model import Status as Status
    from logrotor.model import as_json as as_json
    from logrotor.rotator import Rotator as Rotator

# The public interface: what is named here stays as it is documented within a major version.
__all__ = [
    "Config",
    "ConfigError",
    "Configuration",
    "Details",
    "Event",
    "Fields",
    "Level",
    "Locked",
    "LogRule",
    "LogrotorError",
    "Outcome",
    "Plan",
    "Problem",
    "ReopenTarget",
    "Report",
    "Rotator",
    "StateError",
    "Status",
    "UnknownSelection",
    "__version__",
    "as_json",
    "load_config",
]
if not TYPE_CHECKING:  # with a __getattr__ in sight, mypy would believe in any name
    _PLACES = {
        "logrotor.config": "load_config",
        "logrotor.config.shape": "Configuration LogRule",
        "logrotor.errors": "ConfigError Locked LogrotorError StateError UnknownSelection",
        "logrotor.events": "Event Fields Level",
        "logrotor.model": "Config Details Outcome Plan Problem ReopenTarget Report Status as_json",
        "logrotor.rotator": "Rotator",
    }
    _MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        """Import what is asked for, when it is: ``logrotor --version`` needs none of it."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """For ``help(logrotor)`` and whoever completes names: what is not imported yet is there, too."""
    return sorted({*globals(), *__all__})
