"""Run checks, and fix what they find. Knows no single check, and prints nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from logrotor.errors import LogrotorError, UnknownSelection, problem_of
from logrotor.model import Check, Finding, Problem
from logrotor.observe.causes import by_cause, without


class Examined(Struct, frozen=True):
    """A check that was run, and what it found, in its order."""

    check: Check
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = {}


class Mended(Struct, frozen=True):
    """How a fix ended: what was done, or why it could not be."""

    done: bool
    told: str


def choose(checks: Iterable[Check], only: Sequence[str]) -> list[Check]:
    """The checks whose id begins with one of ``only``; all without. Raises UnknownSelection for one that fits none."""
    known = list(checks)
    for wanted in only:
        if not any(check.id.startswith(wanted) for check in known):
            ids = "there are: " + ", ".join(check.id for check in known)
            raise UnknownSelection(Problem(subject=wanted, problem="no check has an id that begins so", advice=ids))
    return [check for check in known if not only or check.id.startswith(tuple(only))]


def examine(checks: Iterable[Check], *, facts: bool = False) -> Iterator[Examined]:
    """Run one check after the other. One that cannot look is a finding itself, and the others go on.

    ``facts``: also gather what there is to know where nothing was found.
    """
    for check in checks:
        findings = _look(check)
        yield Examined(check, findings, _facts(check) if facts and not findings else {})


def _facts(check: Check) -> Mapping[str, Any]:
    try:
        return check.facts()
    except (LogrotorError, OSError) as error:
        return {"unknown": str(problem_of(error, check.id))}


def _look(check: Check) -> tuple[Finding, ...]:
    try:
        return _together(check.look())
    except (LogrotorError, OSError) as error:
        return (_blind(check, problem_of(error, check.id), "make it readable for this user, then check again"),)
    except Exception as error:  # a bug in one check must not hide what the others see
        bug = Problem(subject="", problem=f"unexpected {type(error).__name__}: {error}")
        return (_blind(check, bug, "this is a bug, please report it"),)


def _together(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Eleven logs with one mode are one finding with eleven subjects; each is still fixed on its own."""

    def apart(finding: Finding) -> Hashable:
        why = without(finding.subject, finding.why) if finding.subject else id(finding)
        return why, finding.mend is None, finding.note

    return tuple(map(_one, by_cause(found, apart)))


def _one(group: Sequence[Finding]) -> Finding:
    first, others = group[0], len(group) - 1
    if not others:
        return first
    return replace(
        first,
        subjects=tuple(finding.subject for finding in group),
        would=f"{first.would or 'fix it'}, and the same for {others} more" if first.mend is not None else "",
        mend=None if first.mend is None else lambda: _mend_all(group),
    )


def _mend_all(group: Sequence[Finding]) -> str:
    """All that can be; then raises LogrotorError if one could not."""
    ends = [mend(finding) for finding in group]
    failed = [end.told for end in ends if not end.done]
    if failed:
        what = f"{len(group) - len(failed)} of {len(group)} fixed: {failed[0]}"
        raise LogrotorError(Problem(subject="", problem=what))
    return f"{ends[0].told}, and the same for {len(group) - 1} more"


def _blind(check: Check, why: Problem, advice: str) -> Finding:
    return Finding(
        subject=check.id,
        problem=f"could not be checked: {why.under(check.id).problem}",
        why=f'nobody knows whether "{check.title}" holds',
        advice=why.advice or advice,
    )


def mend(finding: Finding) -> Mended:
    """Fix what can be fixed. A failure is returned, not raised: the next finding may be fixed all the same."""
    if finding.mend is None:
        return Mended(False, "cannot be fixed safely")
    try:
        return Mended(True, finding.mend())
    except (LogrotorError, OSError) as error:
        return Mended(False, str(problem_of(error, finding.subject)))
