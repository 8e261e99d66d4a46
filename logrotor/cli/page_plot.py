"""Small plots as inline SVG: how a log grew and was rotated, and bars. No script, no request, text for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 64


@dataclass(frozen=True, slots=True)
class Growth:
    """What is plotted: rotations (time, bytes), oldest first, and the log now. Times in epoch seconds."""

    rotations: Sequence[tuple[float, int]]
    size: int
    now: float
    limit: int | None


def growth(facts: Growth, label: str) -> str:
    """A saw-tooth: each tooth is one generation of the log, the last one is still growing."""
    if not facts.rotations:
        return ""
    begin, top = facts.rotations[0][0], max(facts.limit or 1, facts.size, *(b for _, b in facts.rotations))
    span = max(facts.now - begin, 1.0)

    def at(moment: float, size: int) -> str:
        return f"{WIDTH * (moment - begin) / span:.1f},{HEIGHT - 2 - (HEIGHT - 6) * size / top:.1f}"

    points = [at(begin, 0)]
    for moment, size in facts.rotations[1:]:
        points += [at(moment, size), at(moment, 0)]
    points.append(at(facts.now, facts.size))
    line = f'<polyline class="line" points="{" ".join(points)}"/>'
    area = f'<polygon class="area" points="{at(begin, 0)} {" ".join(points)} {at(facts.now, 0)}"/>'
    return _svg(area + line + _limit(facts.limit, top), label)


def _limit(limit: int | None, top: int) -> str:
    if not limit:
        return ""
    height = HEIGHT - 2 - (HEIGHT - 6) * limit / top
    return f'<line class="limit" x1="0" x2="{WIDTH}" y1="{height:.1f}" y2="{height:.1f}"/>'


def _svg(body: str, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"<title>{label}</title>{body}</svg>"
    )


def bar(share: float, *, alarming: bool = False) -> str:
    """A horizontal bar, filled by ``share`` (0 to 1). The number stands beside it as text."""
    filled = 100 * min(max(share, 0.0), 1.0)
    kind = "bar alarming" if alarming else "bar"
    return f'<div class="{kind}" aria-hidden="true"><span style="width:{filled:.1f}%"></span></div>'
