"""``python -m tests.benchmarks [--quick] [CASE ...]``: a table of ratios, logrotor against the tools of today.

Both sides run in turn, on this machine and on fresh folders, and what they leave is checked. As root, because
Debian's logrotate wants to be.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.bench import Result
from tests.benchmarks.cases import CASES, QUICK, Scale

HEAD = ("case", "against", "its time", "ours", "ratio", "spread", "at most", "CPU", "resident", "")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--dir", help="where the logs are written; default: the folder for temporary files")
    parser.add_argument("case", nargs="*", help=f"default: all of {', '.join(CASES)}")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.case if name not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    scale = QUICK if options.quick else Scale()
    results = [*carry_out(options.case or list(CASES), scale, options.dir)]
    print(f"\n{machine()}\n\n{table(results)}")
    return 0 if all(result.reached for result in results) else 1


def carry_out(names: Sequence[str], scale: Scale, where: str | None) -> Iterator[Result]:
    """One case after the other; their folders go at the very end, so that none meets freshly deleted inodes."""
    root = Path(tempfile.mkdtemp(prefix="logrotor-benchmarks-", dir=where))
    try:
        for name in names:
            result = CASES[name](root / name, scale) if (root / name).mkdir() is None else None
            assert result is not None
            print(f"{name}: {_value(result, result.median)}", file=sys.stderr, flush=True)
            yield result
    finally:
        shutil.rmtree(root)


def table(results: Sequence[Result]) -> str:
    """Markdown, as it stands in the README."""
    rows = [HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _row(result: Result) -> tuple[str, ...]:
    rival = statistics.median(r.rival.seconds for r in result.rounds)
    return (
        result.case + "".join(f" ({note})" for note in result.notes),
        result.rival,
        _seconds(rival) if rival else "-",
        _seconds(statistics.median(r.ours.seconds for r in result.rounds)),
        _value(result, result.median),
        f"{_value(result, min(result.values))} to {_value(result, max(result.values))}",
        _value(result, result.at_most),
        f"{result.cpu:.2f} x" if not result.plus else "",
        f"{result.resident / (1 << 20):.0f} MiB",
        "" if result.reached else "MISSED",
    )


def _value(result: Result, value: float) -> str:
    return f"{value * 1000:+.1f} ms" if result.plus else f"{value:.2f} x"


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def machine() -> str:
    """The machine in one line, without its name."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}; load {load:.1f} at the end"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
