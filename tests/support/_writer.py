"""The process behind tests.support.writers. Standalone: started as ``python -S -E _writer.py key=value ...``.

Writes numbered lines (see oracle.py), each with one write(2), never an fsync. It counts in a shared memory of four
64-bit numbers, so that nothing of the count is lost however it ends. Ends at SIGTERM, at the end of stdin, or after the
last line; a line once begun is finished first.
"""

import mmap
import os
import select
import signal
import struct
import sys
import time

LINES, MISSED, REOPENED, READY = range(4)
RETRY = 0.01


class Stop(Exception):
    pass


class Writer:
    def __init__(self, options: dict[str, str]) -> None:
        self.path = os.fsencode(options["path"])
        self.kind = options["kind"]
        self.name = options["name"].encode()
        self.width = int(options["width"])
        self.strict = options["strict"] == "1"
        self.check_every = int(options["check_every"])
        self.rate = float(options["rate"])
        self.counts = mmap.mmap(int(options["counts"]), 32)
        self.next = 1 + struct.unpack_from("=Q", self.counts, 0)[0]
        self.fd = -1
        self.stopping = False
        self.reopening = False
        self.wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(0, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.on_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.kind == "signal":
            signal.signal(int(options["signal"]), self.on_reopen)

    def on_stop(self, *_: object) -> None:
        self.stopping = True

    def on_reopen(self, *_: object) -> None:
        self.reopening = True

    # ------------------------------------------------------------ opening

    def open(self) -> None:
        flags = os.O_WRONLY | (0 if self.strict else os.O_CREAT) | (0 if self.kind == "no_append" else os.O_APPEND)
        while True:
            try:
                fd = os.open(self.path, flags, 0o600)
                break
            except FileNotFoundError:
                self.add(MISSED)
            if self.stopping:
                raise Stop
            if self.kind != "per_line":
                self.rest(RETRY)
        if self.kind == "no_append":
            os.lseek(fd, 0, os.SEEK_END)
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def reopen(self) -> None:
        self.reopening = False
        self.close()
        self.open()
        self.add(REOPENED)

    def moved(self) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return True
        mine = os.fstat(self.fd)
        return (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)

    # ------------------------------------------------------------ writing

    def write_line(self) -> None:
        if self.kind == "per_line":
            self.open()
        elif self.reopening or (self.kind == "follow" and self.next % self.check_every == 0 and self.moved()):
            self.reopen()
        self.put(self.line(self.next))
        if self.kind == "per_line":
            self.close()
        struct.pack_into("=Q", self.counts, 0, self.next)
        self.next += 1

    def put(self, data: bytes) -> None:
        """One write(2). Only a full disk makes it more: then the rest of the line follows as soon as it fits."""
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except OSError:
                if self.stopping:
                    raise Stop from None
                self.rest(RETRY)

    def line(self, number: int) -> bytes:
        digits = b"%d" % number
        room = max(1, self.width - len(self.name) - 2 * len(digits) - 4)
        padding = room - len(b"%d" % room)
        return b"%s %s %d%s#%s\n" % (self.name, digits, padding, b"=" * padding, digits)

    def add(self, counter: int) -> None:
        (value,) = struct.unpack_from("=Q", self.counts, 8 * counter)
        struct.pack_into("=Q", self.counts, 8 * counter, value + 1)

    # ------------------------------------------------------------ when

    def rest(self, seconds: float) -> None:
        """Sleep until the time is over or a signal came."""
        if select.select([self.wake], [], [], seconds)[0]:
            os.read(self.wake, 4096)

    def orders(self, seconds: float | None) -> int:
        """Lines asked for on stdin within ``seconds`` (None: until there are some or a signal came)."""
        ready = select.select([0, self.wake], [], [], seconds)[0]
        if self.wake in ready:
            os.read(self.wake, 4096)
        if 0 not in ready:
            return 0
        asked = os.read(0, 4096)
        if not asked:
            raise Stop
        return asked.count(b"+")

    def on_order(self) -> None:
        while not self.stopping:
            for _ in range(self.orders(None)):
                self.write_line()
            if self.reopening:
                self.reopen()

    def free(self, last: int) -> None:
        begin, written = time.monotonic(), 0
        while not self.stopping and (last == 0 or self.next <= last):
            self.write_line()
            written += 1
            if self.rate:
                while (ahead := begin + written / self.rate - time.monotonic()) > 0 and not self.stopping:
                    self.orders(ahead)
                    if self.reopening:
                        self.reopen()
            elif written % 1024 == 0:
                self.orders(0)

    def run(self, last: int, on_order: bool) -> None:
        try:
            if self.kind != "per_line":
                self.open()
            self.add(READY)
            if on_order:
                self.on_order()
            else:
                self.free(last)
        except Stop:
            pass
        self.close()


def main() -> None:
    options = dict(each.split("=", 1) for each in sys.argv[1:])
    Writer(options).run(int(options["lines"]), options["on_order"] == "1")


if __name__ == "__main__":
    main()
