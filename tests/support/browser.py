"""A headless Chromium, driven through its pipe (the DevTools protocol, one JSON object and a NUL each way)."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tests.support.need import need

_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1", "--mute-audio",
)  # fmt: skip


@dataclass(slots=True)
class Browser:
    """One tab. ``events`` are all that it told, in their order."""

    reader: BinaryIO
    writer: BinaryIO
    session: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _rest: bytes = b""

    def ask(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        self.writer.write(json.dumps(message).encode() + b"\0")
        self.writer.flush()
        while (answer := self._next()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def wait_for(self, method: str) -> dict[str, Any]:
        """The first event of that name since ``open``; waits until it comes."""
        for event in self.events:
            if event.get("method") == method:
                return event
        while True:
            self.events.append(self._next())
            if self.events[-1].get("method") == method:
                return self.events[-1]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self.reader.fileno(), 1 << 16)
            assert piece, "Chromium ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, url: str, *, width: int, dark: bool = False, scripts: bool = True) -> None:
        """Load a page in a window of that many CSS pixels; ``events`` begin anew."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.ask("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression is in the page; the page's own policy and disabled scripts do not concern us."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def named(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of all events of these names."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def picture(self) -> bytes:
        """The whole page as PNG."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        return base64.b64decode(shot["data"])


@contextmanager
def chromium(folder: Path, *, env: Mapping[str, str]) -> Iterator[Browser]:
    """A browser with a profile of its own in ``folder``, gone at the end."""
    program = shutil.which("chromium")
    need(program, "chromium")
    assert program is not None
    profile = folder / "profile"
    profile.mkdir(mode=0o700)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    argv = [program, *_FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
    (told_read, told_write), (asked_read, asked_write) = _pipe(), _pipe()
    # Chromium reads its descriptor 3 and writes 4; dash takes no number of two digits.
    shell = ["bash", "-c", f'exec "$@" 3<&{asked_read} 4>&{told_write}', "bash", *argv]
    with open(profile / "stderr", "wb") as log:
        process = subprocess.Popen(
            shell, pass_fds=(asked_read, told_write), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**env, "HOME": str(profile)}, start_new_session=True,
        )  # fmt: skip
    os.close(asked_read)
    os.close(told_write)
    with open(told_read, "rb", buffering=0) as reader, open(asked_write, "wb") as writer:
        try:
            yield _tab(Browser(reader, writer))  # type: ignore[arg-type]
        finally:
            with suppress(OSError):
                os.killpg(process.pid, 9)
            process.wait()


def _pipe() -> tuple[int, int]:
    """Both ends far from the numbers that Chromium expects them at."""
    ends = os.pipe()
    found = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return found[0], found[1]


def _tab(browser: Browser) -> Browser:
    target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.ask(f"{domain}.enable")
    return browser
