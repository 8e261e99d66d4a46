"""The names of schedules, and what a cron expression may be."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from logrotor.config.values import did_you_mean

NAMES = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "yearly": "0 0 1 1 *",
}

# A slot is looked for within 50 years after this day; any day would do, so it is a fixed one.
_SAMPLE = datetime(2026, 1, 1, tzinfo=UTC)


class Schedule(Struct, frozen=True):
    """What the user wrote, and the 5-field cron expression that it means."""

    name: str
    expression: str


def schedule(value: object) -> Schedule:
    """A name of ``NAMES`` or a cron expression of 5 fields that has a slot at all. Raises ``ValueError``."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is no schedule")
    name = " ".join(value.split())
    expression = NAMES.get(name.lower(), name)
    _check(expression)
    return Schedule(name, expression)


def _check(expression: str) -> None:
    fields = len(expression.split())
    if fields == 6:
        raise ValueError("has 6 fields; a schedule has no seconds, drop the first one")
    if fields != 5:
        hint = "; write it without the @" if expression.startswith("@") else did_you_mean(expression, NAMES)
        raise ValueError(f"is no schedule: it has {fields} field{'s' * (fields != 1)}, cron has 5{hint}")
    _check_slots(expression)


def _check_slots(expression: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        slot = next(CronSim(expression, _SAMPLE), None)
    except CronSimError as error:
        raise ValueError(f"is no schedule: {str(error).lower()}") from None
    if slot is None:
        raise ValueError("is no schedule: no such day comes in 50 years")
