"""Compression, by well-kept libraries: zstandard; gzip by isal where installed, else zlib; bz2 and xz are only read.

The one module that changes when the standard library's ``compression.zstd`` (Python 3.14) takes over.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from logrotor.errors import Interrupted
from logrotor.model import Codec

CHUNK = 1 << 20
_GZIP = 31  # zlib's wbits for the gzip format
_SIP = 1 << 12  # bytes fed to a decompressor at once: 4 KiB of zstd can be 128 MiB of one repeated byte, and no more


class Compressor(Protocol):
    """What every library here offers."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(codec: Codec, level: int | None, size: int) -> Compressor:
    """A stream compressor; ``size``: the bytes that will come (zstd writes it into the frame, with a checksum)."""
    if codec is Codec.ZSTD:
        import zstandard

        made: Compressor = zstandard.ZstdCompressor(
            level=3 if level is None else level, write_checksum=True, write_content_size=True
        ).compressobj(size=size)
        return made
    if codec is Codec.GZIP:
        return _gzip(level)
    if codec is Codec.NONE:
        return _Plain()
    raise ValueError(f"{codec.value} is only read, never written")


def _gzip(level: int | None) -> Compressor:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, _GZIP)
    # igzip knows the levels 0 to 3 only
    made: Compressor = isal_zlib.compressobj(2 if level is None else min(level, 3), isal_zlib.DEFLATED, _GZIP)
    return made


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def read(fd: int, chunk: int = CHUNK) -> Iterator[bytes]:
    """The bytes of an open file from its start, whatever its offset is (pread)."""
    offset = 0
    while data := os.pread(fd, chunk, offset):
        yield data
        offset += len(data)


def decompressed(fd: int, codec: Codec) -> Iterator[bytes]:
    """The contents of an archive, checksums verified. Raises ValueError if it is damaged or cut short."""
    if codec is Codec.NONE:
        return read(fd)
    makers = {Codec.ZSTD: _unzstd, Codec.GZIP: _gunzip, Codec.BZIP2: _bunzip, Codec.XZ: _unxz}
    return _members(fd, makers[codec])


def _unzstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()


def _gunzip() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj(_GZIP)
    return isal_zlib.decompressobj(_GZIP)


def _bunzip() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _unxz() -> Any:
    import lzma

    return lzma.LZMADecompressor()


def _members(fd: int, make: Callable[[], Any]) -> Iterator[bytes]:
    """One member after the other, each to its end."""
    current, fed = make(), False
    try:
        for data in read(fd, _SIP):
            while data:
                plain = current.decompress(data)
                fed = True
                if plain:
                    yield plain
                data = current.unused_data if current.eof else b""
                if current.eof:
                    current, fed = make(), False
    except Exception as error:  # each library has an error type of its own
        raise ValueError(f"damaged archive: {error}") from None
    if fed:
        raise ValueError("archive cut short")


def same_content(one: tuple[int, Codec], other: tuple[int, Codec], *, stop: Callable[[], bool] = lambda: False) -> bool:
    """Do two open archives hold the same bytes? Compared as streams, in constant memory. Raises Interrupted."""
    first, second = decompressed(*one), decompressed(*other)
    left = right = memoryview(b"")
    while True:
        if stop():
            raise Interrupted("stopped while an archive was compared")
        left = left or memoryview(next(first, b""))
        right = right or memoryview(next(second, b""))
        length = min(len(left), len(right))
        if length == 0:
            return not left and not right
        if left[:length] != right[:length]:
            return False
        left, right = left[length:], right[length:]
