"""What holds for all tests."""

from __future__ import annotations

import itertools
import os
import resource
import signal
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.proof.sampling import EXHAUSTIVE

# A loaded machine is slow, which says nothing about the code.
settings.register_profile("logrotor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("logrotor")

# A shell starts its background jobs with Ctrl-C ignored, and a program that is started so keeps it ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# tests/jobs/test_fleet.py leaves the connections of 500 hosts' engines open in its process, celery's four for each:
# more than the 1,024 that a shell may give.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft != resource.RLIM_INFINITY and _soft < 8192:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_hard if 0 < _hard < 8192 else 8192, _hard))


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
    "proof/test_copies.py::test_emptied_while_it_is_copied": 4,
    "proof/test_copies.py::test_equal_lines_after_a_collapse_stay": 2,
    "proof/test_copies.py::test_equal_lines_after_a_truncation_stay": 2,
    "proof/test_debris.py::test_any_debris": 4,
    "proof/test_dry_run.py::test_no_changing_system_call": 2,
    "proof/test_error_sweep.py::test_each_change_fails_once_and_for_good": 4,
    "proof/test_hostile.py::test_directory_swapped_at_each_change": 8,
    "proof/test_hostile.py::test_odd_names_are_names": 3,
    "proof/test_hostile.py::test_odd_things_are_refused": 5,
    "proof/test_interrupts.py::test_keyboard_interrupt_at_each_change": 6,
    "proof/test_interrupts.py::test_sigterm_at_each_change": 4,
    "proof/test_interrupts.py::test_stopped_at_each_change": 3,
    "proof/test_kill_sweep.py::test_killed_before_each_change": 9,
    "proof/test_late_writers.py::test_killed_while_somebody_appends_by_name": 3,
    "proof/test_live_writers.py::test_collapse_loses_nothing_at_full_speed": 2,
    "proof/test_live_writers.py::test_who_follows_a_collapsed_log_sees_little_twice": 2,
    "proof/test_live_writers.py::test_no_line_is_lost_under_rename": 2,
    "proof/test_manners.py::test_closed_streams": 3,
    "proof/test_met_copies.py::test_killed_and_met_by_another_configuration": 37,
    "proof/test_met_copies.py::test_where_nothing_can_be_noted_it_is_left_and_said": 6,
    "proof/test_power_cut.py::test_power_cut_here_and_there": 3,
    "proof/test_real_command.py::test_killed_at_some_system_calls": 2,
    "proof/test_together.py::test_two_configurations_interleaved": 2,
    "proof/test_upgrade.py::test_a_copytruncate_that_the_previous_version_has_to_finish": 2,
    "proof/test_together.py::test_two_configurations_one_inside_the_other": 2,
    "proof/test_upgrade.py::test_what_the_previous_version_left_is_finished": 2,
    "rival/test_import.py::test_the_same_tree": 7,
    "rival/test_logrotate_rows.py::test_8_logrotor_always_has_a_log": 2,
}


# Of the long cases of these, CI has one in so many, with LOGROTOR_EXHAUSTIVE=1 all.
EXHAUSTIVE_ONLY = {
    "observe/test_verify.py::test_no_run_and_no_kill_makes_an_archive_wrong": 4,
    "proof/test_batches.py::test_an_error_here_and_there": 3,
    "proof/test_copies.py::test_a_copy_that_another_configuration_has_moved_is_cut_off": 3,
    "proof/test_damaged_history.py::test_seeds": 5,
    "proof/test_double_kill.py::test_killed_again_at_each_point_of_the_recovery": 3,
    "proof/test_error_sweep.py::test_each_change_fails_with_an_error": 3,
    "proof/test_error_sweep.py::test_each_change_fails_with_each_error": 4,
    "proof/test_error_sweep.py::test_each_change_fails_with_some_errors": 2,
    "proof/test_hostile.py::test_directory_swapped_at_each_change": 2,
    "proof/test_hostile.py::test_file_swapped_at_each_change": 2,
    "proof/test_hostile.py::test_odd_names_are_names": 2,
    "proof/test_hostile.py::test_odd_things_are_refused": 2,
    "proof/test_interrupts.py::test_keyboard_interrupt_at_each_change": 2,
    "proof/test_interrupts.py::test_sigterm_at_each_change": 2,
    "proof/test_interrupts.py::test_stopped_at_each_change": 2,
    "proof/test_kill_sweep.py::test_killed_before_each_change": 2,
    "proof/test_late_writers.py::test_killed_while_somebody_appends_by_name": 3,
    "proof/test_met_copies.py::test_killed_and_met_by_another_configuration": 5,
    "proof/test_mutants.py::test_it_is_caught": 2,
    "proof/test_power_cut.py::test_power_cut_after_each_operation": 2,
    "proof/test_real_command.py::test_killed_at_each_system_call": 2,
    "proof/test_real_command.py::test_killed_twice": 2,
    "proof/test_upgrade.py::test_killed_before_each_change_by_the_previous_version": 3,
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest is long but for a sample, and of the longest only a sample is made at all: the unmarked tests
    take two and a half minutes, and CI a quarter of an hour. A case that is named alone is the first of its kind.
    """
    quick: dict[str, Iterator[int]] = defaultdict(itertools.count)
    long: dict[str, Iterator[int]] = defaultdict(itertools.count)
    left_out = []
    for item in items:
        name = item.nodeid.removeprefix("tests/").partition("[")[0]
        if item.get_closest_marker("long") is None and next(quick[name]) % SAMPLED.get(name, 1):
            item.add_marker(pytest.mark.long)
        is_long = item.get_closest_marker("long") is not None and not EXHAUSTIVE
        if is_long and next(long[name]) % EXHAUSTIVE_ONLY.get(name, 1):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = {*left_out}
        items[:] = [item for item in items if item not in gone]
