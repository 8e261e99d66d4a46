"""What is wrong in a configuration: which key, on which line, of which rule, what the advice names, what still runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyfakefs.fake_filesystem import FakeFilesystem

from logrotor.config import load_config
from logrotor.config.document import lines_of
from logrotor.config.keys import LOG, REOPEN, TOP
from logrotor.errors import ConfigError
from logrotor.model import Config, ConfigProblem

HOME = {"HOME": "/home/ann"}
MAIN = "/app/logrotor.toml"
GOOD = '[[log]]\nname = "good"\npaths = ["good.log"]\nmax_size = "1MB"\n'
RULE = '[[log]]\nname = "bad"\npaths = ["bad.log"]\nmax_size = "1MB"\n'
SUPERVISORD = '[reopen.w]\nmanager = "supervisord"\npidfile = "s.pid"\n'
Load = Callable[[str], Config]


@pytest.fixture
def load(fs: FakeFilesystem) -> Load:
    def load(text: str) -> Config:
        fs.create_file(MAIN, contents=text)
        return load_config(MAIN, environ=HOME)

    return load


def problems_of(load: Callable[[Any], Config], source: Any) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(source)
    return caught.value.problems


def names(config: Config) -> list[str]:
    return [spec.name for spec in config.logs]


# What stands below the second rule, the line (RULE begins on line 5, so the first is 9), the key, and what the advice
# names: the right word, or the range.
@pytest.mark.parametrize(
    ("text", "line", "key", "advice"),
    [
        ('min_size = "10 potatoes"', 9, "min_size", "10MB"),
        ("max_total_size = 0", 9, "max_total_size", '"off"'),
        ("backup_count = 0", 9, "backup_count", '"off" keeps every archive'),
        ("max_age = 30", 9, "max_age", '"30d"'),
        ("create_mode = 664", 9, "create_mode", '"0664"'),
        ("create_mode = 0o664", 9, "create_mode", '"0664"'),
        ('schedule = "0 0 30 2 *"', 9, "schedule", "cron"),
        ('schedule = "0 0 0 1 * *"', 9, "schedule", "drop the first one"),
        ('schedule = "dayly"', 9, "schedule", "'daily'"),
        ('compress = "lz4"', 9, "compress", '"zstd", "gzip" or "none"'),
        ('compress = "gz"', 9, "compress", "'gzip'"),
        ('method = "Copytruncat"', 9, "method", "'copytruncate'"),
        ('compress = "gzip"\ncompress_level = 19', 10, "compress_level", "0 to 9"),
        ("compress_level = 0", 9, "compress_level", "1 to 22"),
        ('compress = "none"\ncompress_level = 3', 10, "compress_level", "another compress"),
        ('min_size = "1K"', 9, "min_size", "a schedule"),
        ('min_size = "10MB"\nschedule = "daily"', 9, "min_size", "less than max_size"),
        ("create = false\ncreate_missing = true", 10, "create_missing", "create = true"),
        ('rotate_empty = "yes"', 9, "rotate_empty", "true or false"),
        ("keep_free = false", 9, "keep_free", 'write "off"'),
        ("keep_uncompressed = -1", 9, "keep_uncompressed", "0 or more"),
        ('on_archive = "rm -rf /"', 9, "on_archive", "put it in [ ]"),
        ('archive_dir = "~nobody-here/x"', 9, "archive_dir", "from ~"),
        ("max_age = 2026-01-01", 9, "max_age", '"30d"'),
        ("exlude = []", 9, "exlude", "'exclude'"),
        ('Max-Age = "30d"', 9, "Max-Age", "'max_age'"),
        ("rotate = 7", 9, "rotate", "'backup_count'"),
        ("xyzzy = 7", 9, "xyzzy", "accept_loss, archive_dir, backup_count"),
        ('pidfile = "x"', 9, "pidfile", "[reopen.NAME]"),
        ('state_dir = "x"', 9, "state_dir", "the top level"),
        (f'reopen = "v"\n{SUPERVISORD}', 9, "reopen", "'w'"),
        ('reopen = "v"', 9, "reopen", "[reopen.v]"),
        (f'method = "copytruncate"\nreopen = "w"\n{SUPERVISORD}', 10, "reopen", 'method = "rename"'),
    ],
)
def test_a_wrong_rule_is_left_out_and_named(load: Load, text: str, line: int, key: str, advice: str) -> None:
    """Each mistake in a rule has its line and key, and what is accepted; the other rule runs."""
    config = load(f"{GOOD}{RULE}{text}\n")
    (problem,) = config.problems
    assert names(config) == ["good"]
    assert (problem.file, problem.line, problem.key, problem.rule) == (MAIN, line, f"log[2].{key}", "bad")
    assert advice in problem.advice and problem.message == f"{problem.problem}; {problem.advice}"


@pytest.mark.parametrize(
    ("text", "key", "rule", "advice"),
    [
        ('paths = ["x"]\nmax_size = 1\n', ".name", "log[2]", "a name"),
        ('name = "b"\nmax_size = 1\n', ".paths", "b", "a list of files"),
        ('name = "b"\nmax_size = 1\npaths = []\n', ".paths", "b", "a list of files"),
        ('name = "b"\nmax_size = 1\npaths = "x.log"\n', ".paths", "b", "put it in [ ]"),
        ('name = "b"\nmax_size = 1\npaths = ["logs/"]\n', ".paths", "b", '"DIR/*.log"'),
        ('name = "b"\nmax_size = 1\npaths = ["x.log", "logs/{a,b}.log"]\n', ".paths", "b", "write two items"),
        ('name = "b"\nmax_size = 1\npaths = ["${HOME}/x.log"]\n', ".paths", "b", "write ~"),
        ('name = "b"\npaths = ["x"]\n', "", "b", 'max_size = "10MB", schedule = "daily"'),
        ('name = "good"\npaths = ["x"]\nmax_size = 1\n', ".name", "good", "each only once"),
        ('name = "a/b"\npaths = ["x"]\nmax_size = 1\n', ".name", "a/b", 'without "/"'),
        # One problem is enough: a trigger that is misspelt is not also a rule that is never due.
        ('name = "b"\npaths = ["x"]\nmaxsize = 1\n', ".maxsize", "b", "'max_size'"),
    ],
)
def test_a_rule_that_lacks_something_is_left_out(load: Load, text: str, key: str, rule: str, advice: str) -> None:
    """A rule without name, paths or trigger does not run; the others do."""
    config = load(f"{GOOD}[[log]]\n{text}")
    (problem,) = config.problems
    assert names(config) == ["good"]
    assert (problem.key, problem.rule) == (f"log[2]{key}", rule)
    assert problem.line is not None and problem.line > 4 and advice in problem.advice


@pytest.mark.parametrize(
    ("text", "line", "key", "advice"),
    [
        ('lock_timeout = "soon"\n', 1, "lock_timeout", '"90s"'),
        ("compress_jobs = 0\n", 1, "compress_jobs", "from 1 to 64"),
        ('state_dir = "$HOME/st"\n', 1, "state_dir", "write ~"),
        ('statedir = "x"\n', 1, "statedir", "'state_dir'"),
        ("max_size = 5\n", 1, "max_size", "[defaults] or [[log]]"),
        ("[zebra]\nx = 1\n", 1, "zebra", "compress_jobs, defaults, include, lo"),
        ('[[logs]]\nname = "x"\n', 1, "logs", "'log'"),
        ("[default]\nmax_size = 1\n", 1, "default", "'defaults'"),
        ('include = "x.toml"\n', 1, "include", "put it in [ ]"),
        ("defaults = 3\n", 1, "defaults", "[defaults]"),
        ('[defaults]\nmin_size = "x"\n', 2, "defaults.min_size", "10MB"),
        ('[defaults]\npaths = ["x"]\n', 2, "defaults.paths", "[[log]]"),
        ('[defaults]\nmin_size = 9\nmax_size = 9\nschedule = "daily"\n', 2, "defaults.min_size", "less than max_size"),
        ('[defaults]\ncompress = "gzip"\ncompress_level = 12\n', 3, "defaults.compress_level", "0 to 9"),
        ("[defaults]\ncreate_missing = true\ncreate = false\n", 2, "defaults.create_missing", "create = true"),
        (f'[defaults]\nreopen = "ww"\n{SUPERVISORD}', 2, "defaults.reopen", "'w'"),
    ],
)
def test_what_reaches_all_rules_stops_all(load: Load, text: str, line: int, key: str, advice: str) -> None:
    """A mistake at the top or in the defaults is reported once, and nothing runs on a guess."""
    (problem,) = problems_of(load, text + GOOD)
    assert (problem.file, problem.line, problem.key, problem.rule) == (MAIN, line, key, None)
    assert advice in problem.advice


@pytest.mark.parametrize(
    ("text", "line", "key", "advice"),
    [
        ("", None, "log", 'name = "app"'),
        ("log = []\n", 1, "log", 'name = "app"'),
        ("[defaults]\nbackup_count = 7\n", None, "log", 'name = "app"'),
        ('[log]\nname = "x"\n', 1, "log", "two brackets each side"),
        ("log = 7\n", 1, "log", 'name = "app"'),
        ('a = 1\nb = "x\n', 2, "syntax", ""),
        ("\n\na = [1,\n", 3, "syntax", ""),
        ("a = " + "[" * 5000, None, "syntax", ""),
        ("a = " + "1" * 5000, None, "syntax", ""),
        (f"{GOOD}create_mode = 0664\n", 5, "syntax", 'create_mode = "0664"'),
    ],
)
def test_a_file_without_a_rule_or_not_in_toml(load: Load, text: str, line: int | None, key: str, advice: str) -> None:
    """The one problem says where, and what a rule looks like. A mode without quotes is a syntax error that is known."""
    problem = problems_of(load, text)[0]
    assert (problem.file, problem.line, problem.key) == (MAIN, line, key)
    assert advice in problem.advice


@pytest.mark.parametrize(("text", "line"), [("a = 1\na = 2\n", 2), ("a = 1\na = [\n2]\n", 3), ("a = 1\n[a]\n", 2)])
def test_a_key_that_is_set_twice_is_named(load: Load, text: str, line: int) -> None:
    """tomllib says that something is overwritten, not what."""
    (problem,) = problems_of(load, text)
    assert (problem.key, problem.line) == ("syntax", line)
    assert problem.problem.endswith(": a is already set")


def test_all_rules_wrong_is_all_problems_at_once(load: Load) -> None:
    """Nothing is left to run, and every mistake of the file is reported in one go."""
    text = GOOD.replace("1MB", "1 elephant") + 'rotate = 7\nschedule = "soon"\n' + RULE + "backup_count = 0\n"
    assert [(p.line, p.key) for p in problems_of(load, text)] == [
        (4, "log[1].max_size"),
        (5, "log[1].rotate"),
        (6, "log[1].schedule"),
        (11, "log[2].backup_count"),
    ]


def test_inherited_keys_that_do_not_fit_say_where_they_come_from(load: Load) -> None:
    """A default that does not fit one rule switches off only that rule."""
    text = "[defaults]\ncompress_level = 19\ncreate_missing = true\n" + GOOD
    config = load(text + RULE + 'compress = "gzip"\ncreate = false\n')
    assert names(config) == ["good"]
    assert [p.key for p in config.problems] == ["log[2].compress_level", "log[2].create_missing"]
    assert all("(from [defaults])" in p.problem for p in config.problems)


# ---------------------------------------------------------------- the state directory is no place for archives


@pytest.mark.parametrize(
    ("top", "paths"),
    [
        ('state_dir = "logs"\n', 'paths = ["link/*.log"]\narchive_dir = "../logs"'),
        ('state_dir = "logs/old"\n', 'paths = ["logs/*.log"]\narchive_dir = "old"'),
        ('state_dir = "logs/old"\n[defaults]\narchive_dir = "old"\n', 'paths = ["logs/*.log"]'),
    ],
)
def test_a_rule_with_archives_in_the_state_directory_is_left_out(
    fs: FakeFilesystem, load: Load, top: str, paths: str
) -> None:
    """By a link or by a default as well: both places are named with their lines, and the other rule runs."""
    fs.create_dir("/app/logs")
    fs.create_symlink("/app/link", "logs")
    config = load(f'{top}{GOOD}[[log]]\nname = "b"\n{paths}\nmax_size = 1\n')
    assert names(config) == ["good"]
    (problem,) = config.problems
    assert (problem.key, problem.rule) == ("log[2].archive_dir", "b")
    assert problem.line is not None and problem.line > 6
    assert f"{config.state_dir} (state_dir in {MAIN}, line 1)" in problem.problem


@pytest.mark.parametrize("paths", ["logs/*/x.log", "logs/state.log", "logs/*.log", "logs/state/*.log"])
def test_a_state_directory_beside_or_below_the_logs_is_fine(load: Load, paths: str) -> None:
    """Logs may lie in it, too, as in /var/lib/NAME with systemd's StateDirectory."""
    assert load(f'state_dir = "logs/state"\n{RULE.replace("bad.log", paths)}').problems == ()


def test_a_default_state_directory_has_its_origin() -> None:
    """The place that nobody set has no line."""
    rule = {"name": "a", "paths": ["~/x.log"], "archive_dir": "~/.local/state/logrotor", "max_size": 1}
    (problem,) = problems_of(lambda source: load_config(source, environ=HOME, euid=1000), {"log": [rule]})
    assert problem.problem.endswith("/home/ann/.local/state/logrotor (default for ordinary users)")


# ---------------------------------------------------------------- reopen targets


@pytest.mark.parametrize(
    ("text", "keys", "advice"),
    [
        ('pidfile = "x"\n', "manager", '"supervisord", "systemd", "pidfile"'),
        ('manager = "runit"\n', "manager", '"supervisord"'),
        ('manager = "supervisor"\n', "manager", "'supervisord'"),
        ('manager = "callable"\n', "manager", '"supervisord"'),
        ('manager = "command"\ncommand = ["x"]\nfunction = "f"\n', "function", "command, manager, pidfile"),
        ('manager = "supervisord"\n', "pidfile", "a file"),
        ('manager = "supervisord"\npidfile = "x"\nsignal = "HUP"\n', "signal", "leave it out"),
        ('manager = "pidfile"\n', "pidfile signal", "accepted: "),
        ('manager = "systemd"\n', "signal unit", "accepted: "),
        ('manager = "command"\n', "command", "a list such as"),
        ('manager = "command"\ncommand = "reload x"\n', "command", "put it in [ ]"),
        ('manager = "command"\ncommand = ["x"]\nunit = "y"\n', "unit", "'systemd'"),
        ('manager = "pidfile"\npidfile = "x"\nsignal = "KILL"\n', "signal", '"USR1"'),
        ('manager = "pidfile"\npid = "x"\nsignal = "HUP"\n', "pid", "'pidfile'"),
    ],
)
def test_a_wrong_target_switches_off_the_rules_that_use_it(load: Load, text: str, keys: str, advice: str) -> None:
    """A mistake in [reopen.w] is reported once; rules with other targets run."""
    config = load(f'{GOOD}{RULE}reopen = "w"\n[reopen.w]\n{text}')
    assert (names(config), config.targets) == (["good"], {})
    *target, rule = config.problems
    assert [p.key for p in target] == [f"reopen.w.{key}" for key in keys.split()]
    assert all(advice in p.advice for p in target)
    assert (rule.key, rule.line, rule.rule) == ("log[2].reopen", 9, "bad")
    assert rule.advice == f"see reopen.w in {MAIN}"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("reopen = 7\n", "reopen"),
        ("[reopen]\nw = 7\n", "reopen.w"),
        (SUPERVISORD.replace(".w", ".off"), "reopen.off"),  # a name that means "no target"
    ],
)
def test_a_target_is_a_table_with_a_name(load: Load, text: str, key: str) -> None:
    """[reopen.NAME] is the only form."""
    assert [(p.key, p.rule) for p in load(text + GOOD).problems] == [(key, None)]


def test_a_target_in_two_files_is_the_first_one(fs: FakeFilesystem) -> None:
    """Rules of the second file do not signal a process that they did not mean."""
    fs.create_file(MAIN, contents='include = ["b.toml"]\n' + GOOD + 'reopen = "w"\n' + SUPERVISORD)
    fs.create_file("/app/b.toml", contents=RULE + 'reopen = "w"\n' + SUPERVISORD.replace("s.pid", "t.pid"))
    config = load_config(MAIN, environ=HOME)
    assert [(spec.name, config.targets[spec.reopen or ""].pidfile) for spec in config.logs] == [("good", "/app/s.pid")]
    assert [(p.file, p.key, p.rule) for p in config.problems] == [
        ("/app/b.toml", "reopen.w", None),
        ("/app/b.toml", "log[1].reopen", "bad"),
    ]


# ---------------------------------------------------------------- the queue and what a run writes for others


@pytest.mark.parametrize(
    ("tables", "key", "advice"),
    [
        ({"queue": {"engine": "rq"}}, "queue.url", "a URL"),
        ({"queue": {"engine": "hui"}}, "queue.engine", "'huey'"),
        ({"queue": {"enigne": "rq"}}, "queue.enigne", "'engine'"),
        ({"queue": {"name": "a.b"}}, "queue.name", "letters, digits"),
        ({"queue": {"schedule": "* * * * * *"}}, "queue.schedule", "5-field"),
        ({"queue": {"timeout": "10s"}}, "queue.timeout", "[queue.job]"),
        ({"queue": {"job": {"tries": 0}}}, "queue.job.tries", "1 to 100"),
        ({"queue": {"job": {"backoff": "10s"}}}, "queue.job.backoff", "put it in [ ]"),
        ({"queue": {"job": {"backoff": []}}}, "queue.job.backoff", "a list"),
        ({"queue": {"job": {"backoff": ["soon"]}}}, "queue.job.backoff", "a list"),
        ({"queue": {"job": {"timeout": "0s"}}}, "queue.job.timeout", '"90s"'),
        ({"queue": {"job": {"timout": "5s"}}}, "queue.job.timout", "'timeout'"),
        ({"queue": {"job": 3}}, "queue.job", "[queue.job] with tries"),
        ({"queue": {"monitor": {"queues": ["web-1"]}}}, "queue.monitor.queues", "web-1:100"),
        ({"queue": {"monitor": {"ticks": 1}}}, "queue.monitor.ticks", "2 to 1000"),
        ({"queue": {"job": {"timeout": "10m"}}}, "queue.job.timeout", "stuck_after above 640s"),
        ({"queue": {"job": {"stuck_after": "30s"}}}, "queue.job.stuck_after", "stuck_after above 100s"),
        ({"queue": "redis"}, "queue", "[queue] with engine"),
        ({"metrics": 7}, "metrics", "[metrics] with textfile"),
        ({"metrics": {"textfile": "x.txt"}}, "metrics.textfile", ".prom"),
        ({"page": {"file": "x/"}}, "page.file", "a file"),
    ],
)
def test_mistakes_there_leave_that_table_out_and_the_rules_run(tables: dict[str, Any], key: str, advice: str) -> None:
    """cron goes on rotating."""
    rule = {"name": "app", "paths": ["app.log"], "max_size": "1M"}
    config = load_config({"state_dir": "state", "log": [rule], **tables}, environ={})
    assert (config.queue, config.metrics_textfile, config.page_file, names(config)) == (None, None, None, ["app"])
    (problem,) = config.problems
    assert problem.key == key and advice in problem.advice


# ---------------------------------------------------------------- files that cannot be read, and dicts


def test_a_directory_is_not_a_configuration(fs: FakeFilesystem) -> None:
    """Naming a directory is an error with the system's own reason."""
    fs.create_dir("/app")
    (problem,) = problems_of(lambda file: load_config(file, environ=HOME), "/app")
    assert (problem.file, problem.key) == ("/app", "file") and "Is a directory" in problem.problem


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ({"log": [{"name": "a", "paths": ["a"], "max_size": "x"}]}, ["log[1].max_size"]),
        # A callable target without a function is reported at load time, not at the first rotation.
        (
            {"reopen": {"m": {"manager": "callable", "function": 3}, "n": {"manager": "callable"}}},
            ["reopen.m.function", "reopen.n.function", "log"],
        ),
    ],
)
def test_a_dict_has_no_file_and_no_lines(source: Mapping[str, Any], keys: list[str]) -> None:
    """Problems of a dict name the key."""
    found = problems_of(lambda given: load_config(given, environ=HOME), source)
    assert [(p.file, p.key, p.line) for p in found] == [("<dict>", key, None) for key in keys]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
words = st.sampled_from([*TOP, *LOG, *REOPEN, "defaults", "log", "reopen", "x"])
tables = st.dictionaries(words, anything | st.just("off"), max_size=5)


@given(
    st.fixed_dictionaries(
        {}, optional={"defaults": tables, "log": st.lists(tables, max_size=2), "reopen": st.dictionaries(words, tables)}
    )
    | st.dictionaries(words | st.integers(), anything, max_size=4)
)
def test_no_dict_crashes(source: Any) -> None:
    """Whatever is handed over is a configuration or a ConfigError with at least one problem."""
    try:
        assert load_config(source, environ=HOME, euid=1000).logs
    except ConfigError as error:
        assert error.problems and str(error)


@given(st.text(max_size=60) | st.text(alphabet="[]{}\"'#=\n a.\\", max_size=40))
def test_no_text_stops_the_search_for_lines(text: str) -> None:
    """Lines are best effort: a strange text costs them, never the message."""
    assert all(1 <= line <= text.count("\n") + 1 for line in lines_of(text).values())
