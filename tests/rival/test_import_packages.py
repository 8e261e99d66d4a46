"""The files that Debian's packages ship, as apt fetches them: each is carried over, and rotates as it did."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from logrotor.logrotate.blocks import read
from logrotor.logrotate.mapping import carry_over
from logrotor.logrotate.scripts import Kind, asked
from tests.rival.test_import import Site, agree, as_logrotate, ours
from tests.support import command, mounts
from tests.support.need import need

pytestmark = pytest.mark.long

PACKAGES = """
    apache2 apt aptitude certbot chrony cups-daemon dpkg exim4-base fail2ban firewalld freeradius haproxy inspircd
    libvirt-daemon-system lighttpd logrotate mariadb-server monit mosquitto munin munin-node nginx-common php8.2-fpm
    postgresql-common ppp privoxy proftpd-core prosody redis-server rkhunter rsyslog samba squid stunnel4
    syslog-ng-core tinyproxy tor ufw ulogd2 unattended-upgrades uwsgi varnish vsftpd winbind zabbix-agent
"""
FILES = 51  # that these packages of Debian 12 ship
# How many of their scripts are of each kind.
POSTROTATES = {Kind.COMMAND: 14, Kind.SHELL: 17}
PREROTATES = {Kind.COMMAND: 1, Kind.SHELL: 2, Kind.NOTHING: 1}
GLOBALS = "weekly\nrotate 4\ncreate\n"  # of Debian's logrotate.conf


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files, in a folder for each package."""
    need(shutil.which("apt-get") and shutil.which("dpkg-deb"), "apt")
    folder = tmp_path_factory.mktemp("packages")
    fetched = command.run(["apt-get", "download", "-q", *PACKAGES.split()], cwd=folder)
    if fetched.code != 0:  # no lists yet, or old ones
        command.run(["apt-get", "update", "-q"])
        fetched = command.run(["apt-get", "download", "-q", *PACKAGES.split()], cwd=folder)
    need(fetched.code == 0, f"packages of Debian 12: {fetched.stderr[-300:]}")
    for package in folder.glob("*.deb"):
        made = folder / package.name.partition("_")[0]
        made.mkdir()
        unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        argv = ["tar", "-x", "-C", made, "--wildcards", "./etc/logrotate.d/*"]
        subprocess.run(argv, stdin=unpacked.stdout, check=True, stderr=subprocess.DEVNULL)
        unpacked.communicate()
        package.unlink()
    return sorted(folder.glob("*/etc/logrotate.d/*"))


def test_each_is_carried_over(shipped: list[Path], tmp_path: Path) -> None:
    """No fault in any, each script of a known form; together they are one configuration without a problem."""
    assert len(shipped) == FILES
    scripts: dict[str, Counter[Kind]] = {"postrotate": Counter(), "prerotate": Counter()}
    main = tmp_path / "logrotate.conf"
    main.write_text(GLOBALS + "".join(_elsewhere(path.read_text(), tmp_path) for path in shipped))
    main.chmod(0o644)
    for path in shipped:
        reading = read([str(path)])
        imported = carry_over(reading)
        assert (
            imported.rules
            and not (reading.faults or reading.unread)
            and not any(block.faults for block in reading.blocks)
        ), path
        for block in reading.blocks:
            for word in scripts:
                if word in block.settings:
                    scripts[word][asked(block.settings[word].value).kind] += 1
    assert scripts == {"postrotate": Counter(POSTROTATES), "prerotate": Counter(PREROTATES)}
    tmp_path.chmod(0o755)
    made = command.logrotor("import", main, "-o", tmp_path / "logrotor.toml", check={0, 1})
    checked = command.logrotor(
        "check", "-c", tmp_path / "logrotor.toml", env={"STATE_DIRECTORY": str(tmp_path / "state")}
    )
    assert checked.code == 0, f"{made}\n{checked}"


def _elsewhere(text: str, folder: Path) -> str:
    return re.sub(r"/var/(?=(?:log|lib)/[\w.*/-]*)", f"{folder}/var/", text)


def test_each_rotates_as_it_did(shipped: list[Path], world: Path) -> None:
    """File by file, with scripts that do nothing and root as the owner: the same tree after three rounds.

    And the same moments, counts and sizes, as logrotate says how it reads each file.
    """
    need(os.geteuid() == 0 and shutil.which("logrotate"), "root, and logrotate")
    need(mounts.collapses(world), "a file system that can collapse a range")
    for path in shipped:
        sites = [Site(world / path.name / name) for name in ("theirs", "mine")]
        (world / path.name).mkdir(mode=0o755)
        for site in sites:
            _lay(site, path.read_text())
        theirs, mine = sites
        command.logrotor("import", mine.conf, "-o", mine.folder / "logrotor.toml", check={0, 1})
        for number in range(3):
            for log in [log for site in sites for log in _logs(site)]:
                log.parent.mkdir(parents=True, exist_ok=True)
                with open(log, "a") as file:
                    file.write(f"round {number}\n" * 1000)
            if number == 0:
                rules = carry_over(read([str(theirs.conf)])).rules
                for found, rule in zip(as_logrotate(theirs.conf), rules, strict=True):
                    agree(found, rule)
            command.run(["logrotate", "--force", "-s", str(theirs.folder / "status"), str(theirs.conf)], check=0)
            ran = ours(mine, "run", "--force")
            assert ran.code == 0, f"{path}\n{ran}"
            assert mine.seen() == theirs.seen(), f"{path}, round {number}"
        assert len(mine.seen()) > 1 + len([*_logs(mine)]), path  # there are archives


def _lay(site: Site, text: str) -> None:
    text = re.sub(r"(?ms)^(\s*(?:pre|post)rotate\n).*?(^\s*endscript)", r"\1\ttrue\n\2", text)
    text = re.sub(r"(create 0?\d+) \w\S* \S+", r"\1 root root", text)
    text = re.sub(r"/var/(?=(?:log|lib)/)", f"{site.logs}/", text)
    site.folder.mkdir(mode=0o755)
    site.logs.mkdir(mode=0o755)
    site.conf.write_text(GLOBALS + text)
    site.conf.chmod(0o644)


def _logs(site: Site) -> Iterator[Path]:
    """A log for each pattern, two for each with a star."""
    for block in read([str(site.conf)]).blocks:
        for pattern in block.patterns:
            for star in ("one", "two")[: 1 + ("*" in pattern)]:
                yield Path(pattern.replace("*", star))
