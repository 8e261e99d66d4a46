"""What a server of PostgreSQL may answer that Python cannot hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.datetime import TimestamptzLoader


class _AnyTime(TimestamptzLoader):
    """A time such as -infinity, in a row that somebody planted, would end each worker: it is long ago."""

    def load(self, data: Any) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return datetime.min.replace(tzinfo=UTC)


async def take_any_time(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("timestamptz", _AnyTime)
