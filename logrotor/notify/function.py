"""Ask by calling a function of the program that uses logrotor as a library."""

from __future__ import annotations

from logrotor.disk import calls
from logrotor.model import ReopenTarget
from logrotor.notify import Delivered, Stop, failure


def request(target: ReopenTarget, paths: tuple[str, ...], *, stop: Stop) -> Delivered:
    """Call the target's function with the paths. Whatever it raises becomes ReopenFailed."""
    if target.function is None:
        raise failure(target, "no function is given", do="pass one that takes the tuple of paths")
    name = getattr(target.function, "__qualname__", repr(target.function))
    try:
        # invoke, not change: an InterruptedError of the function is its own affair, no reason to call it again.
        result = calls.invoke("call", target.function, paths)
    except Exception as error:
        what = f"{name}() raised {type(error).__name__}: {error}"
        raise failure(target, what, do="correct the function; the next run calls it again") from error
    if hasattr(result, "__await__"):
        getattr(result, "close", lambda: None)()
        raise failure(target, f"{name}() is asynchronous and was not run", do="pass a function that is not async")
    return Delivered(target, (), f"called {name}()")
