"""Plots as inline SVG, each with a text that says what it shows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from logrotor.model import LogPoint, PastTake
from logrotor.observe.page.markup import Html, filled, tag
from logrotor.observe.rotations import Rotation
from logrotor.text import count, size, span

WIDTH, HEIGHT, EDGE = 150, 26, 2
TEETH = 20  # rotations that a sparkline shows at most
COARSE = 10  # units that are drawn as one where there are thousands of plots
FEW = 30  # samples that are drawn there

Point = tuple[float, float]  # seconds and bytes, or their place in the drawing


class Scale(Struct, frozen=True):
    """From seconds and bytes to the drawing, in whole units: finer is not seen, and many plots must stay small."""

    begin: float
    end: float
    top: float
    step: int = 1

    def x(self, moment: float) -> int:
        length = self.end - self.begin
        share = (moment - self.begin) / length if length > 0 else 1.0
        return EDGE + round(share * (WIDTH - 2 * EDGE) / self.step) * self.step

    def y(self, amount: float) -> int:
        share = min(1.0, amount / self.top) if self.top > 0 else 0.0
        return HEIGHT - EDGE - round(share * (HEIGHT - 2 * EDGE))


# ---------------------------------------------------------------- one log over time


class Course(Struct, frozen=True):
    """How large one log was: ``line`` from corner to corner, straight between; ``taken`` and ``failed`` rotations."""

    line: tuple[Point, ...]
    taken: tuple[tuple[float, int], ...]  # when, and how many bytes
    failed: tuple[float, ...]
    now: float

    @property
    def begin(self) -> float:
        return self.line[0][0]

    @property
    def caption(self) -> str:
        """What is seen: ``3 rotations in 4 d``."""
        number = count(len(self.taken), "rotation") if self.taken else "no rotation"
        return f"{number} in {span(self.now - self.begin)}"


def course(
    done: Sequence[Rotation], samples: Sequence[LogPoint], live: int | None, now: float, *, most: int = 1000
) -> Course | None:
    """The latest rotations and what was sampled meanwhile; None: nothing is known but, perhaps, how large it is now.

    What the first rotation held was written at a pace nobody saw, unless it was sampled: it is a mark only.
    ``most``: of the samples.
    """
    taken = [(r.time, r.bytes) for r in done if r.status == "done" and r.bytes is not None and r.time <= now][-TEETH:]
    begin = taken[0][0] if len(taken) == TEETH else 0.0
    seen = [(each.time, each.size) for each in samples if each.size is not None and begin <= each.time <= now]
    seen = [*seen[:: -(-len(seen) // most)], seen[-1]] if len(seen) > most else seen
    if not taken and len(seen) < 2:
        return None
    corners: list[Point] = [(when, float(amount)) for when, amount in seen]
    for when, amount in taken:
        corners += [(when, float(amount)), (when, 0.0)]
    corners.sort(key=lambda corner: corner[0])  # of one moment they stay as they are: up, then down
    if taken and corners[0][0] == taken[0][0]:
        del corners[0]
    if live is not None:
        corners.append((now, float(live)))
    failed = (r.time for r in done if r.status == "failed" and corners[0][0] <= r.time <= now)
    return Course(tuple(corners), tuple(taken), tuple(failed), now)


def sparkline(name: str, shown: Course, live: int | None, limit: int | None) -> Html:
    """The course with its rotations as marks and the limit as a line."""
    return _plot(f"{name}: {_told(shown, live, limit)}", shown, live, limit, 1)


def coarse(shown: Course, live: int | None, limit: int | None) -> Html:
    """The same in a few hundred bytes, for a page of thousands."""
    return _plot(shown.caption, shown, live, limit, COARSE)


def _plot(title: str, shown: Course, live: int | None, limit: int | None, step: int) -> Html:
    top = max(limit or 0, live or 0, *(amount for _, amount in (*shown.line, *shown.taken)))
    scale = Scale(shown.begin, shown.now, 1.08 * top, step)
    crosses = "".join(f"M{x - 3} {HEIGHT - 9}l6 6m0-6l-6 6" for x in dict.fromkeys(map(scale.x, shown.failed)))
    return filled(
        _SPARK,
        title=title,
        limit=f"M0 {scale.y(limit)}H{WIDTH}" if limit else "",
        line=_drawn(scale, shown.line),
        marks="".join(dict.fromkeys(f"M{scale.x(when)} {scale.y(amount)}h0" for when, amount in shown.taken)),
        crosses=tag("path", class_="cross", d=crosses) if crosses else "",
    )


# Dots are lines of no length with round ends; what is drawn beyond the frame closes the area and is not seen.
_SPARK = (
    f'<svg class=spark role=img viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
    '<title>{title}</title><path class=growth d="{line}"/><path class=limit d="{limit}"/>'
    '<path class=mark d="{marks}"/>{crosses}</svg>'
)


def _drawn(scale: Scale, corners: Sequence[Point]) -> str:
    """Through the corners, and round below the frame."""
    heights: dict[int, list[int]] = {}
    for when, amount in corners:
        heights.setdefault(scale.x(when), []).append(scale.y(amount))
    points = [(x, y) for x, found in heights.items() for y in _of_one_place(found, scale.step)]
    between = zip(points, points[1:], points[2:], strict=False)
    flat = {n for n, (a, b, c) in enumerate(between, 1) if a[1] == b[1] == c[1]}
    line = " ".join(f"{x},{y}" for n, (x, y) in enumerate(points) if n not in flat)
    far = HEIGHT + 4  # the sides too are drawn where they are not seen
    return f"M-9,{far}V{points[0][1]}L{line}H{WIDTH + 9}V{far}z"


def _of_one_place(heights: Sequence[int], step: int) -> list[int]:
    """From what is drawn at one place: how it came, how far it went, how it left."""
    kept = (heights[0], min(heights), max(heights), heights[-1]) if step == 1 else (min(heights), heights[-1])
    return [y for n, y in enumerate(kept) if n == 0 or y != kept[n - 1]]


def _told(shown: Course, live: int | None, limit: int | None) -> str:
    """The plot for those who cannot see it."""
    parts = [f"watched for {span(shown.now - shown.begin)}"]
    if shown.taken:
        least, most = min(amount for _, amount in shown.taken), max(amount for _, amount in shown.taken)
        sizes = f"{size(most)} each" if size(least) == size(most) else f"of {size(least)} to {size(most)}"
        first = span(shown.now - shown.taken[0][0])
        parts = [f"{count(len(shown.taken), 'rotation')} {sizes}, the first {first} ago"]
    parts += [f"{len(shown.failed)} failed"] if shown.failed else []
    parts += [f"{size(live)} {'since' if shown.taken else 'now'}"] if live is not None else []
    parts += [f"limit {size(limit)}"] if limit else []
    return ", ".join(parts)


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
