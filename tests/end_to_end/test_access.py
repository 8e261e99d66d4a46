"""Whoever could read or write a log can do so after its rotation, may read its archive, and nobody else may."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import command, mounts, users
from tests.support.fixtures import world_tree
from tests.support.need import need
from tests.support.rights import LINES, Log, Rights, actors, follow, rights, setfacl

MODES = (0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o604, 0o620, 0o440)
ACLS = ("", "u:nobody:rw", "g:games:r", "u:nobody:rw,g:games:rw,m::r", "u:www-data:---", "g:adm:rw")
DEFAULTS = ("", "u:nobody:rw", "g:games:r,g::r,o::-")


@pytest.fixture
def site() -> Iterator[Log]:
    need(os.geteuid() == 0, "root, to become another user")
    with world_tree() as root:
        root.chmod(0o777)  # the state directory belongs to whoever rotates
        root.chmod(0o1777)
        yield Log(root)


def entries(path: Path) -> list[str]:
    shown = subprocess.run(["getfacl", "-cpE", path], capture_output=True, text=True, check=True).stdout
    return shown.split()


def others(rotator: str | None) -> dict[str, users.User]:
    """Everybody but who rotates, and members of a group that is the running user's own."""
    return {name: who for name, who in actors().items() if name != (rotator or "root")}


def lost(before: Rights, after: Rights) -> dict[str, str]:
    return {who: missing for who, had in before.items() if (missing := "".join(sorted(set(had) - set(after[who]))))}


def kept_by_a_rotation(site: Log, log: Path, rotator: str | None, *, code: int = 0) -> tuple[Rights, Rights, Rights]:
    """What everybody could do before, can do now, and with the archive."""
    who = others(rotator)
    (before,) = rights([log], who)
    inode = log.stat().st_ino
    site.user = rotator
    site.run(check=code)
    assert log.stat().st_ino != inode and not log.read_bytes()
    after, archive = rights([log, site.archive], who)
    return before, after, archive


# ---------------------------------------------------------------- the faults that were


@pytest.mark.parametrize(
    ("owner", "mode", "folder", "rotator"),
    [
        ("root:www-data", 0o660, "root:root 755", None),
        ("root:utmp", 0o664, "root:root 755", None),  # wtmp
        ("root:adm", 0o640, "root:root 755", None),
        ("www-data:adm", 0o640, "root:adm 755", None),  # nginx
        ("www-data:games", 0o660, "www-data:www-data 755", "www-data"),
        ("nobody:adm", 0o640, "www-data:www-data 755", "www-data"),
        ("root:adm", 0o640, "www-data:www-data 2755", "www-data"),
        ("games:games", 0o600, "root:root 755", None),
        ("games:games", 0o644, "root:root 755", None),
    ],
)
def test_who_could_still_can(site: Log, owner: str, mode: int, folder: str, rotator: str | None) -> None:
    """Owner and group keep what they had without a chown, and what was private stays private."""
    log = site.make(owner, mode, folder=folder)
    if mode == 0o640 and rotator:
        setfacl("-m", f"u:{rotator}:r", log)
    site.rule()
    before, after, archive = kept_by_a_rotation(site, log, rotator)
    assert lost(before, after) == {} and any(before.values())
    assert {who: may for who, may in after.items() if "r" in may}.keys() == {
        w for w, may in before.items() if "r" in may
    }
    assert {who for who, may in archive.items() if "r" in may} == {who for who, may in before.items() if "r" in may}
    assert log.stat().st_uid == users.user(rotator or "root").uid, "without a chown"


@pytest.mark.parametrize(
    ("owner", "mode", "rotator"),
    [
        ("www-data:root", 0o064, None),
        ("www-data:root", 0o004, None),  # an empty mask
        ("www-data:www-data", 0o060, None),  # in the group as well
        ("www-data:adm", 0o446, None),
        ("games:games", 0o044, "www-data"),
    ],
)
@pytest.mark.parametrize("create_mode", ["keep", None])
def test_what_the_owner_was_denied(
    site: Log, owner: str, mode: int, rotator: str | None, create_mode: str | None
) -> None:
    """He could do less than others, or than his group: he gains nothing by no longer being the owner."""
    log = site.make(owner, mode, folder=f"{rotator or 'root'}:{rotator or 'root'} 755")
    if rotator:
        setfacl("-m", f"u:{rotator}:rw", log)
    site.rule(**({"create_mode": create_mode} if create_mode else {}))
    before, after, archive = kept_by_a_rotation(site, log, rotator)
    name = owner.partition(":")[0]
    assert after[name] == before[name] and set(archive[name]) <= set(before[name])
    assert lost(before, after) == {} and any(before.values())


def cases() -> list[tuple[str, int, str, str, str | None, str | None]]:
    """Those that were found by them, and some of the product: the same in every run."""
    owners = [f"{user}:{group}" for user in ("root", "www-data", "nobody") for group in ("root", "www-data", "adm")]
    every = list(
        itertools.product(owners, MODES, ACLS, DEFAULTS, (None, "www-data"), (None, "keep", "0640", "0664", "0600"))
    )
    found = [
        ("www-data:adm", 0o604, "", "", None, None),  # a group that may do less than others
        ("www-data:root", 0o604, "", "g:games:r,g::r,o::-", "www-data", "0640"),  # an empty mask: Linux asks no ACL
        ("www-data:www-data", 0o666, "", "u:nobody:rw", None, None),  # an entry of the group, and the owner in it
        ("root:adm", 0o604, "u:www-data:---", "", None, "keep"),
    ]
    return [*found, *random.Random(13).sample(every, 60)]


@pytest.mark.parametrize(("owner", "mode", "acl", "default", "rotator", "create_mode"), cases())
def test_access_is_kept_and_not_widened(
    site: Log, owner: str, mode: int, acl: str, default: str, rotator: str | None, create_mode: str | None
) -> None:
    """Any owner, mode, ACL, default ACL: the kernel says the same of the new log, and of the archive."""
    folder = f"{rotator or 'root'}:{rotator or 'root'} 755"
    log = site.make(owner, mode, folder=folder, acl=acl, default=default)
    if rotator and not owner.startswith(rotator):
        setfacl("-m", f"u:{rotator}:rw", log)
    site.rule(**({"create_mode": create_mode} if create_mode else {}))
    before, after, archive = kept_by_a_rotation(site, log, rotator)
    wanted = {entry.split(":")[1] for entry in default.split(",") if entry}  # by the directory's default ACL
    members = {name for name in before if name in wanted or name.removeprefix("in ") in wanted}
    exempt = members | {f"in {rotator}"}  # and by create_mode, the group that the directory gives
    for who, had in before.items():
        may, readable = after[who], archive[who]
        if create_mode is None or create_mode == "keep":
            assert set(had) <= set(may), who
            assert "r" not in may or "r" in had or who in members, who
        if create_mode == "keep":
            assert set(may) <= set(had) or who in exempt, who
        assert "r" not in had or "r" in readable, who
        assert "r" not in readable or "r" in had or who in members, who


@pytest.mark.parametrize(
    ("before", "wanted"),
    [(0o600, 0o600), (0o640, 0o640), (0o644, 0o664), (0o664, 0o664), (0o666, 0o666), (0o660, 0o660), (0o755, 0o664)],
)
@pytest.mark.parametrize("create_mode", [None, "keep", "0664", "0600"])
def test_the_mode_of_a_log(site: Log, before: int, wanted: int, create_mode: str | None) -> None:
    """Without create_mode as it was, 0664 at least where group and others could read; the archive exactly as it was."""
    log = site.make("www-data:www-data", before, folder="www-data:www-data 755")
    site.user = "www-data"
    site.rule(**({"create_mode": create_mode} if create_mode else {}))
    site.run()
    given = {None: wanted, "keep": before}
    assert stat.S_IMODE(log.stat().st_mode) == given.get(
        create_mode, int(create_mode or "0", 8) if create_mode != "keep" else 0
    )
    assert stat.S_IMODE(site.archive.stat().st_mode) == before
    assert not os.listxattr(log), "no ACL where none is needed"


def test_a_mode_that_is_given_cuts_off_no_acl(site: Log) -> None:
    """create_mode is for owner, group and others; who has an entry keeps it, and stat's group digit is the mask."""
    log = site.make("root:root", 0o640, acl="u:www-data:rw,g:adm:r")
    site.rule(create_mode="0640")
    before, after, archive = kept_by_a_rotation(site, log, None)
    assert before == after and after["www-data"] == "rw" and after["in adm"] == "r" == archive["in adm"]
    assert {"group::r--", "mask::rw-", "other::---"} <= set(entries(log))


@pytest.mark.parametrize(
    ("owner", "mode", "acl", "rotator", "create_mode", "member", "may"),
    [
        ("games:adm", 0o644, "u:www-data:rw,g:www-data:---", "www-data", None, "in www-data", ""),
        ("games:adm", 0o644, "u:www-data:rw,g:www-data:r", "www-data", None, "in www-data", "r"),
        ("root:adm", 0o604, "g:adm:r,m::---", None, None, "in adm", ""),  # an empty mask: its ACL is not asked
        ("www-data:www-data", 0o660, "g:www-data:r", "www-data", "0600", "in www-data", "r"),
    ],
)
def test_a_named_group_is_not_widened(
    site: Log, owner: str, mode: int, acl: str, rotator: str | None, create_mode: str | None, member: str, may: str
) -> None:
    """Who was named got less than others on purpose: also where the new file's group is that one."""
    log = site.make(owner, mode, folder=f"{rotator or 'root'}:{rotator or 'root'} 755", acl=acl)
    site.rule(**({"create_mode": create_mode} if create_mode else {}))
    before, after, archive = kept_by_a_rotation(site, log, rotator)
    assert (before[member] if create_mode is None else may, after[member]) == (may, may)
    assert set(archive[member]) <= set(before[member])


def test_a_default_acl_opens_no_archive(site: Log) -> None:
    """What a directory gives to new files is for the new log: the archive is exactly as its log was."""
    log = site.make("root:adm", 0o640, acl="u:games:r")
    setfacl("-d", "-m", "u:nobody:rw,g:www-data:rw", site.logs)
    site.rule()
    before, after, archive = kept_by_a_rotation(site, log, None)
    assert (before["nobody"], after["nobody"]) == ("", "r"), "the new log is as if it had been created there"
    assert {who: may for who, may in archive.items() if may} == {"games": "r", "in adm": "r"}


def test_a_mode_that_is_given_is_obeyed(site: Log) -> None:
    """Owner, group and others get exactly what it says, whoever they were; named entries are not widened."""
    log = site.make("www-data:adm", 0o600, acl="u:nobody:r")
    site.rule(create_mode="0664")
    _, after, archive = kept_by_a_rotation(site, log, None)
    assert (after["www-data"], after["in adm"], after["stranger"], after["nobody"]) == ("rw", "rw", "r", "r")
    assert archive["stranger"] == "" == archive["in adm"] and "r" in archive["www-data"]


def test_plan_and_check_say_what_a_mode_opens(site: Log) -> None:
    """More than now: said before it happens; less or the same: nothing."""
    log = site.make("root:root", 0o640)
    site.rule(create_mode="0664")
    (planned,) = site.json("plan")["logs"]
    assert planned["widens"] == "0640 -> 0664"
    assert "0640 -> 0664" in site.command("plan").stdout
    checked = site.json("check")
    assert (
        checked["widened"] == [{"log": str(log), "rule": "app", "modes": "0640 -> 0664"}] and checked["exit_code"] == 0
    )
    assert "0640 -> 0664" in site.command("check").stdout
    log.chmod(0o644)
    assert site.json("plan")["logs"][0]["widens"] == "" and site.json("check")["widened"] == []


# ---------------------------------------------------------------- what is made on the way, and after a crash


@pytest.mark.parametrize("method", ["rename", "copytruncate"])
def test_an_archive_in_another_file_system(site: Log, method: str) -> None:
    """Moved, compressed or copied: who could read the log can read its archive, and nobody else."""
    log = site.make("www-data:adm", 0o640)
    with mounts.tmpfs(site.root) as elsewhere:
        more = {"method": method, "accept_loss": True, "reopen": "off"} if method == "copytruncate" else {}
        site.rule(archive_dir=str(elsewhere), **more)
        who = others(None)
        (before,) = rights([log], who)
        site.run()
        after, archive = rights([log, elsewhere / "app.log.1.gz"], who)
    assert {name for name, may in archive.items() if "r" in may} == {"www-data", "in adm"}
    assert lost(before, after) == {}


def test_a_killed_run_leaves_the_same_access(site: Log) -> None:
    """Killed before any change: the next run finishes, and at no point is anybody let in whom the end does not."""
    who = {name: user for name, user in actors().items() if name in ("www-data", "in adm", "nobody", "stranger")}
    for point in range(1, 40):
        log = site.make("www-data:adm", 0o640, acl="u:nobody:r")
        site.rule(compress="none")
        code = _killed_at(site, point)
        for file in site.logs.iterdir():
            (may,) = rights([file], who) if file.name != ".logrotor.lock" else ({},)
            assert all(set(allowed) <= set(_WANTED[name]) for name, allowed in may.items()), (point, file.name)
        site.run("--force")
        (after,) = rights([log], who)
        assert after == _WANTED, point
        shutil.rmtree(site.logs)
        shutil.rmtree(site.state)
        if code == 0:
            break
    assert point > 6


_WANTED = {"www-data": "rw", "in adm": "r", "nobody": "r", "stranger": ""}


def _killed_at(site: Log, point: int) -> int:
    """A run in a fork that ends before its n-th change; 0 if there are not so many."""
    from logrotor import Rotator
    from logrotor.config import load_config
    from logrotor.disk import calls

    passed, original = itertools.count(1), calls.invoke

    def invoke(operation: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        if next(passed) == point:
            raise SystemExit(9)
        return original(operation, function, *args, **kwargs)

    pid = os.fork()
    if pid == 0:
        calls.invoke = invoke
        try:
            Rotator(load_config(str(site.config))).run()
        except SystemExit:
            os._exit(9)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---------------------------------------------------------------- where no ACL can be kept


@pytest.fixture
def foreign(site: Log) -> Iterator[Log]:
    """A deployment whose logs lie on a FUSE mount: it stores ACLs, and lets nobody in by them."""
    with mounts.fuse(site.root):
        yield site


@pytest.mark.parametrize(
    ("owner", "mode", "folder", "rotator", "advice"),
    [
        ("root:adm", 0o640, "root:root 755", None, "chgrp adm"),
        ("root:www-data", 0o660, "root:root 755", None, "chgrp www-data"),
        ("www-data:www-data", 0o644, "root:root 755", None, "chgrp www-data"),
        ("www-data:adm", 0o640, "root:adm 775", None, 'create_mode = "0600"'),
        ("www-data:adm", 0o640, "root:root 755", None, 'create_mode = "0600"'),
        ("www-data:adm", 0o640, "root:games 2755", None, 'create_mode = "0600"'),
        ("www-data:adm", 0o640, "root:adm 2755", None, 'create_mode = "0640"'),
        ("games:games", 0o644, "www-data:www-data 755", "www-data", "chgrp games"),
        ("games:games", 0o644, "root:games 775", None, 'run_as = "games"'),
        ("games:games", 0o644, "root:games 2775", None, ""),  # its owner writes by the group
        ("root:root", 0o644, "www-data:www-data 755", "www-data", ""),  # nobody loses: root may all
        ("root:root", 0o664, "www-data:www-data 755", "www-data", ""),
        ("www-data:root", 0o640, "www-data:www-data 755", "www-data", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(
    foreign: Log, owner: str, mode: int, folder: str, rotator: str | None, advice: str
) -> None:
    """Exit 1, the log untouched, and an advice by which it works; where nobody loses, it is rotated."""
    log = foreign.make(owner, mode, folder=folder)
    foreign.rule()
    foreign.user = rotator
    who = others(rotator)
    (before,) = rights([log], who)
    if advice:
        (problem,) = foreign.problems()
        assert (problem["subject"], log.read_bytes(), len(list(foreign.logs.iterdir()))) == (str(log), LINES, 1)
        assert advice in problem["advice"]
        follow(foreign, problem["advice"])
    foreign.run()
    after, archive = rights([log, foreign.archive], who)
    assert not log.read_bytes()
    assert "create_mode" not in advice or all(
        set(may) <= set(before[name]) for each in (after, archive) for name, may in each.items()
    ), "nobody new is let in"
    if "create_mode" not in advice:
        gone = lost(before, after)
        assert {name: letters for name, letters in gone.items() if name != rotator and foreign.user != name} == {}
        assert all("r" in archive[name] for name, had in before.items() if "r" in had and foreign.user != name)


@pytest.mark.parametrize(
    ("owner", "mode", "folder"),
    [("root:root", 0o644, "root:root 755"), ("games:games", 0o640, "www-data:www-data 755")],
)
def test_an_advice_can_be_pasted(site: Log, owner: str, mode: int, folder: str) -> None:
    """A folder with a blank and a quote in its name: what is said to do is done by a shell as it stands."""
    site.name = "Bob's logs"
    log = site.make(owner, mode, folder=folder)
    site.rule()
    site.user = "www-data"
    (problem,) = site.problems()
    follow(site, problem["advice"])
    site.run()
    assert not log.read_bytes() and site.archive.exists()


def test_a_mode_that_is_given_turns_a_refusal_into_a_warning(foreign: Log) -> None:
    """Who loses is said in the plan, and once at the rotation."""
    log = foreign.make("games:games", 0o640)
    foreign.rule(create_mode="0640")
    (planned,) = foreign.json("plan")["logs"]
    assert planned["refused"] is None and "games" in planned["loses"]["problem"]
    told = [event for event in foreign.events() if event["event"] == "log.closed"]
    assert [(event["level"], event["log"]) for event in told] == [("warning", str(log))]
    assert not log.read_bytes() and stat.S_IMODE(log.stat().st_mode) == 0o640
    foreign.run()
    assert foreign.json("plan")["logs"][0]["loses"] is None, "it is ours by now"


@pytest.mark.parametrize(("mode", "code"), [(0o666, 0), (0o644, 1)])
def test_an_owner_who_is_not_mapped_gets_no_entry(site: Log, mode: int, code: int) -> None:
    """In a user namespace all from outside have one number: an entry for that would let in somebody else, or nobody."""
    need(command.run(["unshare", "--user", "--map-root-user", "true"]).code == 0, "user namespaces")
    log = site.make("games:games", mode)
    site.rule(compress="none")
    argv = ["unshare", "--user", "--map-root-user", *command.arguments("run", "-c", site.config, "--json")]
    done = command.run(argv)
    assert (done.code, not os.listxattr(log), not log.read_bytes()) == (code, True, code == 0)
    refused = [outcome["problem"] for outcome in done.json["outcomes"] if outcome["status"] == "failed"]
    assert [problem["subject"] for problem in refused] == [str(log)] * code
    if code:
        follow(site, refused[0]["advice"])
        assert command.run(argv).code == 0 and not log.read_bytes()


def test_a_folder_that_is_made_is_open_whatever_the_umask() -> None:
    """The owner of a log reaches its archive, and whoever may read it does."""
    need(os.geteuid() == 0, "root, to own the log as another user")
    with world_tree() as root:
        (root / "logs").mkdir()
        log = root / "logs" / "app.log"
        log.write_bytes(b"a line\n" * 100)
        shutil.chown(log, "www-data")
        log.chmod(0o640)
        rule = f'[[log]]\nname = "app"\npaths = ["{log}"]\nmax_size = 10\narchive_dir = "old/deep"\n'
        (root / "logrotor.toml").write_text(f'state_dir = "{root}/state"\n{rule}')
        argv = shlex.join(command.arguments("run", "-c", root / "logrotor.toml"))
        subprocess.run(["sh", "-c", f"umask 077; exec {argv}"], env=command.environment(), check=True)
        places = [root / "logs" / "old", root / "logs" / "old" / "deep"]
        assert [stat.S_IMODE(place.stat().st_mode) for place in places] == [0o755, 0o755]
        (archive,) = places[1].iterdir()
        assert users.as_user("www-data", archive.read_bytes)
        assert stat.S_IMODE((root / "state").stat().st_mode) == 0o700


def test_a_member_of_the_group_whom_an_empty_mask_kept_out() -> None:
    """Linux asks no ACL then: who is named, and of the owning group, has what that has."""
    need(os.geteuid() == 0, "root, to own the log as another user")
    with world_tree() as root:
        log = root / "app.log"
        log.write_bytes(b"a line\n" * 100)
        shutil.chown(log, "www-data", "backup")
        log.chmod(0o604)
        setfacl("-m", "u:backup:r--,g:backup:---,m::---", log)
        rule = f'[[log]]\nname = "app"\npaths = ["{log}"]\nmax_size = 10\ncreate_mode = "keep"\n'
        (root / "logrotor.toml").write_text(f'state_dir = "{root}/state"\n{rule}')
        with pytest.raises(PermissionError):
            users.as_user("backup", log.read_bytes)
        command.logrotor("run", "-c", root / "logrotor.toml", check=0)
        for file in (log, root / "app.log.1.zst"):
            assert users.as_user("games", file.read_bytes) is not None
            with pytest.raises(PermissionError):
                users.as_user("backup", file.read_bytes)
