"""Who runs logrotor: what run_as changes, and for each set of owners one answer that works."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import mounts, users
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.rights import Log, actors, follow, rights
from tests.support.writers import Kind, Writer


@pytest.fixture
def site() -> Iterator[Log]:
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree(mode=0o1777) as root:
        yield Log(root)


# ---------------------------------------------------------------- run_as


@pytest.mark.parametrize("user", ['"www-data"', '"33"', "33", '"30123"', "30123"])
def test_run_as_is_that_user_whole(site: Log, user: str) -> None:
    """Name or number: uid, gid and groups, HOME, USER and LOGNAME of a command, and ~ in the configuration."""
    number = user.strip('"')
    known = users.user("www-data" if number in ("33", "www-data") else int(number))
    log = site.make("root:root", 0o644)
    os.chown(log, known.uid, known.gid)
    os.chown(site.logs, known.uid, known.gid)
    told = site.root / "told"
    argv = ["sh", "-c", f'echo "$HOME $USER $LOGNAME $(id -u) $(id -g)" > {told}']
    target = f'[reopen.tell]\nmanager = "command"\ncommand = {argv!r}\n'
    rule = {"name": "home", "paths": ["~/none/app.log"], "max_size": "1K"}
    site.configure(
        f"run_as = {user}", target, {"name": "app", "paths": [str(log)], "max_size": "1K", "reopen": "tell"}, rule
    )
    plan = site.json("plan")
    assert plan["missing"] == [os.path.join(known.home, "none/app.log")]
    site.run()
    name = known.name or number
    assert told.read_text().split() == [known.home, name, name, str(known.uid), str(known.gid)]
    assert (log.stat().st_uid, site.state.stat().st_uid) == (known.uid, known.uid)


@pytest.mark.parametrize("user", ['"nobody-of-this-name"', "-1", "true", "4294967295"])
def test_a_user_who_cannot_be(site: Log, user: str) -> None:
    """A mistake is told before anything happens."""
    site.configure(f"run_as = {user}", {"name": "app", "paths": ["app.log"], "max_size": "1K"})
    (problem,) = site.json("check", check=2)["problems"]
    assert problem["key"] == "run_as"


def test_for_others_the_key_has_no_meaning(site: Log) -> None:
    """Their own home stays ~, whoever run_as names."""
    site.configure('run_as = "www-data"', {"name": "app", "paths": ["~/none/app.log"], "max_size": "1K"})
    site.user = "games"
    missing = site.json("plan", check=None).get("missing")
    assert missing == [os.path.join(users.user("games").home, "none/app.log")]


# ---------------------------------------------------------------- one answer for each

WHO = ("root", "www-data", "games")

# Owner of the directory, owner of the log, who runs logrotor -> what to do until it works; most need nothing. The log
# is one of mode 0660 and of a third group. Whoever writes it, root, its owner or a member of that group, still can.
ANSWERS: dict[tuple[str, str, str], list[str]] = {
    **{(directory, log, directory): ["setfacl"] for directory in WHO[1:] for log in WHO if log != directory},
    # What root may do in the directories of others is decided elsewhere; until then it becomes their owner.
    **{(directory, directory, "root"): ["run_as"] for directory in WHO[1:]},
    **{(directory, log, "root"): ["run_as", "setfacl"] for directory in WHO[1:] for log in WHO if log != directory},
    # Who may not write the directory gets it, or leaves the work to its owner.
    **{(d, log, user): ["chgrp"] if log == user else ["chgrp", "setfacl"]
       for d, log, user in itertools.product(WHO, WHO, WHO[1:]) if d != user},
}  # fmt: skip


@pytest.mark.parametrize(("directory", "owner", "user"), list(itertools.product(WHO, WHO, WHO)))
def test_each_combination_has_an_answer(site: Log, directory: str, owner: str, user: str) -> None:
    """What is advised is done, nothing twice; in the end the log is rotated, and every writer can go on."""
    log = site.make(f"{owner}:adm", 0o660, folder=f"{directory}:{directory} 755")
    site.rule()
    site.user = None if user == "root" else user
    who = actors()
    (before,) = rights([log], who)
    given = [_first_word(advice) for advice in _followed(site, log)]
    assert given == ANSWERS.get((directory, owner, user), [])
    (after,) = rights([log], who)
    us = site.user or "root"
    assert all(set(had) <= set(after[name]) for name, had in before.items()), "every writer still can"
    assert all(
        "r" in before[name] for name, may in after.items() if "r" in may and name not in (us, user, f"in {user}")
    )


# The same where the writer reopens by a signal: owner of the directory, who runs logrotor, whose process is signalled.
# The owner of the log makes no difference: only root and the writer can signal it, and both may read what it writes.
BY_SIGNAL: dict[tuple[str, str, str], list[str]] = {
    # What root may do in the directories of others is decided elsewhere; until then its writers get one of root's.
    ("www-data", "root", "root"): ["chown"],
    ("games", "root", "root"): ["chown"],
    ("www-data", "root", "www-data"): ["run_as"],
    ("games", "root", "www-data"): ["run_as", "chgrp"],
    **{(directory, user, "root"): ["chown"] for directory in WHO[1:] for user in WHO[1:]},
    # In root's directories root can do it all.
    **{("root", user, writer): ["run_as"] for user in WHO[1:] for writer in WHO[:2] if user != writer},
    # Of two ordinary users, only the writer may ask its process.
    ("root", "www-data", "www-data"): ["chgrp"],
    ("games", "www-data", "www-data"): ["chgrp"],
    ("www-data", "games", "www-data"): ["run_as"],
    ("games", "games", "www-data"): ["run_as", "chgrp"],
}


@pytest.mark.parametrize(
    ("owner", "writer"),
    [pytest.param(o, w, marks=[] if o == w else [pytest.mark.long]) for o, w in itertools.product(WHO, WHO[:2])],
)
@pytest.mark.parametrize(("directory", "user"), list(itertools.product(WHO, WHO)))
def test_with_a_writer_who_is_signalled(site: Log, directory: str, user: str, owner: str, writer: str) -> None:
    """Whoever owns the log: in the end it is taken, its writer has it anew, and all of it is compressed."""
    log = site.make(
        f"{owner}:adm",
        0o660,
        folder=f"{directory}:{directory} 755",
        acl="" if writer in ("root", owner) else f"u:{writer}:rw",
    )
    with Writer(log, Kind.SIGNAL, on_order=True, user=writer, strict=True) as process:
        (site.root / "pid").write_text(f"{process.pid}\n")
        target = '[reopen.it]\nmanager = "pidfile"\npidfile = "pid"\nsignal = "USR1"\n'
        site.configure(
            target, {"name": "app", "paths": [str(log)], "max_size": "1K", "compress": "gzip", "reopen": "it"}
        )
        site.user = None if user == "root" else user
        given = [_first_word(advice) for advice in _followed(site, log)]
        assert given == BY_SIGNAL.get((directory, user, writer), [])
        assert process.reopened() == 1
        process.write(3)
    assert site.archive.exists() and log.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("user", ["root", "www-data"])
@pytest.mark.parametrize("writer", ["root", "www-data"])
def test_where_no_acl_is_kept(site: Log, user: str, writer: str) -> None:
    """Who would be locked out there is let in by the group, not by leaving the work to one who may not ask."""
    with mounts.fuse(site.root):
        log = site.make("www-data:www-data", 0o660, folder="root:www-data 775")
        with Writer(log, Kind.SIGNAL, on_order=True, user=writer, strict=True) as process:
            (site.root / "pid").write_text(f"{process.pid}\n")
            target = '[reopen.it]\nmanager = "pidfile"\npidfile = "pid"\nsignal = "USR1"\n'
            site.configure(target, {"name": "app", "paths": [str(log)], "max_size": "1K", "reopen": "it"})
            site.user = None if user == "root" else user
            _followed(site, log)
            assert process.reopened() == 1
            process.write(3)
        assert log.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("pattern", ["app.log", "*.log"])
@pytest.mark.parametrize("user", ["root", "www-data"])
def test_every_command_gives_the_same_answer(site: Log, user: str, pattern: str) -> None:
    """Run, check and doctor, for a log that is named and for one that a glob finds."""
    log = site.make("root:adm", 0o664, folder="www-data:www-data 755")
    with Writer(log, Kind.SIGNAL, on_order=True, user="root") as process:
        (site.root / "pid").write_text(f"{process.pid}\n")
        target = '[reopen.it]\nmanager = "pidfile"\npidfile = "pid"\nsignal = "USR1"\n'
        site.configure(target, {"name": "app", "paths": [f"{site.logs}/{pattern}"], "max_size": "1K", "reopen": "it"})
        site.user = None if user == "root" else user
        advice = {problem["advice"] for problem in site.problems()}
        hindered = {problem["advice"] for problem in site.json("check", check=1)["hindered"]}
        checks = {each["id"]: each["findings"] for each in site.json("doctor", check=1)["checks"]}
        told = {each["advice"] for name in ("directories.logs", "reopen.targets") for each in checks[name]}
    assert len(advice) == 1 and advice == hindered == told and _first_word(*advice) == "chown"


def _followed(site: Log, log: Path) -> list[str]:
    advices: list[str] = []
    while log.stat().st_size:
        report = site.report(check=None)
        found = [*(o["problem"] for o in report["outcomes"] if o["status"] == "failed"), *report["problems"]]
        if not found:
            break
        advice = found[0]["advice"]
        assert advice and advice not in advices, (found, advices)
        advices.append(advice)
        follow(site, advice)
    return advices


def _first_word(advice: str) -> str:
    words = advice.replace("run logrotor as", "run_as")
    return next(word for word in ("chown", "setfacl", "chgrp", "run_as", "chmod", "create_mode") if word in words)


@pytest.mark.parametrize("owner", ["root", "games"])
def test_a_sticky_directory(site: Log, owner: str) -> None:
    """Where only the owner of a log may rename it, run as the owner: the advice says so, and works."""
    log = site.make(f"{owner}:adm", 0o664, folder="root:root 1777")
    site.rule()
    site.user = "www-data"
    assert len(_followed(site, log)) == 1
    assert not log.read_bytes() and site.user == (None if owner == "root" else owner)
