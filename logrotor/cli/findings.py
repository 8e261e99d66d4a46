"""``logrotor doctor``: named checks, what they find, why it matters, what to do; and to fix what is safe to fix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from logrotor import text
from logrotor.cli import output
from logrotor.cli.gather import all_checks
from logrotor.cli.options import config_option, json_option, load
from logrotor.cli.session import Session, exit_codes

if TYPE_CHECKING:
    from logrotor.model import Finding
    from logrotor.observe.doctor import Examined, Mended

CODES = {"1": "something was found that was not fixed"}
EPILOG = f"""\
\b
Examples:
  logrotor doctor                     is anything wrong, and what helps?
  logrotor doctor -v                  also list the checks that found nothing
  logrotor doctor --fix               fix what is safe to fix; asks before each
  logrotor doctor --fix --yes         the same without asking
  logrotor doctor --only logs         the checks whose id begins with "logs"
  logrotor doctor --json | jq -r '.checks[].findings[].advice'

{exit_codes(CODES)}
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--only", metavar="ID", multiple=True, help="Only checks whose id begins so; may be given several times.")
@click.option("--fix", is_flag=True, help="Fix what is safe to fix; asks on a terminal.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@json_option("Print the checks and their findings as JSON.")
@click.option("-v", "--verbose", count=True, help="List checks without findings too; -vv: a traceback for a bug.")
@click.pass_context
def doctor(
    ctx: click.Context, /, config: str | None, only: tuple[str, ...], fix: bool, yes: bool, as_json: bool, verbose: int
) -> int:
    """Find what is wrong or soon will be, say why it matters and what to do, and fix what is safe to fix.

    Looks at the configuration, the state directory, the log directories, the logs and archives in them, the processes
    that write them, the reopen targets, rivals such as logrotate, disk space, the clock, and whether anything runs
    logrotor at all. Without --fix nothing is changed. Run it as the user who runs logrotor.
    """
    ctx.ensure_object(Session).verbosity = verbose
    if fix and not yes and (as_json or not output.is_terminal(sys.stdin)):
        raise click.UsageError("--fix asks before each fix, which needs a terminal; without one give --yes too")
    loaded = load(ctx, ours_alone=True)
    from logrotor.clock import local_now
    from logrotor.observe.deployment import Deployment
    from logrotor.observe.doctor import choose, examine

    ask = None if not fix else (lambda _: True) if yes else _ask
    shown = _Shown(as_json=as_json, verbose=verbose > 0)
    known = all_checks(Deployment(loaded, local_now()))
    for examined in examine(choose(known, only), facts=as_json or verbose > 0):
        shown.add(examined, [_mend(finding, ask) for finding in examined.findings])
    return shown.end()


def _ask(finding: Finding) -> bool:
    click.echo("\n".join(_lines("", finding, None)), err=True)
    return click.confirm(f"    {text.printable(finding.would or 'fix it')}?", err=True)


def _mend(finding: Finding, ask: Any) -> Mended | None:
    """How the fix ended; None where it was not tried."""
    from logrotor.observe.doctor import mend

    return mend(finding) if ask is not None and finding.mend is not None and ask(finding) else None


class _Shown:
    """Prints what each check found as soon as it is known; as JSON all at the end."""

    def __init__(self, *, as_json: bool, verbose: bool) -> None:
        self._as_json, self._verbose = as_json, verbose
        self._checks: list[dict[str, Any]] = []
        self._open = self._mended = self._notes = 0

    def add(self, examined: Examined, mended: list[Mended | None]) -> None:
        self._checks.append(_in_json(examined, mended))
        done = [each is not None and each.done for each in mended]
        healed = sum(done)
        notes = sum(finding.note and not end for finding, end in zip(examined.findings, done, strict=True))
        self._mended, self._notes = self._mended + healed, self._notes + notes
        self._open += len(mended) - healed - notes
        if self._as_json:
            return
        for finding, end in zip(examined.findings, mended, strict=True):
            output.write("\n".join(_lines(examined.check.id, finding, end)))
        if self._verbose and not mended:
            output.write(f"{examined.check.id}: {output.paint('ok', 'good')}: {text.printable(examined.check.title)}")
            for name, value in examined.facts.items():
                output.write(f"    {name}  {text.printable(str(value))}")

    def end(self) -> int:
        code = 1 if self._open else 0
        if self._as_json:
            output.write_json({"exit_code": code, "checks": self._checks})
        else:
            output.write(self._verdict())
        return code

    def _verdict(self) -> str:
        made = text.count(len(self._checks), "check")
        notes = f", {text.count(self._notes, 'note')}" if self._notes else ""
        if not self._open and not self._mended:
            return f"{made}, {output.paint('nothing found', 'good')}{notes}."
        mended = f", {self._mended} fixed" if self._mended else ""
        found = text.count(self._open + self._mended, "finding")
        return f"{made}, {output.paint(found, 'bad' if self._open else 'good')}{mended}{notes}."


def _lines(check: str, finding: Finding, mended: Mended | None) -> Iterator[str]:
    head = f"{check if finding.note else output.paint(check, 'bad')}: {'note: ' * finding.note}" if check else ""
    subjects = text.printable(text.paths(finding.subjects or (finding.subject,)))
    yield f"{head}{output.paint(subjects, 'head')}: {text.lines(finding.problem)}"
    yield f"    why   {text.lines(finding.why)}"
    same = f" (and so for the other {len(finding.subjects) - 1})" if _is_named(finding) else ""
    yield f"    do    {text.lines(finding.advice)}{same}"
    if mended is not None:
        ended = output.paint("done", "good") if mended.done else output.paint("failed", "bad")
        yield f"    {ended}  {text.lines(mended.told)}"
    elif finding.mend is not None and check:
        yield f"    --fix {text.lines(finding.would or 'fixes it')}"


def _is_named(finding: Finding) -> bool:
    """Whether the advice is for one of several subjects."""
    return bool(finding.subjects) and finding.subject in finding.advice


def _in_json(examined: Examined, mended: list[Mended | None]) -> dict[str, Any]:
    from logrotor.model import as_json

    findings = [
        {**as_json(finding), "mendable": finding.mend is not None, "mended": as_json(end)}
        for finding, end in zip(examined.findings, mended, strict=True)
    ]
    facts = {"facts": dict(examined.facts)} if examined.facts else {}
    return {"id": examined.check.id, "title": examined.check.title, "findings": findings, **facts}
