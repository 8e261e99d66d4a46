"""The finder proves itself: known bugs, each put into a copy of the package, and the quick test that must notice it.

``python -m tests.proof.mutants [-v] [WORD ...]`` plants them, or those with a WORD in their name, one by one and prints
what became of each. A mutant that survives, does
not apply, or names a test that fails without it is an error. To add one: an exact piece of the source that stands
there once, what it becomes, and a test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
ORDER = "tests/proof/test_order.py::"
LIVE = "tests/proof/test_live_writers.py::"
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: in ``file``, each first text of ``changes`` becomes the second. ``test`` must fail then."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    test: str

    def applied(self, tree: Path) -> str:
        """The mutated source. Raises ValueError unless every text stands there exactly once."""
        source = (tree / self.file).read_text()
        found = [(source.find(old), old, new) for old, new in self.changes]
        for _, old, _ in found:
            if source.count(old) != 1:
                raise ValueError(f"{self.name}: {source.count(old)} times in {self.file}: {old!r}")
        for at, old, new in sorted(found, reverse=True):
            source = source[:at] + new + source[at + len(old) :]
        return source

    def plant(self, tree: Path) -> None:
        """Raises ValueError, or SyntaxError if it does not compile."""
        source = self.applied(tree)
        compile(source, self.file, "exec")
        (tree / self.file).write_text(source)


MUTANTS = (
    Mutant(
        "nobody looks once more before a compressed archive's original goes",
        "logrotor/act/archive.py",
        (("            calls.take_read_lease(fd)\n", "            pass\n"),),
        ORDER + "test_a_writer_that_comes_while_the_disk_is_slow",
    ),
    Mutant(
        "nobody looks once more before an archive is removed",
        "logrotor/act/archive.py",
        (("lambda: last_look(context, logdir, fd, step, step.size)", "lambda: None"),),
        ORDER + "test_a_writer_that_comes_before_an_archive_is_removed",
    ),
    Mutant(
        "equal bytes and times are enough in different slots",
        "logrotor/survey/forms.py",
        (
            ("one_time=one_time, one_place=one_place)", "one_time=one_time, one_place=True)"),
            ('yield "name", _names_of(archive)', 'yield "time", _moment(archive)'),
        ),
        ORDER + "test_another_generation_of_the_same_lines_is_no_duplicate[2]",
    ),
    Mutant(
        "times that are nearly equal are enough in one slot",
        "logrotor/survey/forms.py",
        (("time == kept or any(", "abs(time - kept) < 10**9 or any("),),
        ORDER + "test_another_generation_of_the_same_lines_is_no_duplicate[1]",
    ),
    Mutant(
        "the archive is not synced",
        "logrotor/act/form.py",
        (("files.sync_and_close_check(self._out)\n", "pass\n"),),
        ORDER + "test_the_original_goes_last[zstd]",
    ),
    Mutant(
        "the directory is not synced before the original goes",
        "logrotor/act/form.py",
        (("self.target.sync()\n", "pass\n"),),
        ORDER + "test_the_archive_directory_is_durable_before_the_original_goes",
    ),
    Mutant(
        "the original goes before its archive has a name",
        "logrotor/act/form.py",
        (
            (
                "self.target.publish(self._temp, self.step.to_name)\n",
                "self.source.remove(self.step.name, self.step.id)\n",
            ),
            (
                "        self._check_original()\n",
                "        self.target.publish(temp_name(self.step.to_name), self.step.to_name)\n",
            ),
            (
                "source.remove(step.name, step.id, lambda: last_look(self._context, source, fd, step, *self._read))\n",
                "            pass\n",
            ),
        ),
        ORDER + "test_the_original_goes_last[gzip]",
    ),
    Mutant(
        "the archive is not verified",
        "logrotor/act/form.py",
        (("            self._verify()\n", ""),),
        ORDER + "test_an_archive_that_does_not_hold_the_bytes_is_not_published",
    ),
    Mutant(
        "a failed fsync is passed over",
        "logrotor/disk/files.py",
        (
            (
                '    change("sync", os.fsync, fd)\n',
                '    try:\n        change("sync", os.fsync, fd)\n    except OSError:\n        pass\n',
            ),
        ),
        ORDER + "test_a_failed_fsync_keeps_the_original",
    ),
    Mutant(
        "a short write is taken for a whole one",
        "logrotor/disk/files.py",
        (
            (
                'view = view[change("write", os.write, fd, view) :]\n',
                'view = view[:change("write", os.write, fd, view) * 0]\n',
            ),
        ),
        ORDER + "test_a_short_write_is_not_the_end",
    ),
    Mutant(
        "the replacement is dressed after the exchange",
        "logrotor/act/take.py",
        (
            ("mode = logdir.dress(fd, step.base, step.mode, old, need=_need(step), mark=UNFINISHED_MODE)\n", "pass\n"),
            (
                "    raise\n        logdir.set_mode(fd, mode)\n",
                "    raise\n        logdir.dress(fd, step.base, step.mode, old, need=0)\n",
            ),
        ),
        ORDER + "test_a_replacement_is_dressed_before_it_is_seen",
    ),
    Mutant(
        "what the exchange brought is not looked at",
        "logrotor/act/take.py",
        (("logdir.expect(slot, step.id)\n        except Stale:", "pass\n        except Stale:"),),
        ORDER + "test_what_was_put_in_the_logs_place_is_put_back",
    ),
    Mutant(
        "a rename goes over what is there",
        "logrotor/disk/logdir.py",
        (("to.fd, target, calls.RENAME_NOREPLACE)", "to.fd, target, 0)"),),
        ORDER + "test_a_name_that_appears_is_never_renamed_over",
    ),
    Mutant(
        "O_TRUNC for O_EXCL",
        "logrotor/disk/logdir.py",
        (("_NEW = os.O_CREAT | os.O_EXCL |", "_NEW = os.O_CREAT | os.O_TRUNC |"),),
        ORDER + "test_a_temp_that_appears_is_not_taken_over",
    ),
    Mutant(
        "a path for the directory's descriptor",
        "logrotor/disk/logdir.py",
        (
            (
                'change("create", os.open, name, _NEW | os.O_RDWR, 0o600, dir_fd=self.fd)',
                'change("create", os.open, os.path.join(self.path, name), _NEW | os.O_RDWR, 0o600)',
            ),
        ),
        ORDER + "test_every_call_is_relative_to_the_directory_that_was_opened[.app.log.1.zst.tmp]",
    ),
    Mutant(
        "a path for the directory's descriptor at the take",
        "logrotor/disk/logdir.py",
        (
            (
                "os.open, name, _NEW | os.O_RDONLY, UNFINISHED_MODE, dir_fd=self.fd)\n"
                "        except FileExistsError:\n"
                "            raise Stale",
                "os.open, os.path.join(self.path, name), _NEW | os.O_RDONLY, UNFINISHED_MODE)\n"
                "        except FileExistsError:\n"
                "            raise Stale",
            ),
        ),
        ORDER + "test_every_call_is_relative_to_the_directory_that_was_opened[app.log.1]",
    ),
    Mutant(
        "no lock on a temp",
        "logrotor/disk/logdir.py",
        (("fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "pass\n"),),
        ORDER + "test_a_temp_of_a_living_run_is_left_alone",
    ),
    Mutant(
        "slots are shifted past a gap",
        "logrotor/decide/slots.py",
        (("wanted = max(slot, free)\n", "wanted = slot + 1\n"),),
        ORDER + "test_a_hole_is_filled_and_nothing_beyond_it_moves",
    ),
    Mutant(
        "a refused lease is ignored",
        "logrotor/disk/writers.py",
        (('return Written("lease")\n', 'return Nobody("lease")\n'),),
        LIVE + "test_what_is_written_is_neither_compressed_nor_removed[10]",
    ),
    Mutant(
        "unknown is taken for nobody",
        "logrotor/decide/proof.py",
        (("return _why_not_unknown(why, entry, delivered, now)\n", "return None\n"),),
        ORDER + "test_unknown_is_never_nobody",
    ),
    Mutant(
        "a collapse leaves no record",
        "logrotor/act/copy.py",
        (("context.history.begin_copy(record)\n", "pass\n"), ("cuts.begin(out, record)", "False")),
        ORDER + "test_a_copytruncate_that_died_before_the_cut_is_not_done_twice[True]",
    ),
    Mutant(
        "a copy says nothing to another configuration",
        "logrotor/act/copy.py",
        (("cuts.begin(out, record)", "False"),),
        "tests/proof/test_met_copies.py::test_killed_and_met_by_another_configuration[lines-cuts-followed-ba]",
    ),
    Mutant(
        "a copy that was cut off goes on saying that it is to be",
        "logrotor/act/cut.py",
        (("        cuts.conclude(cut.noted)\n", "        pass\n"),),
        "tests/proof/test_copies.py::test_a_finished_copy_says_so",
    ),
    Mutant(
        "a copy is published beside another one's",
        "logrotor/act/copy.py",
        (("        _expect_free_slot(context, step)\n", ""),),
        ORDER + "test_a_copy_is_not_published_beside_another_ones",
    ),
    Mutant(
        "a truncation leaves no mark",
        "logrotor/act/cut.py",
        (("    head.overwrite(cut.live, cuts.mark_of(cut.record))\n", ""),),
        "tests/proof/test_copies.py::test_equal_lines_after_a_truncation_stay[followed]",
    ),
    Mutant(
        "a log is cut whole though somebody has written it since",
        "logrotor/disk/calls.py",
        (("if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):", "if False:"),),
        "tests/proof/test_copies.py::test_somebody_opens_the_log_at_any_point_of_a_whole_cut[who writes a line]",
    ),
    Mutant(
        "a log is cut whole under whoever has it open",
        "logrotor/disk/calls.py",
        (
            ("    if not _has_write_lease(fd):\n        return None\n", ""),
            ("        if fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK:", "        if False:"),
        ),
        "tests/proof/test_copies.py::test_somebody_who_only_reads_opens_the_log_at_any_point_of_a_whole_cut",
    ),
    Mutant(
        "any archive of the same bytes is taken for the copy",
        "logrotor/decide/recovery.py",
        (("record.archive_mtime_ns == archive.entry.stat.st_mtime_ns\n", "True\n"),),
        "tests/proof/test_copies.py::test_a_copy_that_retention_has_taken_is_not_mistaken",
    ),
    Mutant(
        "the mark of a collapse is recorded before it is durable",
        "logrotor/act/cut.py",
        (
            (
                "_try(files.punch, cut, cut.block)\n            files.sync(cut.live)\n",
                "files.punch(cut.live, cut.block)\n",
            ),
        ),
        ORDER + "test_a_cut_is_recorded_marked_and_durable_at_each_step[True-punch-collapse]",
    ),
    Mutant(
        "a record that a power cut forgets",
        "logrotor/disk/database.py",
        (("PRAGMA synchronous = EXTRA", "PRAGMA synchronous = OFF"),),
        "tests/proof/test_power_cut.py::test_the_record_of_a_collapse_outlives_a_power_cut[ext4]",
    ),
    Mutant(
        "an archive is set aside under the name of an unfinished one",
        "logrotor/decide/naming.py",
        (('return f".{archive}.aside"', 'return f".{archive}.tmp"'),),
        ORDER + "test_what_was_set_aside_and_not_put_back_loses_no_line[.app.log.1.aside]",
    ),
    Mutant(
        "who writes between the two looks is not seen",
        "logrotor/act/archive.py",
        (("    if status.st_size != size or mtime_ns not in (None, status.st_mtime_ns):", "    if False:"),),
        ORDER + "test_a_line_that_comes_while_the_disk_is_slow",
    ),
    Mutant(
        "a form is one of its original only while that has not grown",
        "logrotor/survey/forms.py",
        (
            ("    return found if (found == 0 and same)", "    return found if (found == 0)"),
            ("or (found is not None and grown)", "and same"),
        ),
        ORDER + "test_the_original_has_grown_since[True-False]",
    ),
    Mutant(
        "any file of that inode is taken for the original",
        "logrotor/survey/forms.py",
        (("(one_place if older is None else older)", "True"),),
        ORDER + "test_what_has_grown_is_another_generation[its inode again]",
    ),
    Mutant(
        "a reserved name is given back with the line that came into it",
        "logrotor/disk/logdir.py",
        (("        if os.fstat(fd).st_size:\n", "        if False:\n"),),
        "tests/proof/test_late_writers.py::test_killed_while_somebody_appends_by_name[link-dated-none-appender]",
    ),
)


@contextmanager
def copied() -> Iterator[Path]:
    """The package and its tests, ready to be spoilt."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = Path(folder)
        # With what is compiled already, but for what another process is just writing.
        shutil.copytree(CHECKOUT, tree, ignore=shutil.ignore_patterns("*.pyc.*", ".*"), dirs_exist_ok=True)
        tree.chmod(0o755)
        yield tree


class NotRun(Exception):
    """The tests did not run to their end, or were skipped."""


def fails(tree: Path, *tests: str) -> str | None:
    """What the first failing test said, or None if all passed. Raises NotRun."""
    argv = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode not in (0, 1) or " skipped" in done.stdout.splitlines()[-1]:
        raise NotRun(f"{' '.join(tests)}\n{done.stdout}{done.stderr}")
    if done.returncode == 0:
        return None
    said = [line[1:].strip() for line in done.stdout.splitlines() if line.startswith("E  ")]
    return said[0] if said else "failed"


def killed(mutant: Mutant) -> str | None:
    """What the mutant's test said about it; None: it survived. Raises ValueError, SyntaxError or NotRun."""
    with copied() as tree:
        mutant.plant(tree)
        return fails(tree, mutant.test)


def main(chosen: Sequence[str]) -> int:
    words = [word for word in chosen if word != "-v"]
    mutants = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with copied() as tree:
        sick = fails(tree, *dict.fromkeys(mutant.test for mutant in mutants))
    if sick is not None:
        print(f"the tests fail without any mutant: {sick}")
        return 1
    survivors = 0
    for mutant in mutants:
        said = killed(mutant)
        survivors += said is None
        print(f"{'SURVIVED' if said is None else 'caught':9} {mutant.name:58} {mutant.test.split('::')[1]}")
        if said is not None and "-v" in chosen:
            print(f"{'':9} {said[:150]}")
        sys.stdout.flush()
    print(f"{len(mutants) - survivors} of {len(mutants)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
