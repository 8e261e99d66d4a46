"""Something that is wrong, as fields: whoever prints it makes the sentence, and nobody takes a sentence apart."""

from __future__ import annotations

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """What is wrong with which object, why it matters, and what to do about it."""

    subject: str  # a path, a rule, a process, a queue; "": the sentence names it
    problem: str  # what is wrong, the system's own words last: "is not writable by www-data (EACCES)"
    why: str = ""  # why it matters; "": whoever shows it knows better
    advice: str = ""  # what to do, as an imperative
    kind: str = ""  # which one of its subject it is, for programs: "forbidden", "stale"

    def __str__(self) -> str:
        """In one line, as an error or an event shows it."""
        return f"{self.subject}: {self.words}" if self.subject else self.words

    @property
    def identity(self) -> str:
        """Equal for the same problem of a subject, whatever numbers its words have: its kind, or what to do."""
        return self.kind or self.advice

    @property
    def words(self) -> str:
        """Without the subject, for a place that has named it."""
        return f"{self.problem}; {self.advice}" if self.advice else self.problem

    def under(self, subject: str) -> Problem:
        """The same as a problem of ``subject``; where it was found at something else, the sentence names that."""
        what = self.problem if self.subject in ("", subject) else f"{self.subject}: {self.problem}"
        return Problem(subject=subject, problem=what, why=self.why, advice=self.advice, kind=self.kind)
