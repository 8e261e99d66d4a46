"""The parts of the README that are generated. ``python -m tests.papers.sections`` writes them into it."""

from __future__ import annotations

import re
from pathlib import Path

from logrotor.config.reference import event_table, reference

README = Path(__file__).resolve().parents[2] / "README.md"
_SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


SECTIONS = {"reference": reference, "events": event_table}


def generated(text: str) -> str:
    """``text`` with its generated parts made anew."""
    return _SECTION.sub(lambda m: f"{m[1]}\n{SECTIONS[m[2]]()}\n\n{m[3]}", text)


if __name__ == "__main__":
    README.write_text(generated(README.read_text()))
