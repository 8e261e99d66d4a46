"""The shape of a configuration that is given as a dict, for type checkers: the keys are those of a logrotor.toml.

A test compares it with the table of keys, which decides at run time. Paths may be :class:`~pathlib.Path` objects,
durations :class:`~datetime.timedelta`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Literal, Required, TypedDict

from logrotor.model import ReopenTarget

FilePath = str | os.PathLike[str]
Duration = str | int | float | timedelta
Size = str | int  # bytes
Off = Literal["off"]


class Defaults(TypedDict, total=False):
    """``defaults``: what every rule inherits."""

    exclude: Sequence[FilePath] | Off
    max_size: Size
    min_size: Size
    schedule: str
    min_interval: Duration
    rotate_empty: bool
    backup_count: int | Off
    max_age: str | timedelta
    max_total_size: Size
    keep_free: Size
    compress: Literal["zstd", "gzip", "none", "off"]
    compress_level: int | Off
    keep_uncompressed: int | Off
    create: bool
    create_mode: str
    create_missing: bool
    method: Literal["rename", "copytruncate"]
    accept_loss: bool
    naming: Literal["numbered", "dated"]
    archive_dir: FilePath
    reopen: str | ReopenTarget
    on_archive: Sequence[FilePath] | Off
    on_archive_timeout: Duration
    missing: Literal["skip", "error"]


class LogRule(Defaults, total=False):
    """One of ``log``: a rule."""

    name: Required[str]
    paths: Required[Sequence[FilePath]]


class Reopen(TypedDict, total=False):
    """One of ``reopen``, by its name: who is asked to reopen logs."""

    manager: Required[Literal["supervisord", "systemd", "pidfile", "command", "callable"]]
    pidfile: FilePath
    signal: str
    unit: str
    user_unit: bool
    command: Sequence[FilePath]
    timeout: Duration
    supervisor_config: FilePath
    function: Callable[[tuple[str, ...]], object]  # with "callable"; it gets the paths of the logs that were taken


class Job(TypedDict, total=False):
    """``queue.job``: how often and how long a job is tried."""

    tries: int
    max_exceptions: int
    timeout: Duration
    backoff: Sequence[Duration]
    expires: Duration
    stuck_after: Duration


class Monitor(TypedDict, total=False):
    """``queue.monitor``: from when on a queue needs attention."""

    max_pending: int
    max_age: Duration
    ticks: int
    queues: Sequence[str]


class Queue(TypedDict, total=False):
    """``queue``: the rotation as a job on a queue."""

    engine: str
    url: FilePath
    name: str
    host: str
    schedule: str
    job: Job
    monitor: Monitor


class Metrics(TypedDict, total=False):
    """``metrics``: for Prometheus."""

    textfile: FilePath


class Page(TypedDict, total=False):
    """``page``: for a browser."""

    file: FilePath


class Configuration(TypedDict, total=False):
    """A configuration as a dict, for :func:`logrotor.load_config`."""

    log: Required[Sequence[LogRule]]
    defaults: Defaults
    reopen: Mapping[str, Reopen | ReopenTarget]
    queue: Queue
    metrics: Metrics
    page: Page
    state_dir: FilePath
    lock_timeout: Duration
    compress_jobs: int
    run_as: str | int
    include: Sequence[FilePath]
