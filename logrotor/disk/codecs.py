"""Compress and read archives, by well-kept libraries: zstandard; gzip by isal where installed, else zlib; bz2 and xz.

The one module that changes when the standard library's ``compression.zstd`` (Python 3.14) takes over.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from msgspec import Struct

from logrotor.errors import Interrupted
from logrotor.model import Codec

CHUNK = 1 << 18
_GZIP = 31  # zlib's wbits for the gzip format
_PIECE = 4 << 20  # bytes that a thread of zstd compresses at once: half of its own choice takes half of the memory
# Level 3 for logs: tables half as large stay in a core's own cache, and no match of 5 bytes, which a line hardly gains
# by. Logs get 0 to 2 % smaller, source code 2 % larger, and it takes a sixth less time.
_LEVEL_3 = {"hash_log": 16, "chain_log": 15, "min_match": 6}
_WINDOW = 1 << 31  # bytes of a window: zstd --long=31, which its own program refuses without that option
_GULP = 1 << 17
_SIP = 1 << 12  # bytes fed to a decompressor at once: 4 KiB of zstd can be 128 MiB of one repeated byte, and no more


class Compressor(Protocol):
    """What every library here offers."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Machine(Struct, frozen=True):
    """How one codec compresses and reads. Its word, suffix and levels are in :class:`model.Codec`."""

    reader: Callable[[], Any]  # a decompressor as in bz2, for one member
    writer: Callable[[int | None, int, int], Compressor] | None = None  # level, size, threads; None: only read
    padded: bool = False  # NUL bytes may stand between two members and at the end (gzip(1), xz(1))


class Digest(Protocol):
    """A hash of contents under way."""

    def update(self, data: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Digest: ...


def digest() -> Digest:
    """A hash of what an archive holds, uncompressed: XXH3 with 128 bits, as ``zstdcat FILE | xxhsum -H128`` prints it.

    It finds damage and mistakes, not forgery. SHA-256 at 1.8 GB/s would cost a fifth of a row that compresses with 285
    to 720 MB/s on each core; this one takes 13 GB/s.
    """
    from xxhash import xxh3_128

    made: Digest = xxh3_128()
    return made


def compressor(codec: Codec, level: int | None, size: int, threads: int = 1) -> Compressor:
    """Return a stream compressor.

    ``size``: the bytes that will come (zstd writes it into the frame, with a checksum). ``threads``: how many
    processors zstd may use; the other codecs use one.
    """
    if codec is Codec.NONE:
        return _Plain()
    write = _MACHINES[codec].writer
    if write is None:
        raise ValueError(f"{codec.value} is only read, never written")
    return write(level, size, threads)


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _zstd(level: int | None, size: int, threads: int) -> Compressor:
    import zstandard

    level = 3 if level is None else level
    options: dict[str, Any] = {"write_checksum": True, "write_content_size": True}
    if threads > 1:
        # Without overlap: pieces of a log gain nothing by the end of the one before, and it takes 0.6 s for 1 GB.
        options |= {"threads": threads, "job_size": _PIECE, "overlap_log": 1} | (_LEVEL_3 if level == 3 else {})
        parameters = zstandard.ZstdCompressionParameters.from_level(level, **options)
        maker = zstandard.ZstdCompressor(compression_params=parameters)
    else:
        maker = zstandard.ZstdCompressor(level=level, **options)
    made: Compressor = maker.compressobj(size=size)
    return made


def _gzip(level: int | None, size: int, threads: int) -> Compressor:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(6 if level is None else level, zlib.DEFLATED, _GZIP)
    # igzip has the levels 0 to 3 only.
    made: Compressor = isal_zlib.compressobj(2 if level is None else min(level, 3), isal_zlib.DEFLATED, _GZIP)
    return made


def _unzstd() -> Any:
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()


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


_MACHINES = {
    Codec.ZSTD: Machine(_unzstd, _zstd),
    Codec.GZIP: Machine(_gunzip, _gzip, padded=True),
    Codec.BZIP2: Machine(_bunzip),
    Codec.XZ: Machine(_unxz, padded=True),
}


class Growing:
    """How much of a file is written: its writer reports it to a reader in another thread."""

    def __init__(self) -> None:
        self.size, self._ended = 0, False
        self._changed = threading.Condition()

    def add(self, count: int) -> None:
        with self._changed:
            self.size += count
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def beyond(self, offset: int) -> int:
        """Return how many bytes can be read from ``offset`` on. Waits for the first one; 0 is the end."""
        with self._changed:
            self._changed.wait_for(lambda: self.size > offset or self._ended)
            return max(0, self.size - offset)


def read(fd: int, chunk: int = CHUNK, growing: Growing | None = None) -> Iterator[bytes]:
    """The bytes of an open file from its start, whatever its offset is (pread)."""
    offset = 0
    while data := os.pread(fd, chunk if growing is None else min(chunk, growing.beyond(offset)), offset):
        yield data
        offset += len(data)


def read_once(fd: int, chunk: int) -> Iterator[bytes]:
    """The same of a file that is removed soon: what was read leaves the page cache.

    Else its removal frees all pages at once, 0.2 s for 1 GB, and until then they keep out what others read.
    """
    offset = 0
    for data in read(fd, chunk):
        yield data
        os.posix_fadvise(fd, offset, len(data), os.POSIX_FADV_DONTNEED)
        offset += len(data)


def decompressed(fd: int, codec: Codec, growing: Growing | None = None) -> Iterator[bytes]:
    """The contents of an archive, checksums verified. Raises ValueError if it is damaged or cut short.

    ``growing``: it is still being written, and read as far as it says.
    """
    if codec is Codec.NONE:
        return read(fd, CHUNK, growing)
    return _members(read(fd, _SIP, growing), _MACHINES[codec])


def _growing_frame(fd: int, chunk: int, growing: Growing) -> Iterator[bytes]:
    """The contents of one frame of zstd that is still being written, in pieces of ``chunk`` bytes; the last has less.

    Raises ValueError if it is damaged or cut short, or if anything follows it. Faster than :func:`decompressed`, whose
    small sips keep the memory low for any archive, of any number of frames.
    """
    import zstandard

    source: Any = _Withheld(fd, growing)
    piece = b""
    with zstandard.ZstdDecompressor().stream_reader(source, read_size=_GULP, closefd=False) as reader:
        try:
            while len(piece := reader.read(chunk)) == chunk:
                yield piece
        except zstandard.ZstdError as error:
            raise ValueError(f"damaged archive: {error}") from None
    # The reader does not distinguish a whole frame from one cut short; but for a whole one it asks for no more than
    # there is.
    if source.exhausted or growing.beyond(source.offset):
        raise ValueError("archive cut short, or something follows it")
    yield piece


class _Withheld:
    """A growing file that hands out its last byte only after all others: only a frame that ends there reads it."""

    def __init__(self, fd: int, growing: Growing) -> None:
        self._fd, self._growing = fd, growing
        self.offset, self.exhausted = 0, False

    def read(self, size: int) -> bytes:
        length = self._growing.beyond(self.offset + 1) or self._growing.beyond(self.offset)
        data = os.pread(self._fd, min(size, length), self.offset)
        self.offset += len(data)
        self.exhausted = not data
        return data


def _members(pieces: Iterable[bytes], machine: Machine) -> Iterator[bytes]:
    """One member after the other, each to its end."""
    current, fed, begun = machine.reader(), False, False
    try:
        for data in pieces:
            while data:
                if machine.padded and begun and not fed and not (data := data.lstrip(b"\0")):
                    break
                plain = current.decompress(data)
                fed = begun = True
                if plain:
                    yield plain
                data = current.unused_data if current.eof else b""
                if current.eof:
                    current, fed = machine.reader(), False
    except Exception as error:  # each library has an error type of its own
        raise ValueError(f"damaged archive: {error}") from None
    if fed:
        raise ValueError("archive cut short")


def same_content(
    one: tuple[int, Codec],
    other: tuple[int, Codec],
    *,
    stop: Callable[[], bool] = lambda: False,
    growing: Growing | None = None,
) -> bool:
    """Tell whether two open archives hold the same bytes, compared as streams in constant memory. Raises Interrupted.

    ``growing``: the other one is still being written, and the first one, plain, is removed then.
    """
    return longer(one, other, stop=stop, growing=growing) == 0


def longer(
    one: tuple[int, Codec],
    other: tuple[int, Codec],
    *,
    stop: Callable[[], bool] = lambda: False,
    growing: Growing | None = None,
) -> int | None:
    """Compare like :func:`same_content`: 0 the same bytes, 1 or -1 one goes on where the other one ends; else None."""
    if growing is None:
        first, second = decompressed(*one), decompressed(*other)
    else:
        first, second = _growing_pair(one[0], other, growing)
    left = right = b""
    at = there = 0  # what is compared of each
    while True:
        if stop():
            raise Interrupted("stopped while an archive was compared")
        if at == len(left):
            left, at = next(first, b""), 0
        if there == len(right):
            right, there = next(second, b""), 0
        length = min(len(left) - at, len(right) - there)
        if length == 0:
            return bool(left) - bool(right)
        if left[at : at + length] != right[there : there + length]:
            return None
        at, there = at + length, there + length


def _growing_pair(one: int, other: tuple[int, Codec], growing: Growing) -> tuple[Iterator[bytes], Iterator[bytes]]:
    (fd, codec), size, chunk = other, os.fstat(one).st_size, CHUNK
    if codec is not Codec.ZSTD or size == 0:
        return read_once(one, chunk), decompressed(fd, codec, growing)
    while size % chunk == 0:  # so that the last piece has less
        chunk -= 1
    return read_once(one, chunk), _growing_frame(fd, chunk, growing)
