"""Something that is wrong, as fields: whoever prints it makes the sentence, and nobody takes a sentence apart."""

from __future__ import annotations

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """What is wrong with which object, why it matters, and what to do about it."""

    subject: str  # a path, a rule, a process, a queue; "": the sentence names it
    problem: str  # what is wrong, the system's own words last: "is not writable by www-data (EACCES)"
    why: str = ""  # why it matters; "": whoever shows it knows better
    advice: str = ""  # what to do, as an imperative

    def __str__(self) -> str:
        """In one line, as an error or an event shows it."""
        what = f"{self.subject}: {self.problem}" if self.subject else self.problem
        return f"{what}; {self.advice}" if self.advice else what
