"""What scripts of real files ask for, in the many ways in which they do."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logrotor.logrotate.scripts import Asked, Kind, asked


def pidfile(path: str, signal: str) -> Asked:
    return Asked(Kind.PIDFILE, {"manager": "pidfile", "pidfile": path, "signal": signal})


def unit(name: str, signal: str, *, everybody: bool = False) -> Asked:
    return Asked(Kind.SYSTEMD, {"manager": "systemd", "unit": name, "signal": signal}, everybody)


def command(*argv: str) -> Asked:
    return Asked(Kind.COMMAND, {"manager": "command", "command": [*argv]})


SHELL, NOTHING = Asked(Kind.SHELL), Asked(Kind.NOTHING)
NGINX = pidfile("/run/nginx.pid", "USR1")


@pytest.mark.parametrize(
    "script",
    [
        "kill -USR1 $(cat /run/nginx.pid)",
        "\t/bin/kill -s USR1 `cat /run/nginx.pid`\n",
        "kill -SIGUSR1 \"$(cat /run/nginx.pid)\"",
        "kill -10 $(cat /run/nginx.pid 2>/dev/null) 2>/dev/null || true",
        "kill -USR1 -- $(</run/nginx.pid)",
        "kill -USR1 $(head -n1 /run/nginx.pid)",
        "[ -f /run/nginx.pid ] && kill -USR1 `cat /run/nginx.pid`",
        "[ ! -f /run/nginx.pid ] || kill -USR1 `cat '/run/nginx.pid'`",
        "test -s /run/nginx.pid && kill -USR1 $(cat /run/nginx.pid) || :",
        "if [ -f /run/nginx.pid ]; then\n  kill -USR1 $(cat /run/nginx.pid)\nfi",
        "if test -e /run/nginx.pid && [ -x /usr/sbin/nginx ]\nthen kill -USR1 $(cat /run/nginx.pid); fi;",
        "if [ -f /run/nginx.pid ]; then \\\n  kill -USR1 `cat /run/nginx.pid`; \\\nfi \\\n",
        "# reopen\n[ -d /run ] || exit 0\nkill -USR1 $(cat /run/nginx.pid) # now\nexit 0",
        "pkill -USR1 -F /run/nginx.pid",
        "PID=/run/nginx.pid\ntest -s $PID && kill -USR1 `cat $PID`",
        'pid="/run/nginx.pid"; [ -f "${pid}" -a -x /bin/x ] && kill -USR1 "$(cat "$pid")"',
        "pkill --signal USR1 --pidfile=/run/nginx.pid",
        "start-stop-daemon --stop --quiet --oknodo --signal USR1 --pidfile /run/nginx.pid --exec /usr/sbin/nginx",
        "start-stop-daemon -K -p /run/nginx.pid -s USR1 -x /usr/sbin/nginx -q",
    ],
)  # fmt: skip
def test_a_signal_by_pidfile(script: str) -> None:
    """However it finds the process."""
    assert asked(script) == NGINX


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("systemctl kill -s HUP rsyslog.service", unit("rsyslog.service", "HUP", everybody=True)),
        ("/bin/systemctl kill --signal=SIGHUP --kill-who=main x >/dev/null 2>&1 || true", unit("x.service", "HUP")),
        ("systemctl kill --kill-whom main -s USR1 x", unit("x.service", "USR1")),
        ("if systemctl -q is-active x; then systemctl kill --signal=HUP x; fi",
         unit("x.service", "HUP", everybody=True)),
        ("systemctl kill -s HUP a b", command("systemctl", "kill", "-s", "HUP", "a", "b")),
        ("systemctl reload x > /dev/null", command("systemctl", "reload", "x")),
        ("invoke-rc.d nginx rotate >/dev/null 2>&1", command("invoke-rc.d", "nginx", "rotate")),
        ("/usr/lib/rsyslog/rsyslog-rotate", command("/usr/lib/rsyslog/rsyslog-rotate")),
        ("[ ! -x /usr/lib/rsyslog/rsyslog-rotate ] || /usr/lib/rsyslog/rsyslog-rotate",
         command("/usr/lib/rsyslog/rsyslog-rotate")),
        ("test ! -e /run/squid.pid || test ! -x /usr/sbin/squid || /usr/sbin/squid -k rotate",
         SHELL),
        ("if invoke-rc.d m status > /dev/null 2>&1; then \\\n\tinvoke-rc.d m reload > /dev/null 2>&1; \\\nfi;",
         SHELL),
        ("if [ -d /run/systemd/system ]; then\n systemctl -q is-active v || exit 0\nfi\n/usr/sbin/invoke-rc.d v reload",
         SHELL),
        ("exec /usr/bin/x 'two words' \"it's\" a\\ b", command("/usr/bin/x", "two words", "it's", "a b")),
        ("/usr/bin/chronyc cyclelogs > /dev/null 2>&1 || true", command("/usr/bin/chronyc", "cyclelogs")),
        ("if pgrep -f ^/usr/sbin/apache2 > /dev/null; then\n invoke-rc.d apache2 reload 2>&1 | logger -t apache2\nfi",
         SHELL),
        ("command -v chronyc >/dev/null && chronyc cyclelogs", command("chronyc", "cyclelogs")),
        ("[ -s /run/daemon.pid ] && /srv/start-daemon || true", SHELL),
        ("systemctl is-active --quiet foo && systemctl restart foo", SHELL),
        ("pgrep -x primary && failover", SHELL),
        ("[ -e enable-purge ] && rm -rf /srv/x", SHELL),
        ("[ -f /x ] || exit 0\nrm -rf /srv/x", SHELL),
        ("if [ -n \"\" ]; then find /srv/x -delete; fi", SHELL),
        ("D=/path/precious; rm -rf \\$D", SHELL),
        ("killall -q -HUP rsyslogd", command("killall", "-q", "-HUP", "rsyslogd")),
    ],
)  # fmt: skip
def test_units_and_commands(script: str, found: Asked) -> None:
    """Alone, or behind tests that it is there."""
    assert asked(script) == found


@pytest.mark.parametrize(
    "script", ["", "\n\t\n", "# nothing\n", ":", "true", "exit 0", "[ -x /bin/x ]", "test -f /x || exit 0"]
)
def test_nothing(script: str) -> None:
    """Not even a table comes of it."""
    assert asked(script) == NOTHING


@pytest.mark.parametrize(
    "script",
    [
        "a; b", "a && b", "a || b", "a | b", "a &", "! a", "a > /tmp/x", "a < /tmp/x", "a $1", "a *.log", "a `b`",
        "x=1 a",
        "for i in a; do b; done", "if a; then b; else c; fi", "if a; then b; fi", "if ! test -f /x; then b; fi",
        "[ -f /no-rotate ] && exit 0\na", "if [ -f /no-rotate ]; then exit 0; fi\na",
        "[ -f /no ] || a", "[ ! -f /x ] && a",
        "exit 0\na", "[ -z \"$X\" ] && a", "[ a = b ] && c", "kill $(cat /run/x.pid)", "kill -KILL $(cat /run/x.pid)",
        "PID=/run/x.pid\nPID=/run/y.pid\nkill -HUP $(cat $PID)", "X=a\nb '$X' $X", "X=$(a)\nb $X", "X=a\nb $XY",
        "[ ! -f /a -a -f /b ] || c", "[ -f /a -o -f /b ] && c", "kill -HUP $(cat /run/a.pid) $(cat /run/b.pid)",
        "a 'unfinished",
        "(a)",
        "cd /x", ". /x", "{ a; }", "kill -HUP $(pidof x)", "if test -f /x; then a", "fi", "a 2>> /var/log/x", "[ -f",
        "systemctl kill -s HUP *", "a ~/x",
    ],
)  # fmt: skip
def test_what_needs_a_shell(script: str) -> None:
    """More than one command, or what only a shell can say: no guess."""
    assert asked(script) == SHELL


# ---------------------------------------------------------------- what sh does

part = st.sampled_from([
    "{said} a", "{said} a > /dev/null", "[ -f {there} ]", "[ ! -f {there} ]", "test -e {there}", "test ! -e {there}",
    "true",     ":", "exit 0", "[ -f {there} -a -e {there} ]", "! [ -f {there} ]", "exit 1", "# comment", "",
])  # fmt: skip
chain = st.lists(part, min_size=1, max_size=4).flatmap(
    lambda parts: st.lists(st.sampled_from([" && ", " || ", "; ", "\n", " &&\n"]), min_size=3, max_size=3).map(
        lambda joints: "".join(
            piece + joint for piece, joint in zip(parts, [*joints[: len(parts) - 1], ""], strict=True)
        )
    )
)
branch = st.builds("if {}; then {}\nfi".format, chain, chain)
script = st.lists(st.one_of(chain, branch), min_size=1, max_size=3).map("\n".join)


@settings(max_examples=100)
@given(script)
@example("[ -f {there} ] || exit 0\n{said} a\nexit 0")
@example("if [ -f {there} ]; then exit 0\nfi\n{said} a")
def test_sh_does_the_same(written: str) -> None:
    """Where all that a script looks for is there, sh runs the one command once, and where there is none, none."""
    with tempfile.TemporaryDirectory() as folder:
        heard, said = Path(folder, "heard"), Path(folder, "said")
        said.write_text(f"#!/bin/sh\necho x >> {heard}\n")
        said.chmod(0o755)
        text = written.format(said=said, there=said)
        found = asked(text)
        if found.kind is Kind.SHELL or subprocess.run(["sh", "-nc", text], capture_output=True, check=False).returncode:
            return  # nothing is claimed, or it is not a script
        subprocess.run(["sh", "-c", text], capture_output=True, check=False)
        ran = len(heard.read_text().split()) if heard.exists() else 0
    assert ran == (1 if found.kind is Kind.COMMAND else 0), text
