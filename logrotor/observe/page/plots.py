"""Plots as inline SVG, each with a text that says what it shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from logrotor.model import PastTake
from logrotor.observe.page.markup import Html, filled, tag
from logrotor.observe.rotations import Rotation
from logrotor.text import count, size, span

WIDTH, HEIGHT, EDGE = 150, 26, 3
TEETH = 20  # rotations that a sparkline shows at most

Point = tuple[float, float]  # seconds and bytes, or their place in the drawing


class Scale(Struct, frozen=True):
    """From seconds and bytes to the drawing, in whole units: finer is not seen, and many plots must stay small."""

    begin: float
    end: float
    top: float
    step: int = 1  # units that are drawn as one

    def x(self, moment: float) -> int:
        length = self.end - self.begin
        share = (moment - self.begin) / length if length > 0 else 1.0
        return EDGE + round(share * (WIDTH - 2 * EDGE) / self.step) * self.step

    def y(self, amount: float) -> int:
        share = min(1.0, amount / self.top) if self.top > 0 else 0.0
        return HEIGHT - EDGE - round(share * (HEIGHT - 2 * EDGE))


# ---------------------------------------------------------------- one log over time


def sparkline(
    name: str, done: Sequence[Rotation], live: int | None, limit: int | None, now: float, *, step: int = 1
) -> Html | None:
    """How a log grew from rotation to rotation, and since: known at both ends of each line, straight between.

    What the first rotation held was written at a pace nobody saw: it is a mark only. None: nothing is known.
    """
    taken = _taken(done, now)
    if not taken:
        return None
    begin = taken[0][0]
    failed = [r.time for r in done if r.status == "failed" and begin <= r.time <= now]
    scale = Scale(begin, now, 1.08 * max(limit or 0, live or 0, *(amount for _, amount in taken)), step)
    return filled(
        _SPARK,
        title=_told(name, taken, failed, live, limit, now),
        limit=f"M0 {scale.y(limit)}H{WIDTH}" if limit else "",
        line=_drawn(scale, _path(taken, live, now)),
        marks="".join(dict.fromkeys(f"M{scale.x(when)} {scale.y(amount)}h0" for when, amount in taken)),
        crosses=tag("path", class_="cross", d="".join(map(_cross, dict.fromkeys(map(scale.x, failed)))))
        if failed
        else "",
    )


# Dots are lines of no length with round ends; what is drawn beyond the frame closes the area and is not seen.
_SPARK = (
    f'<svg class="spark" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
    '<title>{title}</title><path class="growth" d="{line}"/><path class="limit" d="{limit}"/>'
    '<path class="mark" d="{marks}"/>{crosses}</svg>'
)


def _drawn(scale: Scale, corners: Sequence[Point]) -> str:
    """Through the corners, and round below the frame."""
    points = [(scale.x(when), scale.y(amount)) for when, amount in corners]
    shown = [p for place, p in enumerate(points) if p not in points[max(0, place - 1) : place]]
    line = " ".join(f"{x},{y}" for x, y in shown)
    below = HEIGHT + 4
    return f"M{shown[0][0]},{below}L{line} {shown[-1][0]},{below}z"


def _cross(x: int) -> str:
    return f"M{x - 3} {HEIGHT - 9}l6 6m0-6l-6 6"


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


def _path(taken: Sequence[tuple[float, int]], live: int | None, now: float) -> list[Point]:
    """The corners of the teeth."""
    corners: list[Point] = [(taken[0][0], 0.0)]
    for when, amount in taken[1:]:
        corners += [(when, float(amount)), (when, 0.0)]
    return [*corners, (now, float(live))] if live is not None else corners


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


def bar(share: float, kind: str = "", thresholds: Sequence[float] = ()) -> Html:
    """A bar that is full at 1, with a tick at each threshold; what it shows stands beside it as text."""
    width = round(100 * min(1.0, max(0.0, share)), 1)
    return tag(
        "svg",
        tag("rect", class_="ground", width="100", height="6"),
        tag("rect", class_=f"fill {kind}".strip(), width=width, height="6") if width else None,
        [tag("rect", class_="tick", x=round(100 * each, 1), width="0.5", height="6") for each in thresholds],
        class_="bar", aria_hidden="true", viewBox="0 0 100 6", preserveAspectRatio="none",
    )  # fmt: skip
