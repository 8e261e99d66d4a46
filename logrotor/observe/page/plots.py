"""Plots as inline SVG, each with a text that says what it shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from logrotor.model import PastTake
from logrotor.observe.page.markup import Html, tag
from logrotor.observe.rotations import Rotation
from logrotor.text import count, size, span

WIDTH, HEIGHT, EDGE = 240.0, 48.0, 4.0
TEETH = 20  # rotations that a sparkline shows at most


class Scale(Struct, frozen=True):
    """From seconds and bytes to the drawing."""

    begin: float
    end: float
    top: float

    def x(self, moment: float) -> float:
        length = self.end - self.begin
        share = (moment - self.begin) / length if length > 0 else 1.0
        return round(EDGE + share * (WIDTH - 2 * EDGE), 1)

    def y(self, amount: float) -> float:
        share = min(1.0, amount / self.top) if self.top > 0 else 0.0
        return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)


# ---------------------------------------------------------------- one log over time


def sparkline(name: str, done: Sequence[Rotation], live: int | None, limit: int | None, now: float) -> Html | None:
    """How a log grew from rotation to rotation, and since: known at both ends of each line, straight between.

    What the first rotation held was written at a pace nobody saw: it is a mark only. None: nothing is known.
    """
    taken = _taken(done, now)
    if not taken:
        return None
    begin = taken[0][0]
    failed = [r.time for r in done if r.status == "failed" and begin <= r.time <= now]
    scale = Scale(begin, now, 1.08 * max(limit or 0, live or 0, *(amount for _, amount in taken)))
    return tag(
        "svg",
        tag("title", _told(name, taken, failed, live, limit, now)),
        _limit(scale, limit),
        _area(scale, _path(taken, live, now)),
        [tag("circle", class_="mark", cx=scale.x(when), cy=scale.y(amount), r="2.4") for when, amount in taken],
        [_cross(scale.x(when)) for when in failed],
        class_="spark", role="img", viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
    )  # fmt: skip


def caption(done: Sequence[Rotation], now: float) -> str:
    """What the plot spans: ``3 rotations in 4 d``."""
    taken = _taken(done, now)
    return f"{count(len(taken), 'rotation')} in {span(now - taken[0][0])}" if taken else ""


def _taken(done: Sequence[Rotation], now: float) -> list[tuple[float, int]]:
    """When, and how many bytes: the latest rotations of which that is known."""
    return [(r.time, r.bytes) for r in done if r.status == "done" and r.bytes is not None and r.time <= now][-TEETH:]


def _told(
    name: str,
    taken: Sequence[tuple[float, int]],
    failed: Sequence[float],
    live: int | None,
    limit: int | None,
    now: float,
) -> str:
    """The plot for those who cannot see it."""
    least, most = min(amount for _, amount in taken), max(amount for _, amount in taken)
    sizes = f"{size(most)} each" if size(least) == size(most) else f"of {size(least)} to {size(most)}"
    parts = [f"{name}: {count(len(taken), 'rotation')} {sizes}, the first {span(now - taken[0][0])} ago"]
    parts += [f"{len(failed)} failed"] if failed else []
    parts += [f"{size(live)} since"] if live is not None else []
    parts += [f"limit {size(limit)}"] if limit else []
    return ", ".join(parts)


def _path(taken: Sequence[tuple[float, int]], live: int | None, now: float) -> list[tuple[float, float]]:
    """The corners of the teeth."""
    corners: list[tuple[float, float]] = [(taken[0][0], 0.0)]
    for when, amount in taken[1:]:
        corners += [(when, float(amount)), (when, 0.0)]
    return [*corners, (now, float(live))] if live is not None else corners


def _area(scale: Scale, corners: Sequence[tuple[float, float]]) -> list[Html]:
    line = " ".join(f"{scale.x(when):g},{scale.y(amount):g}" for when, amount in corners)
    foot = f"{scale.x(corners[-1][0]):g},{scale.y(0):g} {scale.x(corners[0][0]):g},{scale.y(0):g}"
    return [tag("polygon", class_="area", points=f"{line} {foot}"), tag("polyline", class_="growth", points=line)]


def _limit(scale: Scale, limit: int | None) -> Html | None:
    if not limit:
        return None
    return tag("line", class_="limit", x1="0", x2=WIDTH, y1=scale.y(limit), y2=scale.y(limit))


def _cross(x: float) -> Html:
    y = HEIGHT - 9
    return tag("path", class_="cross", d=f"M{x - 3.5:g} {y - 3.5:g}l7 7m0 -7l-7 7")


# ---------------------------------------------------------------- all logs, day by day


class Day(Struct, frozen=True):
    """What was rotated on one day, in the zone of the page."""

    date: str  # 2026-11-22
    rotated: int
    failed: int
    bytes: int


def by_day(takes: Sequence[PastTake], now: datetime, days: int) -> list[Day]:
    """The last ``days`` days, today included, the oldest first."""
    dates = [(now.date() - timedelta(days=back)).isoformat() for back in reversed(range(days))]
    found: dict[str, list[PastTake]] = {date: [] for date in dates}
    for take in takes:
        found.get(datetime.fromtimestamp(take.time, now.tzinfo).date().isoformat(), []).append(take)
    return [_day(date, each) for date, each in found.items()]


def _day(date: str, found: Sequence[PastTake]) -> Day:
    done = [take for take in found if take.status == "done"]
    failed = sum(take.status == "failed" for take in found)
    return Day(date, len(done), failed, sum(take.bytes or 0 for take in done))


def columns(days: Sequence[Day]) -> Html:
    """A column for the bytes of each day; a red foot where something failed."""
    top = max((day.bytes for day in days), default=0)
    total = size(sum(day.bytes for day in days))
    title = f"{sum(day.rotated for day in days)} rotations in {len(days)} days, {total}; the most in a day {size(top)}"
    return tag(
        "svg",
        tag("title", title),
        [_column(place, day, top) for place, day in enumerate(days)],
        class_="columns", role="img", viewBox=f"0 0 {10 * len(days)} 100", preserveAspectRatio="none",
    )  # fmt: skip


def _column(place: int, day: Day, top: int) -> Html:
    failed = f", {day.failed} failed" if day.failed else ""
    title = tag("title", f"{day.date}: {day.rotated} rotated, {size(day.bytes)}{failed}")
    return tag("g", title, list(_rectangles(place, day, top)))


def _rectangles(place: int, day: Day, top: int) -> Iterator[Html]:
    x = 10 * place + 1
    yield tag("rect", class_="ground", x=x, y="0", width="8", height="100")
    high = round(max(2.0, 94 * day.bytes / top), 1) if day.bytes and top else 0.0
    if high:
        yield tag("rect", class_="column", x=x, y=round(94 - high, 1), width="8", height=high)
    yield tag("rect", class_="foot bad" if day.failed else "foot", x=x, y="95", width="8", height="5")


# ---------------------------------------------------------------- a share


def bar(share: float, kind: str = "") -> Html:
    """A bar that is full at 1; what it shows stands beside it as text."""
    width = round(100 * min(1.0, max(0.0, share)), 1)
    return tag(
        "svg",
        tag("rect", class_="ground", width="100", height="6"),
        tag("rect", class_=f"fill {kind}".strip(), width=width, height="6") if width else None,
        class_="bar", aria_hidden="true", viewBox="0 0 100 6", preserveAspectRatio="none",
    )  # fmt: skip
