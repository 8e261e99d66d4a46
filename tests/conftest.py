"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections import Counter

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


# Of the cases of these, the unmarked tests have one in so many (the first, by a fixed rule); the others are long.
SAMPLED = {
    "cli/test_helper.py::test_a_killed_helper_is_told_and_repaired": 2,
    "cli/test_helper.py::test_killed_with_its_helper": 2,
    "cli/test_helper.py::test_stopped_with_its_helper": 2,
    "cli/test_helper.py::test_very_many_logs_are_shared": 2,
    "proof/test_batches.py::test_an_error_here_and_there": 4,
    "proof/test_batches.py::test_power_cut_here_and_there": 3,
    "proof/test_copies.py::test_a_copy_that_another_configuration_has_moved_is_cut_off": 10,
    "proof/test_copies.py::test_emptied_while_it_is_copied": 2,
    "proof/test_copies.py::test_equal_lines_after_a_collapse_stay": 2,
    "proof/test_copies.py::test_equal_lines_after_a_truncation_stay": 2,
    "proof/test_copies.py::test_two_generations_of_equal_bytes_are_both_kept": 6,
    "proof/test_copies.py::test_what_another_configuration_has_just_left_is_not_rotated": 2,
    "proof/test_debris.py::test_any_debris": 2,
    "proof/test_dry_run.py::test_no_changing_system_call": 2,
    "proof/test_error_sweep.py::test_each_change_fails_once_and_for_good": 2,
    "proof/test_hostile.py::test_directory_swapped_at_each_change": 4,
    "proof/test_hostile.py::test_odd_names_are_names": 3,
    "proof/test_hostile.py::test_odd_things_are_refused": 5,
    "proof/test_interrupts.py::test_keyboard_interrupt_at_each_change": 2,
    "proof/test_interrupts.py::test_sigterm_at_each_change": 2,
    "proof/test_kill_sweep.py::test_killed_before_each_change": 5,
    "proof/test_late_writers.py::test_killed_while_somebody_appends_by_name": 3,
    "proof/test_live_writers.py::test_no_line_is_lost_under_rename": 2,
    "proof/test_manners.py::test_closed_streams": 3,
    "proof/test_met_copies.py::test_killed_and_met_by_another_configuration": 37,
    "proof/test_met_copies.py::test_where_nothing_can_be_noted_it_is_left_and_said": 6,
    "proof/test_power_cut.py::test_power_cut_here_and_there": 3,
    "proof/test_real_command.py::test_killed_at_some_system_calls": 2,
    "proof/test_together.py::test_two_configurations_interleaved": 2,
    "proof/test_together.py::test_two_configurations_one_inside_the_other": 2,
    "rival/test_logrotate_rows.py::test_8_logrotor_always_has_a_log": 2,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is long but for a sample, so that the unmarked tests take two and a half minutes."""
    seen: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.removeprefix("tests/").partition("[")[0]
        if name in SAMPLED and item.get_closest_marker("long") is None:
            if seen[name] % SAMPLED[name]:
                item.add_marker(pytest.mark.long)
            seen[name] += 1
