"""Whom the configuration is believed: what root takes from others, and what an ordinary user may go on doing."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from logrotor import Rotator, load_config
from tests.support import command, mounts, users
from tests.support.need import need

RULE = '[[log]]\nname = "app"\npaths = ["{logs}/app.log"]\nmax_size = "1k"\nmissing = "skip"\n'


class Place:
    """A folder that strangers may enter, with logs, a state and a configuration of one user."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "logrotor.toml"

    def give(self, who: str, *paths: Path) -> None:
        user = users.user(who)
        for path in paths:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)

    def deploy(self, owner: str, more: str = "", *, head: str = "") -> None:
        """Logs, state and configuration of ``owner``; the folder above them is root's."""
        logs = self.root / "logs"
        logs.mkdir()
        (logs / "app.log").write_bytes(b"line\n" * 1000)
        (logs / "app.log").chmod(0o600)
        self.config.write_text(f'state_dir = "{logs}/state"\n{head}\n{RULE.format(logs=logs)}{more}')
        self.give(owner, logs, logs / "app.log", self.config)

    def run(self, *words: object, user: str | None = None, cwd: Path | None = None, code: int = 0) -> command.Result:
        named = ["-c", self.config] if cwd is None else []
        return command.logrotor(*(words or ("run",)), *named, user=user, cwd=cwd, check=code)

    @property
    def archive(self) -> Path:
        return self.root / "logs/app.log.1.zst"


@pytest.fixture
def place(tmp_path):
    need(os.geteuid() == 0, "root, to be several users")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/tmp") and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    return Place(tmp_path)


@pytest.fixture
def deployer():
    """A user with a private group, as useradd makes them."""
    name = f"logrotor-t{os.getpid()}"
    made = subprocess.run(["useradd", "-M", "-U", name], capture_output=True, text=True, check=False)
    need(made.returncode == 0, f"useradd: {made.stderr}")
    yield name
    subprocess.run(["userdel", name], check=True)


# ---------------------------------------------------------------- root, and a configuration of somebody else


def test_root_takes_nothing_that_lies_in_the_folder_of_another(place):
    """`logrotor run`, typed by root in www-data's folder, made files as root."""
    system = place.root / "system"
    system.mkdir()
    make = f'[[log]]\nname = "x"\npaths = ["{system}/passwd"]\nmax_size = "1k"\ncreate_missing = true\n'
    place.deploy("www-data", make + 'create_mode = "0777"\n[page]\nfile = "' + str(system / "motd.html") + '"\n')
    mine = place.root / "mine"
    mine.mkdir()
    place.give("www-data", mine)
    config = place.config.rename(mine / "logrotor.toml")
    config.write_text(config.read_text().replace(f"{place.root}/logs/state", f"{place.root}/state"))  # root's own
    told = place.run(cwd=mine, code=2)
    assert "www-data" in told.stderr and list(system.iterdir()) == [] and not place.archive.exists()


@pytest.mark.parametrize("how", ["-c", "variable", "queue"])
def test_root_works_as_the_owner_of_the_configuration(place, how):
    """Nothing is made or read with root's power, and one line says who does it."""
    system = place.root / "system"
    system.mkdir()
    secret = system / "secret.toml"
    secret.write_text('[[log]]\nname = "secret"\npaths = ["/nowhere/a"]\nmax_size = "1k"\n')
    secret.chmod(0o600)
    outputs = f'[page]\nfile = "{system}/motd.html"\n[queue]\nhost = "h"\n'
    place.deploy("www-data", outputs, head=f'include = ["{secret}"]')
    if how == "variable":
        told = command.logrotor("run", env={"LOGROTOR_CONFIG": str(place.config)}, check=1)
    elif how == "queue":
        told = place.run("queue", "dispatch")
        assert (place.root / "logs/state/queue.sqlite").owner() == "www-data"
        assert "www-data" in told.stderr and len(told.stderr.splitlines()) == 1
        return
    else:
        told = place.run(code=1)  # the include is not www-data's to read
    events = [json.loads(line) for line in told.stderr.splitlines()]
    assert [e["user"] for e in events if e["event"] == "user.changed"] == ["www-data"]
    assert any("secret.toml" in e.get("error", "") and "Permission denied" in e["error"] for e in events)
    assert place.archive.owner() == "www-data" and place.archive.stat().st_mode & 0o777 == 0o600
    assert (place.root / "logs/state").owner() == "www-data" and not (system / "motd.html").exists()


def test_who_the_owner_may_name_is_himself(place):
    """run_as of somebody else: exit 2, and nothing is done; his own is what it says, and says it for the line."""
    place.deploy("www-data", head='run_as = "nobody"')
    assert "run_as" in place.run(code=2).stderr and not place.archive.exists()
    assert place.run("check", code=2).stdout
    place.config.write_text(place.config.read_text().replace("nobody", "www-data"))
    assert place.run().stderr == "" and place.archive.owner() == "www-data"
    assert place.run("plan").stderr == ""
    place.config.write_text(place.config.read_text().replace("run_as", "# run_as"))
    for words in (("plan",), ("check",), ("status",)):
        told = place.run(*words).stderr
        assert told.count("\n") == 1 and "www-data" in told, words


def test_roots_own_configuration_may_name_a_user(place):
    """run_as in a file of root's works as before, without a line."""
    place.deploy("www-data", head='run_as = "www-data"')
    place.give("root", place.config)
    assert place.run().stderr == "" and place.archive.owner() == "www-data"


def empty_group() -> int:
    """A group with a name and nobody in it."""
    primary = {each.pw_gid for each in pwd.getpwall()}
    found = next((each.gr_gid for each in grp.getgrall() if not each.gr_mem and each.gr_gid not in primary), None)
    need(found is not None, "a group without a member")
    return found


@pytest.mark.parametrize("words", [("run",), ("check",), ("plan",), ("status",)], ids=str)
@pytest.mark.parametrize("named", ["run_as", "owner"])
@pytest.mark.parametrize("closed", ["python", "logrotor"])
def test_a_user_who_cannot_read_logrotor_is_named_and_nothing_is_done(place, closed, named, words):
    """An interpreter below /root: modules were missing half-way, with a traceback. One sentence, and exit 2."""
    place.deploy("www-data", head='run_as = "www-data"' if named == "run_as" else "")
    if named == "run_as":
        place.give("root", place.config)
    folder = place.root / "closed"
    (folder / "lib").mkdir(parents=True)
    env = {"PYTHONPATH": ":".join([str(command.CHECKOUT), *(path for path in sys.path if "site-packages" in path)])}
    if closed == "python":
        (folder / "lib" / os.path.basename(os.path.dirname(os.__file__))).symlink_to(os.path.dirname(os.__file__))
        env["PYTHONHOME"] = str(folder)
    else:
        (folder / "logrotor").symlink_to(command.CHECKOUT / "logrotor")
        env["PYTHONPATH"] = f"{folder}:{env['PYTHONPATH']}"
    program = [sys.executable, "-m", "logrotor", *words, "-c", place.config]
    folder.chmod(0o700)
    told = command.run(program, env=env, check=2).stderr
    assert told.count("\n") == 1 and str(folder) in told and "www-data" in told and not place.archive.exists()
    if words == ("run",):
        folder.chmod(0o755)
        command.run(program, env=env, check=0)
        assert place.archive.owner() == "www-data"


def spoil(place: Place, how: str, target: Path) -> None:
    """Let others write ``target`` or a folder above it."""
    group, executable = users.user("www-data").gid, target.stat().st_mode & 0o111
    if how == "anyone":
        target.chmod(0o646 | executable)
    elif how == "group":
        os.chown(target, 0, group)
        target.chmod(0o664 | executable)
    elif how == "acl":
        subprocess.run(["setfacl", "-m", "u:www-data:rw", target], check=True)
    elif how == "folder of anyone":
        target.parent.chmod(0o777)
    elif how == "folder of a group":
        os.chown(target.parent, 0, group)
        target.parent.chmod(0o775)
    elif how == "folder of another":
        place.give("www-data", target.parent)
    elif how == "link of another":
        target.rename(target.with_suffix(".real"))
        target.symlink_to(target.with_suffix(".real"))
        place.give("www-data", target)


SPOILT = ["anyone", "group", "acl", "folder of anyone", "folder of a group", "folder of another", "link of another"]


@pytest.mark.parametrize("how", SPOILT)
def test_root_refuses_what_others_can_change(place, how):
    """Root's own file that somebody else may write, or swap."""
    folder = place.root / "etc"
    folder.mkdir()
    place.deploy("root")
    place.config = place.config.rename(folder / "logrotor.toml")
    place.run("plan")
    spoil(place, how, place.config)
    told = place.run(code=2)
    assert ("www-data" in told.stderr or "anyone" in told.stderr) and not place.archive.exists()


@pytest.mark.parametrize("how", SPOILT)
def test_root_leaves_out_an_include_that_others_can_change(place, how):
    """The same through a group-writable include folder; the other rules run."""
    folder = place.root / "conf.d"
    folder.mkdir()
    include, victim = folder / "b.toml", place.root / "logs/victim"
    place.deploy("root", head=f'include = ["{folder}/*.toml"]')
    include.write_text(f'[[log]]\nname = "b"\npaths = ["{victim}"]\nmax_size = "1k"\ncreate_missing = true\n')
    spoil(place, how, include)
    told = place.run(code=1)
    assert str(folder) in told.stderr and place.archive.exists() and not victim.exists()


def test_an_include_that_belongs_to_another_is_left_out(place):
    """Its owner can change it."""
    include = place.root / "b.toml"
    include.write_text(RULE.format(logs="/nowhere").replace("app", "b"))
    place.give("www-data", include)
    place.deploy("root", head=f'include = ["{include}"]')
    assert "b.toml" in place.run(code=1).stderr


@pytest.mark.parametrize("how", ["sticky", "read-only", "own group", "empty group"])
def test_root_goes_on_with_what_only_looks_open(place, how):
    """A folder with the sticky bit, a volume mounted read-only (a ConfigMap), a group without another member.

    Or without any, as that of /usr/local on older Debians.
    """
    folder = place.root / "etc"
    folder.mkdir()
    place.deploy("root")
    place.config = place.config.rename(folder / "logrotor.toml")
    if how in ("own group", "empty group"):
        os.chown(folder, 0, 0 if how == "own group" else empty_group())
        place.config.chmod(0o664)
        folder.chmod(0o775)
        place.run()
    elif how == "sticky":
        folder.chmod(0o1777)
        place.run()
    else:
        folder.chmod(0o777)
        place.config.chmod(0o666)
        with mounts.read_only(folder):
            place.run()
    assert place.archive.exists()


# ---------------------------------------------------------------- the commands of root's configuration

HOOK = 'on_archive = ["{program}"]\n'
ASK = 'reopen = "it"\n[reopen.it]\nmanager = "command"\ncommand = ["{program}"]\n'


def with_command(place: Place, rule: str, owner: str = "root", *, head: str = "", named: str = "") -> tuple[Path, Path]:
    """A configuration that names a script in a folder of its own; returns the script, and what it touches."""
    folder, ran = place.root / "bin", place.root / "logs/ran"
    folder.mkdir()
    script = folder / "hook"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    place.deploy(owner, rule.format(program=named or script), head=head)
    return script, ran


@pytest.mark.parametrize("rule", [HOOK, ASK], ids=["on_archive", "reopen"])
@pytest.mark.parametrize("how", ["owner", *SPOILT])
def test_root_runs_no_command_that_others_can_change(place, how, rule):
    """www-data had his own script run as root. The rule is left out, every look says so, and the advice helps."""
    script, ran = with_command(place, rule)
    if how == "owner":
        place.give("www-data", script)
    else:
        spoil(place, how, script)
    told = [place.run(code=2).stderr, place.run("check", code=2).stdout, place.run("doctor", code=2).stderr]
    assert all(str(script.parent) in text and ("www-data" in text or "anyone" in text) for text in told)
    assert not ran.exists() and not place.archive.exists()


@pytest.mark.parametrize("how", ["anyone", "group", "acl", "folder of anyone", "folder of a group", "owner"])
def test_the_advice_for_such_a_command_helps(place, how):
    """As check gives it, typed as it stands."""
    script, ran = with_command(place, HOOK)
    place.give("www-data", script) if how == "owner" else spoil(place, how, script)
    (problem,) = place.run("check", "--json", code=2).json["problems"]
    subprocess.run(problem["advice"].removeprefix("as root: "), shell=True, check=True)
    place.run()
    assert ran.exists() and place.archive.exists()


def test_other_rules_go_on_without_such_a_command(place):
    """Exit 1, and doctor names it among the rules; a script that a shell is given is named, and run."""
    script, ran = with_command(place, 'on_archive = ["/bin/sh", "{program}"]\n')
    own = place.root / "own"
    own.write_bytes(script.read_bytes())
    own.chmod(0o755)
    place.give("www-data", own, script)
    more = (
        f'[[log]]\nname = "b"\npaths = ["{place.root}/b"]\nmax_size = "1k"\nmissing = "skip"\non_archive = ["{own}"]\n'
    )
    place.config.write_text(place.config.read_text() + more)
    assert str(own) in place.run(code=1).stderr and ran.exists() and place.archive.exists()
    found = place.run("doctor", "--only", "config", code=1).stdout
    assert str(own) in found and str(script) in found


@pytest.mark.parametrize("how", ["found there", "could be put before", "sound"])
def test_a_command_by_its_name_is_judged_where_it_is_found(place, how):
    """In $PATH, as it is searched."""
    script, ran = with_command(place, HOOK, named="hook")
    before = place.root / "before"
    before.mkdir()
    if how == "found there":
        script.chmod(0o777)
    elif how == "could be put before":
        place.give("www-data", before)
    env = {"PATH": f"{before}:{script.parent}:/usr/bin:/bin"}
    command.logrotor("run", "-c", place.config, env=env, check=0 if how == "sound" else 2)
    assert ran.exists() == (how == "sound")


@pytest.mark.parametrize("how", ["sticky", "link of root", "its own user", "run_as", "the user's own configuration"])
def test_commands_that_go_on(place, deployer, how):
    """What only looks open, and whatever a user names for himself: umask 002, /srv/app of another, a private group."""
    head = f'run_as = "{deployer}"' if how == "run_as" else ""
    owner = deployer if how in ("its own user", "run_as", "the user's own configuration") else "root"
    script, ran = with_command(place, HOOK, owner, head=head)
    user = None
    if how == "sticky":
        script.parent.chmod(0o1777)
    elif how == "link of root":
        script.rename(script.with_suffix(".real"))
        script.symlink_to(script.with_suffix(".real"))
    else:
        place.give(deployer, script.parent, script)
        script.chmod(0o775)
        script.parent.chmod(0o2775)
        user = deployer if how == "its own user" else None
        if how == "run_as":
            place.give("root", place.config)
    place.run(user=user)
    assert ran.exists() and ran.owner() == owner


@pytest.mark.parametrize("rule", [HOOK, ASK], ids=["on_archive", "reopen"])
def test_a_command_that_was_sound_when_the_configuration_was_read(place, rule):
    """A worker has read it long ago: the program is looked at again when it is started."""
    script, ran = with_command(place, rule)
    config = load_config(place.config)
    place.give("www-data", script)
    report = Rotator(config).run()
    assert (report.exit_code == 1) == (rule == HOOK), "a request has no use where nobody writes"
    assert not ran.exists() and place.archive.exists()


def test_doctor_names_who_can_change_a_users_commands(place, deployer):
    """It is obeyed: that may be meant."""
    script, ran = with_command(place, HOOK, "www-data")
    place.give(deployer, script)
    place.run(user="www-data")
    found = place.run("doctor", "--only", "config.trust", user="www-data", code=1).stdout
    assert ran.exists() and str(script) in found and deployer in found


# ---------------------------------------------------------------- an ordinary user


def test_the_configuration_of_a_deploy_user_is_obeyed(place, deployer):
    """umask 002, a private group, /srv/app of another: `-c` is what the user asked for; doctor names the other one."""
    app = place.root / "app"
    app.mkdir()
    place.deploy("www-data")
    place.config = place.config.rename(app / "logrotor.toml")
    place.give(deployer, app, place.config)
    place.config.chmod(0o664)
    app.chmod(0o2775)
    place.run(user="www-data")
    assert place.archive.exists()
    found = place.run("doctor", "--only", "config.trust", user="www-data", code=1).stdout
    assert deployer in found and str(app) in found and "anyone" not in found and f"group {deployer}" not in found


def test_ones_own_with_a_private_group_is_nobody_elses(place, deployer):
    """umask 002 of a user with a group of his own: nothing to name."""
    place.deploy(deployer)
    place.config.chmod(0o664)
    (place.root / "logs").chmod(0o775)
    place.run(user=deployer)
    place.run("doctor", "--only", "config.trust", user=deployer)


def test_a_config_map_and_a_bind_mount(place):
    """..data is a link of a link, the volume is 0777 and read-only; a single file is bind-mounted."""
    place.deploy("www-data")
    volume = place.root / "volume"
    data = volume / "..2026_01_01"
    data.mkdir(parents=True)
    (data / "logrotor.toml").write_text(place.config.read_text())
    (volume / "..data").symlink_to(data.name)
    (volume / "logrotor.toml").symlink_to("..data/logrotor.toml")
    for path in (volume, data):
        path.chmod(0o777)
    (data / "logrotor.toml").chmod(0o666)
    plain, place.config = place.config, volume / "logrotor.toml"
    with mounts.read_only(volume):
        assert "rules          1: app" in place.run("check", code=2).stdout  # root's power is not for these logs
        place.run(user="www-data")
        place.run("doctor", "--only", "config.trust", user="www-data")
    place.archive.unlink()
    (place.root / "logs/app.log").write_bytes(b"line\n" * 1000)
    place.config = place.root / "bound.toml"
    with mounts.bind_file(plain, place.config):
        place.run(user="www-data")
    assert place.archive.exists()


@pytest.mark.parametrize(
    ("file", "folder", "code"),
    [("www-data", "www-data", 0), ("root", "root", 0), ("nobody", "www-data", 2), ("www-data", "nobody", 2)],
)
def test_what_nobody_named_is_ones_own_or_roots(place, file, folder, code):
    """./logrotor.toml is taken without a word, so the file and its folder must not be a stranger's; -c may."""
    here = place.root / "here"
    here.mkdir()
    place.deploy("www-data")
    config = place.config.rename(here / "logrotor.toml")
    place.give(file, config)
    place.give(folder, here)
    place.run(cwd=here, user="www-data", code=code)
    assert place.archive.exists() == (code == 0)
    place.config = config
    place.run(user="www-data")
    assert place.archive.exists()


def test_doctor_names_everybody_who_can_write_it(place):
    """Mode, ACL and folders."""
    place.deploy("www-data")
    place.config.chmod(0o666)
    subprocess.run(["setfacl", "-m", "u:nobody:rw", place.config], check=True)
    found = json.loads(place.run("doctor", "--only", "config.trust", "--json", user="www-data", code=1).stdout)
    told = json.dumps(found)
    assert "anyone" in told and "nobody" in told
