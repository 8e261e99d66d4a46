"""Start three workers that log without a pause, run a command in their midst, then count every line.

    workers.py COMMAND [ARGUMENT...]

The workers are ordinary daemons with logging's WatchedFileHandler. They number their lines, so each one that is
lost or doubled shows. What they wrote stays in logs/ beside this file; an earlier run's is removed at the start.
Exit code: the command's, or 1 if a line is lost or doubled.
"""

from __future__ import annotations

import logging
import logging.handlers
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import zstandard

HERE = Path(__file__).resolve().parent
LOGS = HERE / "logs"
WORKERS = ("default", "payments", "provisioning")
ENOUGH = 12 * 1024 * 1024  # bytes in each log before the command runs: more than max_size in logrotor.toml


def main(command: list[str]) -> int:
    """Run the command while the workers write; give back the exit code."""
    for leftover in (LOGS, HERE / "state"):
        shutil.rmtree(leftover, ignore_errors=True)
    LOGS.mkdir()
    workers = [subprocess.Popen([sys.executable, __file__, "--worker", name]) for name in WORKERS]
    try:
        print(f"{len(workers)} workers write into {LOGS}, until each log has {ENOUGH >> 20} MB ...", flush=True)
        _wait_for_logs(workers)
        print(f"$ {shlex.join(command)}", flush=True)
        code = subprocess.run(command, check=False).returncode
        print(f"exit code {code}; the workers are still writing ...", flush=True)
        time.sleep(0.5)
    finally:
        for worker in workers:
            worker.terminate()
    written = sum(_last_number(worker, name) for worker, name in zip(workers, WORKERS, strict=True))
    return code or _compare(written)


def work(name: str) -> None:
    """Log numbered lines until SIGTERM, then leave the last number beside the logs."""
    stopped: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)

    signal.signal(signal.SIGTERM, stop)
    handler = logging.handlers.WatchedFileHandler(LOGS / f"{name}-queue.log")
    handler.setFormatter(logging.Formatter("%(asctime)s " + name + " %(message)s"))
    log = logging.getLogger(name)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    number, payload = 0, "the payload of a job, its result and its timing " * 6
    while not stopped:
        number += 1
        log.info("%d: %s", number, payload)
    (LOGS / f"{name}.count").write_text(str(number))


def _wait_for_logs(workers: list[subprocess.Popen[bytes]]) -> None:
    while any(_size(LOGS / f"{name}-queue.log") < ENOUGH for name in WORKERS):
        if any(worker.poll() is not None for worker in workers):
            raise SystemExit("a worker ended early")
        time.sleep(0.05)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _last_number(worker: subprocess.Popen[bytes], name: str) -> int:
    worker.wait()
    count = LOGS / f"{name}.count"
    number = int(count.read_text())
    count.unlink()
    return number


def _compare(written: int) -> int:
    found: Counter[bytes] = Counter()
    print()
    for path in sorted(LOGS.iterdir()):
        lines = [line.split(b": ")[0].split(b" ", 2)[2] for line in _lines(path)]  # "default 17"
        found.update(lines)
        print(f"  {path.name:32} {path.stat().st_size:>10,} bytes  {len(lines):>9,} lines")
    lost, doubled = written - len(found), found.total() - len(found)
    print(f"\n{written:,} lines written, {found.total():,} lines found: {lost} lost, {doubled} doubled")
    return 1 if lost or doubled else 0


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        if path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as reader:
                yield from reader.read().splitlines()
        else:
            yield from file


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
    elif sys.argv[1:]:
        sys.exit(main(sys.argv[1:]))
    else:
        sys.exit(__doc__)
