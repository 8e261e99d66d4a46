"""Makes the logs: small ones of numbered lines that the oracle can count, and a large one like an application's."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.oracle import lines

SMALL = 4096  # bytes, about
_LEVELS = ("INFO", "INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR")
_PATHS = ("/api/v1/sessions", "/api/v1/hotspots/{}", "/login", "/dashboard", "/api/v1/vouchers/{}/redeem", "/health")
_BLOCK = 16 << 20


def small_name(number: int) -> str:
    return f"app{number:06}.log"


def small(number: int) -> bytes:
    """One small log, the same at every call: lines of a writer of its own."""
    return lines(f"w{number:06}", 1, SMALL // 80)


def fill(directory: Path, count: int, data: bytes | None = None) -> None:
    """``count`` logs in a new or known directory: each with its own lines, or all with ``data``."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (directory / small_name(number)).write_bytes(small(number) if data is None else data)


def write_large(path: Path, size: int) -> None:
    """``size`` bytes of application log: a request a line, with times, levels, addresses, ids and durations.

    It repeats itself every 16 MiB, out of sight of every compressor here: zstd -3 looks back 2 MiB.
    """
    block = _block(min(_BLOCK, size))
    with open(path, "wb") as file:
        for written in range(0, size, len(block)):
            file.write(block[: size - written])


def _block(size: int) -> bytes:
    chance, moment = random.Random(6), 1_700_000_000
    out: list[bytes] = []
    while size > 0:
        moment += chance.randrange(2)
        path = chance.choice(_PATHS).format(chance.randrange(100_000))
        line = (
            f"[{moment}.{chance.randrange(1_000_000):06}] production.{chance.choice(_LEVELS)}: "
            f"{chance.choice(('GET', 'POST'))} {path} 10.{chance.randrange(256)}.{chance.randrange(256)}."
            f"{chance.randrange(256)} {chance.choice((200, 200, 200, 302, 404, 500))} "
            f"{chance.randrange(2000)}ms request_id={chance.getrandbits(48):012x}\n"
        ).encode()
        out.append(line[:size])
        size -= len(line)
    return b"".join(out)
