"""What holds for all tests."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is slow, which says nothing about the code.
settings.register_profile("logrotor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("logrotor")

# A shell starts its background jobs with Ctrl-C ignored, and a program that is started so keeps it ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each processor: the tests wait for disks and for other processes as long as they compute."""
    return 2 * len(os.sched_getaffinity(0))
