"""The doctor runs checks, in their order; it knows none of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from logrotor.errors import InsecureDirectory, UnknownSelection
from logrotor.model import Check, Finding
from logrotor.observe.doctor import choose, examine, mend


def finding(subject: str = "/logs/a", mend=None) -> Finding:
    return Finding(subject=subject, problem="is odd", why="it matters", advice="do", mend=mend, would="even it out")


def check(name: str, *findings: Finding | Exception) -> Check:
    def look():
        for each in findings:
            if isinstance(each, Exception):
                raise each
            yield each

    return Check(id=name, title=f"{name} holds", look=look)


def test_only_takes_ids_and_their_beginnings():
    """--only queue takes every check whose id begins so; an id that fits none is an error that lists them."""
    known = [check("logs.modes"), check("queue.rows"), check("queue.limits")]
    assert [c.id for c in choose(known, ["queue"])] == ["queue.rows", "queue.limits"]
    assert [c.id for c in choose(known, ["queue.rows", "logs"])] == ["logs.modes", "queue.rows"]
    assert choose(known, []) == known
    with pytest.raises(UnknownSelection, match=r"quee: no check .* logs\.modes, queue\.rows"):
        choose(known, ["quee"])


def test_findings_come_in_order():
    """Check by check, each finding in the order of its check."""
    other = replace(finding("2"), problem="is otherwise odd")
    found = list(examine([check("a", finding("1"), other), check("b"), check("c", finding("3"))]))
    assert [(e.check.id, [f.subject for f in e.findings]) for e in found] == [
        ("a", ["1", "2"]),
        ("b", []),
        ("c", ["3"]),
    ]


def test_eleven_identical_findings_are_one_with_eleven_subjects(logrotor, planted):
    """Also where the advice names the subject; each is fixed, and what cannot be is told."""
    mended = []

    def look(number: int, name: str) -> Finding:
        def fix() -> str:
            if number == 7:
                raise PermissionError(13, "Permission denied", name)
            mended.append(name)
            return f"chmod {name}"

        return replace(finding(name, fix), advice=f"chmod {name}")

    (found,) = examine([check("a", *(look(n, f"/logs/{n}") for n in range(11)), finding("/logs/x"))])
    group, alone = found.findings
    assert len(group.subjects) == 11 and alone.subjects == ()
    ended = mend(group)
    assert not ended.done and len(mended) == 10 and "10 of 11" in ended.told and "/logs/7" in ended.told


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InsecureDirectory("/logs: anyone may write there"), "anyone may write there"),
        (PermissionError(13, "Permission denied", "/logs/a"), "/logs/a: Permission denied (EACCES)"),
        (KeyError("x"), "unexpected KeyError: 'x'"),
    ],
)
def test_a_check_that_cannot_look_is_a_finding(error, said):
    """It is reported, with what is not known now, and the next check is run."""
    blind, after = examine([check("a", error), check("b", finding())])
    (told,) = blind.findings
    assert told.subject == "a" and said in told.problem and "a holds" in told.why
    assert after.findings == (finding(),)


def test_mending_tells_what_was_done_or_why_not():
    """A failure to mend is told, not raised."""

    def fails():
        raise PermissionError(1, "Operation not permitted", "/logs/a")

    assert mend(finding(mend=lambda: "chmod 0664")).told == "chmod 0664"
    assert not mend(finding(mend=fails)).done and "/logs/a" in mend(finding(mend=fails)).told
    assert not mend(finding()).done


# ---------------------------------------------------------------- the command


@pytest.fixture
def planted(monkeypatch):
    """Checks of the core that the test plants."""
    known: list[Check] = []
    monkeypatch.setattr("logrotor.observe.checks.checks", lambda here: known)
    return known


def test_findings_are_told_with_reason_and_advice(logrotor, planted):
    """Exit 1; a hostile name is shown as text."""
    planted.append(check("a.b", finding("/logs/\x1b[31m\n.log")))
    said = logrotor("doctor", code=1).out
    assert "/logs/\\x1b[31m\\n.log" in said and "\x1b" not in said


def test_json(logrotor, planted):
    """--json has all of it, and whether it can be mended."""
    planted += [check("a.b", finding(mend=lambda: "evened")), check("c")]
    told = logrotor("doctor", "--json", code=1).json
    assert [c["id"] for c in told["checks"]] == ["a.b", "c"] and told["exit_code"] == 1
    assert told["checks"][0]["findings"] == [
        {"subject": "/logs/a", "problem": "is odd", "why": "it matters", "advice": "do", "note": False,
         "would": "even it out", "subjects": [], "mendable": True, "mended": None}
    ]  # fmt: skip


def test_fix(logrotor, planted):
    """--fix --yes mends what can be mended, and what is mended no longer counts."""
    done: list[str] = []
    planted.append(check("a.b", finding(mend=lambda: done.append("x") or "evened out")))
    assert logrotor("doctor", "--json", code=1).json["checks"][0]["findings"][0]["mended"] is None and done == []
    (found,) = logrotor("doctor", "--fix", "--yes", "--json", code=0).json["checks"][0]["findings"]
    assert found["mended"] == {"done": True, "told": "evened out"} and done == ["x"]
    planted.append(check("c", finding()))
    logrotor("doctor", "--fix", "--yes", code=1)


def test_fix_asks(logrotor, planted, monkeypatch):
    """Without --yes each is asked for; without a terminal that is an error of usage, and nothing is mended."""
    done: list[str] = []
    planted.append(check("a.b", finding(mend=lambda: done.append("x") or "evened out")))
    monkeypatch.setattr("logrotor.cli.output.is_terminal", lambda stream: False)
    assert "--yes" in logrotor("doctor", "--fix", code=2).err and done == []
    monkeypatch.setattr("logrotor.cli.output.is_terminal", lambda stream: True)
    for answer, code in (("n", 1), ("y", 0)):
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt, answer=answer: answer)
        logrotor("doctor", "--fix", code=code)
    assert done == ["x"]


def test_a_configuration_that_cannot_run(logrotor, here):
    """Exit 2, as everywhere."""
    here.file.write_text("[[log]]\n")
    logrotor("doctor", code=2)


def test_the_rules_of_the_configuration(logrotor, here):
    """A rule that was left out and a file in two rules are found."""
    here.log()
    here.configure('[[log]]\nname = "bad"\npaths = ["logs/x"]\nmax_sise = 1\n[[log]]\nname = "two"\n'
                   'paths = ["logs/app.log"]\nmax_size = 1')  # fmt: skip
    told = logrotor("doctor", "--only", "config", "--json", code=1).json["checks"]
    assert "max_sise" in told[0]["findings"][0]["problem"]
    overlap = next(check for check in told if check["id"] == "config.overlap")
    assert overlap["findings"][0]["subject"] == f"{here.logs}/app.log"
