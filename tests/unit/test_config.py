"""Loading a configuration: where it is found, what it means, how defaults and includes come together."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tomllib

import pytest
from msgspec import NODEFAULT
from pyfakefs import helpers

from logrotor.config import find_config, load_config
from logrotor.config.document import lines_of
from logrotor.config.find import Found, Origin
from logrotor.config.keys import DEFAULTS, FUNCTION, JOB, LOG, METRICS, MONITOR, NO_OFF, PAGE, QUEUE, REOPEN, TOP, Key
from logrotor.config.reference import default_of, reference
from logrotor.config.values import NAMES
from logrotor.errors import ConfigError
from logrotor.model import (
    Codec,
    Config,
    ConfigProblem,
    FreeSpace,
    JobSettings,
    LogSpec,
    Manager,
    Method,
    Missing,
    Monitor,
    Naming,
    QueueSettings,
    ReopenTarget,
)
from tests.support.need import need

HOME = {"HOME": "/home/ann"}
MAIN = "/app/logrotor.toml"
RULE = '[[log]]\nname = "app"\npaths = ["app.log"]\nmax_size = "1MB"\n'

DESIGN = """
state_dir = "/var/lib/logrotor"

[defaults]
max_size     = "10MB"
backup_count = 7
compress     = "zstd"
create_mode  = "0664"
reopen       = "workers"

[reopen.workers]
manager = "supervisord"
pidfile = "/run/supervisord.pid"

[[log]]
name    = "queue-workers"
paths   = ["storage/logs/*-queue.log", "storage/logs/*-queue-error.log"]

[[log]]
name      = "application"
paths     = ["storage/logs/laravel.log"]
schedule  = "daily"
max_age   = "30d"
method    = "copytruncate"
"""


@pytest.fixture
def write(fs):
    """Write a file into the pretended file system; gives its path."""

    def write(text: str, file: str = MAIN, mode: int = 0o644) -> str:
        fs.create_file(file, contents=text)
        os.chmod(file, mode)
        return file

    helpers.set_uid(0)  # the pretended chown asks for root, whoever runs the tests
    yield write
    helpers.reset_ids()


def load(file: str = MAIN, *, environ=HOME, euid: int | None = None) -> Config:
    return load_config(file, environ=environ, euid=euid)


def refused(source: object = MAIN, *, environ=HOME, euid: int | None = None) -> ConfigProblem:
    """The only problem of a configuration with which nothing can run."""
    with pytest.raises(ConfigError) as caught:
        load_config(source, environ=environ, euid=euid)
    (problem,) = caught.value.problems
    return problem


def rule(**keys: object) -> dict[str, object]:
    return {"name": "app", "paths": ["/logs/app.log"], "max_size": "1MB", **keys}


def spec_of(**keys: object) -> LogSpec:
    return load_config({"log": [rule(**keys)]}, environ=HOME).logs[0]


# ---------------------------------------------------------------- what it means


def test_the_example_of_the_design_loads(write):
    """The configuration that the documentation shows means what it says."""
    config = load(write(DESIGN))
    workers, application = config.logs
    assert workers == LogSpec(
        name="queue-workers",
        paths=("/app/storage/logs/*-queue.log", "/app/storage/logs/*-queue-error.log"),
        max_size=10 * 1024 * 1024, backup_count=7, compress=Codec.ZSTD, create_mode=0o664, reopen="workers",
    )  # fmt: skip
    assert (application.schedule, application.schedule_name) == ("0 0 * * *", "daily")
    assert (application.max_age, application.method) == (30 * 86400.0, Method.COPYTRUNCATE)
    assert config.targets == {
        "workers": ReopenTarget(name="workers", manager=Manager.SUPERVISORD, pidfile="/run/supervisord.pid")
    }
    assert (config.state_dir, config.state_dir_origin) == ("/var/lib/logrotor", f"state_dir in {MAIN}")
    assert (config.files, config.problems) == ((MAIN,), ())


def test_every_key_of_a_rule_reaches_its_field():
    """Nothing that a rule says gets lost."""
    spec = spec_of(
        exclude=["*.gz", "sub/*.log"], min_size="1k", schedule="5 4 * * *", rotate_empty=True, backup_count=3,
        max_age="2w", max_total_size="1G", keep_free="10%", compress="gzip", compress_level=9, keep_uncompressed=2,
        create=True, create_mode="0600", create_missing=True, accept_loss=True, naming="dated",
        archive_dir="~/old", on_archive=["up", "--now"], on_archive_timeout="1m", missing="error",
    )  # fmt: skip
    assert spec == LogSpec(
        name="app", paths=("/logs/app.log",), exclude=("*.gz", f"{os.getcwd()}/sub/*.log"), max_size=1024 * 1024,
        min_size=1024, schedule="5 4 * * *", schedule_name="5 4 * * *", rotate_empty=True, backup_count=3,
        max_age=1209600.0, max_total_size=1024**3, keep_free=FreeSpace(percent=10), compress=Codec.GZIP,
        compress_level=9, keep_uncompressed=2, create=True, create_mode=0o600, create_missing=True, accept_loss=True,
        naming=Naming.DATED, archive_dir="/home/ann/old", on_archive=("up", "--now"), on_archive_timeout=60.0,
        missing=Missing.ERROR,
    )  # fmt: skip


def test_the_top_level_keys_reach_their_fields(write):
    """Lock, jobs and user are taken from the head of the file."""
    config = load(write('lock_timeout = "1m"\ncompress_jobs = 2\nrun_as = "www-data"\nstate_dir = "state"\n' + RULE))
    assert (config.lock_timeout, config.compress_jobs, config.run_as) == (60.0, 2, "www-data")
    assert config.state_dir == "/app/state"


def test_root_cannot_become_a_user_that_does_not_exist(write):
    """Reported with its line, and before any run; to an ordinary user the key means nothing."""
    write('# head\nrun_as = "no-such-user"\n' + RULE)
    problem = refused(euid=0)
    assert (problem.key, problem.line) == ("run_as", 2)
    assert load(euid=1000).run_as == "no-such-user"


OFF = {
    "min_size": "1k", "schedule": "daily", "backup_count": 7, "max_age": "1d", "max_total_size": "1G",
    "keep_free": "10%", "compress_level": 3, "keep_uncompressed": 2, "archive_dir": "old", "on_archive": ["x"],
    "exclude": ["*.x"], "compress": "gzip",
}  # fmt: skip


@pytest.mark.parametrize("key", OFF)
def test_off_unsets_an_inherited_key(key):
    """A rule can leave a default behind."""
    log = [rule(schedule="daily"), rule(name="b", schedule="daily")] if key == "min_size" else [rule(), rule(name="b")]
    config = load_config({"defaults": {key: OFF[key]}, "log": [log[0], log[1] | {key: "off"}]}, environ=HOME)
    inherited, unset = config.logs
    bare = spec_of() if key != "compress" else spec_of(compress="none")
    assert getattr(inherited, key) != getattr(unset, key)
    assert getattr(unset, key) == getattr(bare, key)


def test_off_covers_every_key_that_has_an_off_meaning():
    """The test above misses no key."""
    offs = {key.name for key in LOG.values() if key.off is not NO_OFF}
    assert offs - set(OFF) == {"max_size", "reopen"}


def test_max_size_off_leaves_the_schedule():
    """A rule may go by schedule alone though the defaults set a size."""
    log = {"name": "a", "paths": ["/a"], "schedule": "daily", "max_size": "off"}
    assert load_config({"defaults": {"max_size": "1MB"}, "log": [log]}, environ=HOME).logs[0].max_size is None


def test_an_inherited_reopen_is_not_used_with_copytruncate(write):
    """A writer that keeps its file needs no signal, whatever the defaults say."""
    workers, application = load(write(DESIGN)).logs
    assert (workers.reopen, application.reopen) == ("workers", None)


def test_an_inherited_level_is_not_used_without_compression():
    """compress = none does not stumble over a level that was meant for another rule."""
    source = {"defaults": {"compress_level": 19}, "log": [rule(compress="none"), rule(name="b")]}
    assert [spec.compress_level for spec in load_config(source, environ=HOME).logs] == [None, 19]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            'manager = "pidfile"\npidfile = "run/nginx.pid"\nsignal = "SIGUSR1"\ntimeout = "3s"',
            ReopenTarget(name="w", manager=Manager.PIDFILE, pidfile="/app/run/nginx.pid", signal="USR1", timeout=3.0),
        ),
        (
            'manager = "systemd"\nunit = "queue@1.service"\nsignal = "hup"\nuser_unit = true',
            ReopenTarget(name="w", manager=Manager.SYSTEMD, unit="queue@1.service", signal="HUP", user_unit=True),
        ),
        (
            'manager = "command"\ncommand = ["/usr/bin/true"]',
            ReopenTarget(name="w", manager=Manager.COMMAND, command=("/usr/bin/true",)),
        ),
        (
            'manager = "supervisord"\npidfile = "~/s.pid"\nsupervisor_config = "s.conf"',
            ReopenTarget(
                name="w", manager=Manager.SUPERVISORD, pidfile="/home/ann/s.pid", supervisor_config="/app/s.conf"
            ),
        ),
    ],
)
def test_each_manager_is_read_with_its_keys(write, text, target):
    """Nothing that a target says gets lost."""
    assert load(write(f"{RULE}[reopen.w]\n{text}\n")).targets == {"w": target}


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("file", "written", "meant"),
    [
        (MAIN, "../logs/./**/*.log", "/app/../logs/./**/*.log"),  # a/../b is not b where a is a link
        (MAIN, "~/logs/*.log", "/home/ann/logs/*.log"),
        (MAIN, "/logs/app$.log", "/logs/app$.log"),
        # Nobody could take these for a variable or a choice of the shell.
        (MAIN, "/logs/$1.log", "/logs/$1.log"),
        (MAIN, "/logs/{a}.log", "/logs/{a}.log"),
        (MAIN, "/logs/[$]HOME/[{]a,b}.log", "/logs/[$]HOME/[{]a,b}.log"),
        # A configuration in /srv/[a] finds its logs there and not in /srv/a.
        ("/srv/[a]/logrotor.toml", "app.log", "/srv/[[]a]/app.log"),
    ],
)
def test_paths_are_relative_to_the_file_that_holds_them(write, file, written, meant):
    """A configuration means the same from every working directory; ~ is the home."""
    assert load(write(RULE.replace("app.log", written), file)).logs[0].paths == (meant,)


def test_a_pattern_for_names_and_a_directory_beside_each_log_stay_as_they_are(write):
    """exclude without a slash is for file names, archive_dir may be relative to each log, ~ works in state_dir too."""
    text = 'exclude = ["*.tmp", "old/x.log"]\narchive_dir = "old"\n'
    config = load(write('state_dir = "~/state"\n' + RULE + text))
    (spec,) = config.logs
    assert (spec.exclude, spec.archive_dir) == (("*.tmp", "/app/old/x.log"), "old")
    assert config.state_dir == "/home/ann/state"


def test_a_dict_starts_at_the_working_directory(tmp_path, monkeypatch):
    """Relative paths of a dict are made absolute when it is loaded."""
    monkeypatch.chdir(tmp_path)
    config = load_config({"state_dir": "s", "log": [rule(paths=[os.path.join("l", "a.log")])]}, environ=HOME)
    assert (config.state_dir, config.logs[0].paths) == (f"{tmp_path}/s", (f"{tmp_path}/l/a.log",))
    assert config.files == ()


# ---------------------------------------------------------------- from the library


def test_a_callable_target_comes_from_a_dict():
    """A daemon reopens its own log by a function."""
    calls: list[tuple[str, ...]] = []
    source = {
        "log": [rule(reopen="me")],
        "reopen": {"me": {"manager": "callable", "function": calls.append, "timeout": 1}},
    }
    target = load_config(source, environ=HOME).targets["me"]
    assert target.manager is Manager.CALLABLE
    assert target.function is not None
    target.function(("a",))
    assert calls == [("a",)]


@pytest.mark.parametrize("place", ["reopen", "rule", "defaults"])
def test_a_built_target_is_taken_as_it_is(place):
    """Targets may be built in Python and handed over."""
    target = ReopenTarget(name="me", manager=Manager.CALLABLE, function=print)
    source = {
        "reopen": {"reopen": {"me": target}, "log": [rule(reopen="me")]},
        "rule": {"log": [rule(reopen=target), rule(name="b", reopen=target)]},
        "defaults": {"defaults": {"reopen": target}, "log": [rule()]},
    }[place]
    config = load_config(source, environ=HOME)
    assert config.logs[0].reopen == "me"
    assert config.targets["me"].function is print


def test_two_built_targets_of_one_name_are_refused():
    """Which function would be called must not depend on the order of rules."""
    one, two = (ReopenTarget(name="me", manager=Manager.CALLABLE, function=f) for f in (print, repr))
    config = load_config({"log": [rule(reopen=one), rule(name="b", reopen=two)]}, environ=HOME)
    assert [(problem.key, problem.rule) for problem in config.problems] == [("log[2].reopen", None)]


def test_a_configuration_pickles(write):
    """A worker process may be handed a configuration, or the error."""
    config = load(write(DESIGN))
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ConfigError) as caught:
        load_config({}, environ=HOME)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_loading_leaves_heavy_imports_alone():
    """Importing the package costs no TOML parser, cron parser or difflib."""
    code = "import sys, logrotor.config; print({'tomllib', 'difflib', 'cronsim', 'structlog'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# ---------------------------------------------------------------- includes


def test_included_rules_join_with_the_defaults_of_the_main_file(write):
    """Each service brings its own file; the defaults hold for all."""
    write('include = ["conf.d/*.toml"]\n[defaults]\nbackup_count = 7\n' + RULE)
    write('[[log]]\nname = "b"\npaths = ["b.log"]\nmax_size = 5\nreopen = "w"\n', "/app/conf.d/b.toml")
    write('[reopen.w]\nmanager = "pidfile"\npidfile = "w.pid"\nsignal = "HUP"\n', "/app/conf.d/a.toml")
    config = load()
    assert [(spec.name, spec.paths, spec.backup_count) for spec in config.logs] == [
        ("app", ("/app/app.log",), 7),
        ("b", ("/app/conf.d/b.log",), 7),
    ]
    assert config.targets["w"].pidfile == "/app/conf.d/w.pid"
    assert config.files == (MAIN, "/app/conf.d/a.toml", "/app/conf.d/b.toml")


def test_a_glob_that_matches_nothing_is_fine(write):
    """An empty conf.d is no problem."""
    assert load(write('include = ["conf.d/*.toml"]\n' + RULE)).problems == ()


def test_a_file_is_included_once_and_never_by_itself(write):
    """Globs that overlap do not double rules."""
    write('include = ["*.toml", "b.*", "**/b.toml"]\n' + RULE)
    write('[[log]]\nname = "b"\npaths = ["b.log"]\nmax_size = 5\n', "/app/b.toml")
    config = load()
    assert ([spec.name for spec in config.logs], config.problems) == (["app", "b"], ())


BROKEN = {
    "syntax": ("[[log\n", 1, "syntax"),
    "foreign": (RULE.replace("app", "b") + "[defaults]\nbackup_count = 1\n", 5, "defaults"),
    "nested": ('include = ["c.toml"]\n', 1, "include"),
    "utf8": (b"x\n\xff", 2, "syntax"),
    "missing": (None, None, "file"),  # it was named without a glob
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_include_does_not_stop_the_rest(write, case):
    """A missing bracket in one service's file leaves the logs of the others rotated."""
    content, line, key = BROKEN[case]
    write('include = ["b.toml"]\n' + RULE)
    if content is not None:
        write(content, "/app/b.toml")
    config = load()
    assert [spec.name for spec in config.logs] == ["app"]
    assert [(p.file, p.line, p.key) for p in config.problems] == [("/app/b.toml", line, key)]


def test_a_default_target_in_a_broken_include_switches_off_only_its_users(write):
    """Rules that need no reopening run even when the file with the target is broken."""
    text = 'include = ["b.toml"]\n[defaults]\nreopen = "w"\n' + RULE + RULE.replace("app", "c") + 'reopen = "off"\n'
    write(text)
    write("[reopen.w\n", "/app/b.toml")
    config = load()
    assert [spec.name for spec in config.logs] == ["c"]
    assert [p.rule for p in config.problems] == [None, None, "app"]


# ---------------------------------------------------------------- where it is found

PLACES = ["/cwd/logrotor.toml", "/home/ann/.config/logrotor/logrotor.toml", "/etc/logrotor/logrotor.toml"]
PLACES += ["/etc/logrotor.toml"]


@pytest.mark.parametrize("number", range(len(PLACES)))
def test_the_first_usual_place_wins(write, fs, number):
    """The working directory, the home, then /etc."""
    fs.create_dir("/cwd")
    os.chdir("/cwd")
    for place in PLACES[number:]:
        write(RULE, place)
    assert find_config(None, HOME) == Found(PLACES[number], Origin.USUAL_PLACE)
    assert load_config(environ=HOME, euid=1000).files == (PLACES[number],)


@pytest.mark.parametrize(
    ("explicit", "environ", "found"),
    [
        (None, {"LOGROTOR_CONFIG": "/x.toml"}, Found("/x.toml", Origin.VARIABLE)),
        ("/y.toml", {"LOGROTOR_CONFIG": "/x.toml"}, Found("/y.toml", Origin.OPTION)),
        ("y.toml", {}, Found("/y.toml", Origin.OPTION)),
        (None, {"LOGROTOR_CONFIG": ""}, Found("/etc/logrotor.toml", Origin.USUAL_PLACE)),
        (None, {"XDG_CONFIG_HOME": "/c"}, Found("/c/logrotor/logrotor.toml", Origin.USUAL_PLACE)),
        (None, {"XDG_CONFIG_HOME": "c"}, Found("/etc/logrotor.toml", Origin.USUAL_PLACE)),
    ],
)
def test_what_is_named_comes_before_the_usual_places(write, explicit, environ, found):
    """-c, then $LOGROTOR_CONFIG where it is not empty, then a personal configuration, which may live elsewhere."""
    os.chdir("/")
    write(RULE, "/etc/logrotor.toml")
    write(RULE, "/c/logrotor/logrotor.toml")
    assert find_config(explicit, {**HOME, **environ}) == found


def test_finding_nothing_says_where_it_looked_and_how_to_begin(fs):
    """A newcomer reads what to write, and where."""
    problem = refused(None)
    assert problem.key == "file"
    assert all(place in problem.problem for place in ("-c, $LOGROTOR_CONFIG", *PLACES[1:]))
    assert "[[log]]" in problem.advice and "logrotor check" in problem.advice


@pytest.mark.parametrize(
    ("source", "environ", "file", "says"),
    [
        ("/x.toml", {}, "/x.toml", "No such file or directory"),
        (None, {"LOGROTOR_CONFIG": "/x.toml"}, "/x.toml", "$LOGROTOR_CONFIG"),
        ("", {"LOGROTOR_CONFIG": "/etc/logrotor.toml"}, "''", ""),  # -c "$FILE" with FILE unset
    ],
)
def test_a_named_file_that_is_missing_is_not_replaced_by_another(write, source, environ, file, says):
    """A typo after -c does not silently use /etc; who named it is said where nobody sees it."""
    write(RULE, "/etc/logrotor.toml")
    problem = refused(source, environ={**HOME, **environ})
    assert (problem.file, problem.key) == (file, "file") and problem.problem.endswith(says)


def test_a_file_that_may_not_be_read_says_by_whom(write):
    """Started by cron as somebody else, the reason is who."""
    write(RULE, mode=0o600)
    helpers.set_uid(33)
    assert f"uid {os.geteuid()}: Permission denied" in refused(euid=33).problem


# ---------------------------------------------------------------- the state directory


@pytest.mark.parametrize(
    ("environ", "euid", "expected"),
    [
        ({"STATE_DIRECTORY": "/s/a:/s/b", "HOME": "/h"}, 1000, ("/s/a", "$STATE_DIRECTORY")),
        ({"STATE_DIRECTORY": "/s/a"}, 0, ("/s/a", "$STATE_DIRECTORY")),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, 1000, ("/x/logrotor", "$XDG_STATE_HOME")),
        ({"XDG_STATE_HOME": "x", "HOME": "/h"}, 1000, ("/h/.local/state/logrotor", "default for ordinary users")),
        ({"HOME": "/h"}, 1000, ("/h/.local/state/logrotor", "default for ordinary users")),
        ({"XDG_STATE_HOME": "/x", "HOME": "/root"}, 0, ("/var/lib/logrotor", "default for root")),
    ],
)
def test_the_state_directory_has_a_default_and_an_origin(environ, euid, expected):
    """Where the state lies, and why there."""
    config = load_config({"log": [rule()]}, environ=environ, euid=euid)
    assert (config.state_dir, config.state_dir_origin) == expected


def test_without_a_home_the_state_directory_is_asked_for():
    """A container user without a home is told what to set."""
    assert refused({"log": [rule()]}, environ={}, euid=123456).key == "state_dir"


# ---------------------------------------------------------------- who else may write it

HOOKS = {
    "on_archive": ('on_archive = ["x"]\n', "log[1].on_archive"),
    "command": ('[reopen.c]\nmanager = "command"\ncommand = ["x"]\n', "reopen.c.command"),
}


@pytest.fixture
def real(tmp_path):
    """Write a file of somebody into a real folder: the pretended file system gives what is opened another mode."""
    need(os.geteuid() == 0, "root, to make files of others")

    def write(text: str, name: str, mode: int, owner: int) -> str:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
        os.chown(tmp_path / name, owner, owner)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    ("mode", "owner", "advice"),
    [
        (0o646, 1000, "chmod o-w it"),
        (0o644, 1001, "chown it"),
        (0o664, 1000, None),
        (0o644, 0, None),
        (0o640, 1000, None),
    ],
)
def test_a_file_with_commands_must_not_be_writable_by_others(real, hook, mode, owner, advice):
    """Nobody else decides what runs as an ordinary user."""
    text, key = HOOKS[hook]
    file = real(RULE + text, "logrotor.toml", mode, owner)
    if advice is None:
        assert load(file, euid=1000).problems == ()
        return
    problem = refused(file, euid=1000)
    assert (problem.key, problem.advice) == (key, advice) and file in problem.problem


def test_a_file_without_commands_may_be_anyones(real):
    """Where nothing is run, whose file an ordinary user names is that user's business; root believes only root's."""
    file = real(RULE, "logrotor.toml", 0o666, 1234)
    assert load(file, euid=1000).problems == ()
    assert refused(file, euid=0).key == "file"


def test_an_included_file_with_commands_that_others_may_write_is_left_out(real):
    """One careless include does not stop the others, and does not run."""
    main = real('include = ["b.toml"]\n' + RULE, "logrotor.toml", 0o644, 1000)
    other = real(RULE.replace("app", "b") + HOOKS["command"][0], "b.toml", 0o666, 1000)
    config = load(main, euid=1000)
    assert ([spec.name for spec in config.logs], config.targets) == (["app"], {})
    assert [(p.file, p.advice) for p in config.problems] == [(other, "chmod o-w it")]


# ---------------------------------------------------------------- the queue


def queue(**keys: object) -> QueueSettings:
    found = load_config({"state_dir": "state", "log": [rule()], "queue": keys}, environ={}).queue
    assert found is not None
    return found


def test_an_empty_queue_table_is_huey_without_a_server():
    """A job a minute, three tries of a minute each; what the user wrote as schedule is kept for messages."""
    assert queue() == QueueSettings() and load_config({"log": [rule()]}, environ=HOME).queue is None
    assert [queue().job.delay(attempt) for attempt in (1, 2, 3, 4, 9)] == [10, 30, 60, 60, 60]
    hourly = queue(schedule="hourly")
    assert (hourly.schedule, hourly.schedule_name) == ("0 * * * *", "hourly")


@pytest.mark.parametrize("timeout", [0.5, 3.0, 60.0, 400.0])
def test_each_limit_is_below_the_next(timeout: float) -> None:
    """time limit of the run < timeout < timeout and grace < the engine's < reclaim; and a manager waits longer."""
    job = JobSettings(timeout=timeout)
    chain = [job.time_limit, job.timeout, job.timeout + job.grace, job.engine_timeout, job.reclaim_after]
    assert chain == sorted(set(chain))
    assert job.stop_wait > job.timeout + job.grace


# ---------------------------------------------------------------- the table of keys

KEYS = [*TOP.values(), *LOG.values(), *REOPEN.values(), *QUEUE.values(), *JOB.values(), *MONITOR.values()]
KEYS += [*METRICS.values(), *PAGE.values(), FUNCTION]


def test_the_reference_names_every_key():
    """Every option is documented, the names of the schedules included."""
    text = reference()
    for key in KEYS:
        assert key.doc and key.accepted
        assert key is FUNCTION or f"| `{key.name}` | " in text
    assert all(name in LOG["schedule"].accepted for name in NAMES)


def test_every_field_has_a_key():
    """The table of keys and the values agree."""
    assert set(LOG) == set(LogSpec.__struct_fields__) - {"schedule_name"}
    assert {*REOPEN, FUNCTION.name} == set(ReopenTarget.__struct_fields__) - {"name"}
    assert set(QUEUE) == set(QueueSettings.__struct_fields__) - {"schedule_name", "job", "monitor"}
    assert set(JOB) == set(JobSettings.__struct_fields__)
    assert set(MONITOR) == set(Monitor.__struct_fields__)
    assert set(DEFAULTS) == set(LOG) - {"name", "paths"}


def test_the_documented_defaults_are_those_that_hold():
    """A bare table has in each field what its key says."""
    bare = {
        "LogSpec": spec_of(max_size="off", schedule="daily"),
        "QueueSettings": queue(),
        "JobSettings": queue().job,
        "Monitor": queue().monitor,
        "Config": load_config({"log": [rule()]}, environ=HOME),
        "ReopenTarget": ReopenTarget(name="", manager=Manager.SYSTEMD),
    }
    for key in KEYS:
        if key.value is not NODEFAULT and (key.of, key.name) not in (("Config", "include"), ("LogSpec", "schedule")):
            assert getattr(bare[key.of], key.field or key.name) == key.value, key.name


@pytest.mark.parametrize("key", [key for key in KEYS if key.value not in (None, (), NODEFAULT)], ids=lambda k: k.name)
def test_a_documented_default_is_read_as_what_holds(key: Key):
    """Whoever writes into the file what the reference calls the default changes nothing."""
    words = default_of(key)
    is_toml = words[0] in '"[' or words in ("true", "false") or words.isdigit()
    parsed = key.kind.parse(tomllib.loads("it = " + (words if is_toml else f'"{words}"'))["it"])
    assert getattr(parsed, "expression", parsed) == key.value


# ---------------------------------------------------------------- lines


def test_lines_are_found_through_strings_lists_and_comments():
    """The line of a problem is right though brackets stand in strings and comments."""
    text = '''# [x]
a = """
b = 1
[no]"""
c = [ # ]
  "]", '[',
  { d = 1 },
]
[[log]] # first
"name" = 'x # y'
paths = ["a",
  "b"]
max_size = 1
[ reopen . "w" ]
pidfile="p"
[[ log ]]
max_size = 2
'''
    assert lines_of(text) == {
        "a": 2, "c": 5, "log": 9, "log[1]": 9, "log[1].name": 10, "log[1].paths": 11, "log[1].max_size": 13,
        "reopen.w": 14, "reopen.w.pidfile": 15, "log[2]": 16, "log[2].max_size": 17,
    }  # fmt: skip
