"""logrotor rotates log files, needs no root, and loses no line whatever fails."""

__version__ = "0.1.0"
