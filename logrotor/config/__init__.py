"""The configuration: a TOML file or a dict in, frozen values or every problem at once out."""

from __future__ import annotations

from logrotor.config.find import find_config
from logrotor.config.load import load_config

__all__ = ["find_config", "load_config"]
