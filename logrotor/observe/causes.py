"""What is wrong, by its cause: the same problem of thirty logs is one with thirty subjects. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from logrotor import text
from logrotor.model import Finding, Problem

P = TypeVar("P", bound=Problem)
# How much a cause needs a person: it passes a threshold, it is a finding of the doctor's, or it is to be known.
LEVELS = ("bad", "warn", "note")
_ITSELF = "\0"  # stands for the subject in a sentence that names it


class Attention(Problem, frozen=True, kw_only=True):
    """Something that passes a threshold, or, as a note, something to know of."""

    # "no_run", "clock", "failed_runs", "refused", "failures", "overdue", "growing", "waiting", "full", "request",
    # "problem", "queue"
    code: str
    at: str = ""  # where it was found, if not at the subject: the directory for which a log is refused
    detail: str = ""  # what is so of this subject only: for how long, in how many runs
    about: str = ""  # the file of the subject that it is about: a finding at that one explains it

    def __str__(self) -> str:
        return str(causes([self])[0])


class Subject(Struct, frozen=True):
    """One of those that a cause concerns, and what is so of this one only."""

    name: str
    detail: str = ""


class Cause(Struct, frozen=True, kw_only=True):
    """One thing that is wrong, with all that it concerns."""

    level: str  # one of LEVELS
    codes: tuple[str, ...]  # of thresholds and checks that have found it
    at: str  # where it is, if that is none of the subjects
    problem: str
    why: str
    advice: str  # where it names a subject, that is the first
    subjects: tuple[Subject, ...]

    @property
    def names(self) -> str:
        """Where it is, or whom it concerns: the first three and how many more."""
        return self.at or text.paths([each.name for each in self.subjects])

    @property
    def detail(self) -> str:
        """What is to be said beside the problem: of the only subject, or who they are where ``names`` is elsewhere."""
        concerned = text.paths([each.name for each in self.subjects if each.name != self.at]) if self.at else ""
        own = self.subjects[0].detail if len(self.subjects) == 1 else ""
        return ": ".join(filter(None, (concerned, own)))

    @property
    def what_to_do(self) -> str:
        """The advice; where it names the first of several subjects, that the others are meant too."""
        others = len(self.subjects) - 1
        named = others > 0 and not self.at and _ITSELF in without(self.subjects[0].name, self.advice)
        return f"{self.advice} (and so for the other {others})" if named else self.advice

    def __str__(self) -> str:
        """In one line, as a monitoring system shows it."""
        problem = f"{self.problem} ({self.detail})" if self.detail else self.problem
        return "; ".join(filter(None, (": ".join(filter(None, (self.names, problem))), self.advice)))


def by_cause(problems: Iterable[P], apart: Callable[[P], Hashable] = lambda _: None) -> list[list[P]]:
    """Those that say the same of their subjects, together and in natural order; the groups in the order of their first.

    ``apart``: what keeps two apart though they say the same.
    """
    found: dict[Hashable, list[P]] = {}
    for problem in problems:
        found.setdefault((_said(problem), apart(problem)), []).append(problem)
    return [sorted(group, key=lambda each: text.natural(_name(each))) for group in found.values()]


def _name(problem: Problem) -> str:
    return (problem.about if isinstance(problem, Attention) else "") or problem.subject


def _said(problem: Problem) -> tuple[str, str, str]:
    """Where it was found, and its words without the subject."""
    at = problem.at if isinstance(problem, Attention) else ""
    subject = at or problem.subject
    return at, without(subject, problem.problem), without(subject, problem.advice)


def without(subject: str, words: str) -> str:
    """The words, wherever they name the subject, as it is or quoted for a shell, without it."""
    return words.replace(text.typed(subject), _ITSELF).replace(subject, _ITSELF) if subject else words


def causes(
    attention: Iterable[Attention], findings: Iterable[tuple[str, Finding]] = (), notes: Iterable[Attention] = ()
) -> list[Cause]:
    """The worst first. ``findings`` of the doctor, each with its check, explain what passes a threshold: the same
    problem of the same subject is one cause, with the finding's reason and advice."""
    doctors = list(findings)
    explained = _explained(doctors)
    merged: dict[int, list[tuple[str, Attention]]] = {}
    attention = _but_what_follows(attention)
    told = {(each.subject, _said(each)) for each in attention}
    notes = [each for each in notes if (each.subject, _said(each)) not in told]
    rest: dict[str, list[Attention]] = {level: [] for level in LEVELS}
    for level, each in (*(("bad", each) for each in attention), *(("note", each) for each in notes)):
        number = explained.get(each.about or (each.at or each.subject, _said(each)[1]))
        merged.setdefault(number, []).append((level, each)) if number is not None else rest[level].append(each)
    found = [_cause(level, group) for level, alike in rest.items() for group in by_cause(alike)]
    found += [_finding(check, finding, merged.get(number, ())) for number, (check, finding) in enumerate(doctors)]
    return sorted(found, key=lambda cause: LEVELS.index(cause.level))


def _but_what_follows(attention: Iterable[Attention]) -> list[Attention]:
    """Without "the last runs failed" where it is said of which logs, and why."""
    found = list(attention)
    why = any(each.code == "failures" for each in found)
    return [each for each in found if not (why and each.code == "failed_runs")]


def _explained(doctors: Iterable[tuple[str, Finding]]) -> dict[Hashable, int]:
    """Which finding says what of what, by its subject and words; and which is the first of a file."""
    found: dict[Hashable, int] = {}
    for number, (_, finding) in enumerate(doctors):
        words = without(finding.subject, finding.problem)
        for name in finding.subjects or (finding.subject,):
            for key in (name, (name, words)):
                found.setdefault(key, number)
    return found


def _cause(level: str, group: Sequence[Attention]) -> Cause:
    first = group[0]
    return Cause(
        level=level,
        codes=tuple(dict.fromkeys(each.code for each in group)),
        at=first.at,
        problem=first.problem,
        why=first.why,
        advice=first.advice,
        subjects=_subjects(group),
    )


def _finding(check: str, finding: Finding, merged: Sequence[tuple[str, Attention]]) -> Cause:
    """``merged``: what it explains."""
    own = [Subject(name) for name in finding.subjects or (finding.subject,)]
    passed = [each for level, each in merged if level == "bad"]
    return Cause(
        level="bad" if passed else "note" if finding.note else "warn",
        codes=tuple(dict.fromkeys((*(each.code for each in passed), check))),
        at=next((each.at for each in passed if each.at), ""),
        problem=finding.problem,
        why=finding.why,
        advice=finding.advice,
        subjects=_subjects([each for _, each in merged], own),
    )


def _subjects(group: Sequence[Attention], more: Sequence[Subject] = ()) -> tuple[Subject, ...]:
    """Each once, in natural order, with all that is said of it."""
    details: dict[str, list[str]] = {each.name: [] for each in more}
    for each in group:
        details.setdefault(_name(each), []).append(each.detail)
    found = {name: "; ".join(dict.fromkeys(filter(None, said))) for name, said in details.items() if name}
    return tuple(Subject(name, found[name]) for name in sorted(found, key=text.natural))
