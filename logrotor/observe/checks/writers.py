"""Who writes what: old inodes, removed files, and writers that copytruncate would hurt."""

from __future__ import annotations

import os
from collections.abc import Iterator

from logrotor.disk import proc, writers
from logrotor.model import Check, Finding, Method, Written
from logrotor.observe.site import Site
from logrotor.observe.status import archives_of


def checks(site: Site) -> list[Check]:
    return [
        Check(id="writers.old", title="nobody writes an archive", look=lambda: old(site)),
        Check(id="writers.deleted", title="nobody writes a removed file", look=lambda: deleted(site)),
        Check(id="writers.append", title="copytruncated logs are appended to", look=lambda: append(site)),
    ]


def old(site: Site) -> Iterator[Finding]:
    for facts in site.survey.logs:
        for archive in archives_of(facts):
            found = facts.writers.get(archive.entry.id)
            if isinstance(found, Written):
                target = facts.spec.reopen
                helps = f"is {target} the right reopen target?" if target else "name who reopens it: reopen = ..."
                yield Finding(
                    subject=archive.path,
                    problem=f"{_who(found.pids)} still writes it, though it was rotated",
                    why="its lines are not in the live log; it can be neither compressed nor removed, and grows",
                    advice=f'{helps}; for a writer that cannot reopen: method = "copytruncate"; or restart it',
                )


def deleted(site: Site) -> Iterator[Finding]:
    places = frozenset(facts.directory.resolved for facts in site.survey.logs)
    for found in dict.fromkeys(writers.writers_of_deleted(places)):
        yield Finding(
            subject=found.path,
            problem=f"{_who((found.pid,))} writes it, though it was removed ({found.size} bytes)",
            why="its lines are lost when the process ends, and the room that they take comes back only then",
            advice=f"find the number N by ls -l /proc/{found.pid}/fd, cp /proc/{found.pid}/fd/N FILE; then restart it",
        )


def append(site: Site) -> Iterator[Finding]:
    logs = [f for f in site.survey.logs if f.spec.method is Method.COPYTRUNCATE and f.family.live is not None]
    for facts in logs:
        assert facts.family.live is not None
        for holder in site.processes.holders.get(facts.family.live.id, ()):
            if not holder.append:
                yield Finding(
                    subject=facts.path,
                    problem=f"{_who((holder.pid,))} has it open without O_APPEND",
                    why="after a truncation it would go on where it was, behind a hole of NUL bytes; "
                    "logrotor therefore does not rotate it",
                    advice="let it append (>> instead of >; mode 'a' instead of 'w'), or use method = \"rename\"",
                )


def _who(pids: tuple[int, ...]) -> str:
    return " and ".join(_named(pid) for pid in pids) or "a process that cannot be seen from here"


def _named(pid: int) -> str:
    try:
        program = os.path.basename((proc.cmdline(pid) or ("?",))[0])
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({program})"
