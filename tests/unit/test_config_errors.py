"""What is wrong in a configuration, and the exact words for it: place, value, what is accepted, what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logrotor.config import load_config
from logrotor.config.keys import LOG, REOPEN, TOP
from logrotor.config.lines import lines_of
from logrotor.errors import ConfigError
from logrotor.model import Config, ConfigProblem

HOME = {"HOME": "/home/ann"}
MAIN = "/app/logrotor.toml"
GOOD = '[[log]]\nname = "good"\npaths = ["good.log"]\nmax_size = "1MB"\n'
RULE = '[[log]]\nname = "bad"\npaths = ["bad.log"]\nmax_size = "1MB"\n'
SUPERVISORD = '[reopen.w]\nmanager = "supervisord"\npidfile = "s.pid"\n'
SIZE = 'accepted: 10MB, 512KiB, 1.5G or plain bytes (1024-based, 1 or more), or "off"'


@pytest.fixture
def load(fs):
    def load(text: str) -> Config:
        fs.create_file(MAIN, contents=text)
        return load_config(MAIN, environ=HOME)

    return load


def problems_of(load, text: str) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return caught.value.problems


# Each stands in the second rule (RULE begins on line 5, what follows on line 9).
IN_A_RULE = {
    "size": ('min_size = "10 potatoes"', 9, "min_size", f"'10 potatoes' is no size; {SIZE}"),
    "zero size": ("max_total_size = 0", 9, "max_total_size", f'0 is nothing; "off" switches the limit off; {SIZE}'),
    "count 0": (
        "backup_count = 0", 9, "backup_count",
        '0 would delete the log when it is rotated; "off" keeps every archive; accepted: a whole number, 1 or more,',
    ),
    "age": ("max_age = 30", 9, "max_age", '30 has no unit; for days write "30d"; accepted: "12h", "30d", "2w"'),
    "mode": (
        "create_mode = 664", 9, "create_mode",
        '664 is a number, and nobody can see whether octal or decimal; write the octal digits "0664"; accepted: octal',
    ),
    "octal mode": (
        "create_mode = 0o664", 9, "create_mode",
        '436 is a number, and nobody can see whether octal or decimal; write the octal digits "0664"; accepted: octal',
    ),
    "schedule": ('schedule = "0 0 30 2 *"', 9, "schedule", "'0 0 30 2 *' is no schedule: bad day-of-month; accepted:"),
    "seconds": ('schedule = "0 0 0 1 * *"', 9, "schedule", "'0 0 0 1 * *' has 6 fields; a schedule has no seconds"),
    "codec": ('compress = "lz4"', 9, "compress", "'lz4' is not known here; accepted: \"zstd\", \"gzip\" or \"none\""),
    "slip of a codec": ('compress = "gz"', 9, "compress", "'gz' is not known here; did you mean 'gzip'?; accepted"),
    "slip of a method": ('method = "Copytruncat"', 9, "method", "is not known here; did you mean 'copytruncate'?"),
    "slip of a schedule": (
        'schedule = "dayly"', 9, "schedule",
        "'dayly' is no schedule: it has 1 field, cron has 5; did you mean 'daily'?; accepted: hourly, daily, weekly",
    ),
    "level of gzip": (
        'compress = "gzip"\ncompress_level = 19', 10, "compress_level",
        '19 is no level of gzip; accepted: 0 to 9, or "off"',
    ),
    "level 0 of zstd": ("compress_level = 0", 9, "compress_level", "0 is no level of zstd; accepted: 1 to 22"),
    "level of nothing": (
        'compress = "none"\ncompress_level = 3', 10, "compress_level", "3 has no use with compress = 'none'; accepted",
    ),
    "create": (
        "create = false\ncreate_missing = true", 10, "create_missing",
        "true contradicts create = false; accepted: false, or create = true",
    ),
    "boolean": ('rotate_empty = "yes"', 9, "rotate_empty", "'yes' is neither true nor false; accepted: true or false"),
    "false for off": ("keep_free = false", 9, "keep_free", 'false is not how it is switched off; write "off"; acc'),
    "negative": ("keep_uncompressed = -1", 9, "keep_uncompressed", "-1 is too small; accepted: a whole number, 0 or"),
    "shell": ('on_archive = "rm -rf /"', 9, "on_archive", "'rm -rf /' is not a list; put it in [ ]; accepted: a list"),
    "nobody's home": ('archive_dir = "~nobody-here/x"', 9, "archive_dir", "there is no such user; accepted: a"),
    "date": ("max_age = 2026-01-01", 9, "max_age", "2026-01-01 is no duration; accepted"),
    "slip": ("exlude = []", 9, "exlude", "unknown key; did you mean 'exclude'?"),
    "case": ('Max-Age = "30d"', 9, "Max-Age", "unknown key; did you mean 'max_age'?"),
    "logrotate": ("rotate = 7", 9, "rotate", "unknown key; did you mean 'backup_count'?"),
    "nonsense": ("xyzzy = 7", 9, "xyzzy", "unknown key; accepted: accept_loss, archive_dir, backup_count, compress,"),
    "other table": ('pidfile = "x"', 9, "pidfile", "does not belong here but in [reopen.NAME]"),
    "top level": ('state_dir = "x"', 9, "state_dir", "does not belong here but in the top level"),
    "unknown target": (
        f'reopen = "v"\n{SUPERVISORD}', 9, "reopen", "'v' is no reopen target; known: 'w'",
    ),
    "no target": ('reopen = "v"', 9, "reopen", "'v' is no reopen target; known: none; add a table [reopen.v]"),
    "copytruncate": (
        f'method = "copytruncate"\nreopen = "w"\n{SUPERVISORD}', 10, "reopen",
        "'w' is not used with method = 'copytruncate', where the writer keeps its file; accepted: \"off\", or method",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_A_RULE)
def test_a_wrong_rule_is_left_out_and_named(load, case):
    """Each mistake in a rule is told with its line and value; the other rule runs."""
    text, line, key, message = IN_A_RULE[case]
    config = load(f"{GOOD}{RULE}{text}\n")
    assert [spec.name for spec in config.logs] == ["good"]
    assert len(config.problems) == 1
    assert str(config.problems[0]).startswith(f"{MAIN}:{line}: log[2].{key}: ")
    assert message in config.problems[0].message
    assert config.problems[0].rule == "bad"


WHOLE_RULE = {
    "no name": ('[[log]]\npaths = ["x"]\nmax_size = 1\n', "log[2].name", "is required; accepted: a name", "log[2]"),
    "no paths": ('[[log]]\nname = "b"\nmax_size = 1\n', "log[2].paths", "is required; accepted: a list of files", "b"),
    "empty paths": ('[[log]]\nname = "b"\nmax_size = 1\npaths = []\n', "log[2].paths", "[] is empty; accepted: a", "b"),
    "one path": (
        '[[log]]\nname = "b"\nmax_size = 1\npaths = "x.log"\n', "log[2].paths",
        "'x.log' is not a list; put it in [ ]; accepted: a list", "b",
    ),
    "a directory": (
        '[[log]]\nname = "b"\nmax_size = 1\npaths = ["logs/"]\n', "log[2].paths",
        "is wrong in item 1, 'logs/', which is a directory; for the logs in it write \"DIR/*.log\"; accepted", "b",
    ),
    "braces": (
        '[[log]]\nname = "b"\nmax_size = 1\npaths = ["x.log", "logs/{a,b}.log"]\n', "log[2].paths",
        "is wrong in item 2, 'logs/{a,b}.log', which has braces; they are no glob here: write two items; accepted", "b",
    ),
    "a variable": (
        '[[log]]\nname = "b"\nmax_size = 1\npaths = ["${HOME}/x.log"]\n', "log[2].paths",
        "which names a variable, and variables are not expanded; write ~ or the path; accepted: a list of", "b",
    ),
    "never due": (
        '[[log]]\nname = "b"\npaths = ["x"]\n', "log[2]",
        'has neither max_size nor schedule; accepted: max_size = "10MB", schedule = "daily", or both', "b",
    ),
    "twice": (RULE.replace("bad", "good"), "log[2].name", "'good' is the name of log[1] in /app/logrotor.toml too;",
              "good"),
    "slash": (RULE.replace('"bad"', '"a/b"'), "log[2].name", "'a/b' is no name; accepted: a name without \"/\"", "a/b"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE_RULE)
def test_a_rule_that_lacks_something_is_left_out(load, case):
    """A rule without name, paths or trigger does not run; the others do."""
    text, key, message, rule = WHOLE_RULE[case]
    config = load(GOOD + text)
    assert [spec.name for spec in config.logs] == ["good"]
    assert [(p.key, p.rule) for p in config.problems] == [(key, rule)]
    assert message in config.problems[0].message
    assert config.problems[0].line is not None


FATAL = {
    "top level value": ('lock_timeout = "soon"\n', 1, "lock_timeout", "'soon' is no duration; accepted: \"90s\""),
    "top level jobs": ("compress_jobs = 0\n", 1, "compress_jobs", "0 is too small; accepted: a whole number from 1 to"),
    "top level variable": (
        'state_dir = "$HOME/st"\n', 1, "state_dir",
        "'$HOME/st' names a variable, and variables are not expanded; write ~ or the path; accepted: a directory of "
        "logrotor's own: absolute, from ~, or relative to this configuration file",
    ),
    "top level slip": ('statedir = "x"\n', 1, "statedir", "unknown key; did you mean 'state_dir'?"),
    "rule key on top": ("max_size = 5\n", 1, "max_size", "does not belong here but in [defaults] or [[log]]"),
    "later issues": ("[zebra]\nx = 1\n", 1, "zebra", "unknown key; accepted: compress_jobs, defaults, include, lo"),
    "rules slip": ('[[logs]]\nname = "x"\n', 1, "logs", "unknown key; did you mean 'log'?"),
    "table slip": ("[default]\nmax_size = 1\n", 1, "default", "unknown key; did you mean 'defaults'?"),
    "include": ('include = "x.toml"\n', 1, "include", "'x.toml' is not a list; put it in [ ]; accepted: a list"),
    "defaults": ("defaults = 3\n", 1, "defaults", "3 is no table; accepted: [defaults] with keys of a rule"),
    "default value": ('[defaults]\nmin_size = "x"\n', 2, "defaults.min_size", f"'x' is no size; {SIZE}"),
    "default paths": ('[defaults]\npaths = ["x"]\n', 2, "defaults.paths", "does not belong here but in [[log]]"),
    "default level": (
        '[defaults]\ncompress = "gzip"\ncompress_level = 12\n', 3, "defaults.compress_level", "12 is no level of gzip;",
    ),
    "default create": (
        "[defaults]\ncreate_missing = true\ncreate = false\n", 2, "defaults.create_missing", "true contradicts create",
    ),
    "default target": (
        f'[defaults]\nreopen = "ww"\n{SUPERVISORD}', 2, "defaults.reopen",
        "'ww' is no reopen target; did you mean 'w'?; known: 'w'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FATAL)
def test_what_reaches_all_rules_stops_all(load, case):
    """A mistake at the top or in the defaults is told once, and nothing runs on a guess."""
    text, line, key, message = FATAL[case]
    problems = problems_of(load, text + GOOD)
    assert [(p.file, p.line, p.key, p.rule) for p in problems] == [(MAIN, line, key, None)]
    assert message in problems[0].message


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('a = 1\nb = "x\n', 2, "is no TOML: Illegal character"),
        ("a = 1\na = 2\n", 2, "is no TOML: Cannot overwrite a value (at line 2, column 6): a is set already"),
        ("a = 1\na = [\n2]\n", 3, "is no TOML: Cannot overwrite a value (at line 3, column 3): a is set already"),
        ("a = 1\n[a]\n", 2, "is no TOML: Cannot overwrite a value (at line 2, column 3): a is set already"),
        ("\n\na = [1,\n", 3, "is no TOML: "),
        ("a = " + "[" * 5000, None, "is no TOML: nested too deeply"),
        ("a = " + "1" * 5000, None, "is no TOML: Exceeds the limit"),
    ],
)
def test_a_syntax_error_has_its_line(load, text, line, message):
    """A file that is no TOML says where it stops being TOML."""
    (problem,) = problems_of(load, text)
    assert (problem.file, problem.key, problem.line) == (MAIN, "syntax", line)
    assert problem.message.startswith(message)


def test_a_mode_without_quotes_is_explained(load):
    """create_mode = 0664 is no TOML at all; the message says how it is written."""
    (problem,) = problems_of(load, f"{GOOD}create_mode = 0664\n")
    assert (problem.key, problem.line) == ("syntax", 5)
    assert problem.message.endswith('; a number may not begin with 0; write create_mode = "0664"')


def test_a_directory_is_no_configuration(fs):
    """Naming a directory is an error with its reason."""
    fs.create_dir("/app")
    with pytest.raises(ConfigError, match="/app: file: cannot be read: Is a directory"):
        load_config("/app", environ=HOME)


@pytest.mark.parametrize(("text", "line"), [("", None), ("log = []\n", 1), ("[defaults]\nbackup_count = 7\n", None)])
def test_a_configuration_without_rules_says_what_a_rule_is(load, text, line):
    """An empty file is told what it needs."""
    (problem,) = problems_of(load, text)
    assert (problem.key, problem.line) == ("log", line)
    assert 'no rule; accepted: at least one [[log]] with name = "app"' in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[log]\nname = "x"\n', "[log] is one table; accepted: [[log]], with two brackets each side"),
        ("log = 7\n", "7 is no list of tables; accepted: [[log]] with name"),
    ],
)
def test_one_bracket_too_few_is_explained(load, text, message):
    """[log] in place of [[log]] is a common slip."""
    (problem,) = problems_of(load, text)
    assert (problem.key, problem.line, problem.message[: len(message)]) == ("log", 1, message)


def test_all_rules_wrong_is_all_problems_at_once(load):
    """Nothing is left to run, and every mistake of the file is told in one go."""
    text = GOOD.replace("1MB", "1 elephant") + 'rotate = 7\nschedule = "soon"\n' + RULE + "backup_count = 0\n"
    assert [(p.line, p.key) for p in problems_of(load, text)] == [
        (4, "log[1].max_size"),
        (5, "log[1].rotate"),
        (6, "log[1].schedule"),
        (11, "log[2].backup_count"),
    ]


def test_a_misspelt_trigger_is_not_told_twice(load):
    """maxsize is a typo, not also a rule that is never due."""
    config = load(GOOD + '[[log]]\nname = "b"\npaths = ["b"]\nmaxsize = 1\n')
    assert [p.message for p in config.problems] == ["unknown key; did you mean 'max_size'?"]


def test_inherited_keys_that_do_not_fit_say_where_they_come_from(load):
    """A default that does not fit one rule switches off only that rule."""
    text = "[defaults]\ncompress_level = 19\ncreate_missing = true\n" + GOOD
    config = load(text + RULE + 'compress = "gzip"\ncreate = false\n')
    assert [spec.name for spec in config.logs] == ["good"]
    assert [p.message.partition(";")[0] for p in config.problems] == [
        "19 (from [defaults]) is no level of gzip",
        "true (from [defaults]) contradicts create = false",
    ]


# ---------------------------------------------------------------- the state directory is no place for archives

IN_THE_STATE = {
    "by a link": ('state_dir = "logs"\n', 'paths = ["link/*.log"]\narchive_dir = "../logs"', "archive_dir", "is the"),
    "archives": (
        'state_dir = "logs/old"\n', 'paths = ["logs/*.log"]\narchive_dir = "old"', "archive_dir", "'old' is the state",
    ),
    "inherited": (
        'state_dir = "logs/old"\n[defaults]\narchive_dir = "old"\n', 'paths = ["logs/*.log"]', "archive_dir", "is the",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IN_THE_STATE)
def test_a_rule_with_archives_in_the_state_directory_is_left_out(fs, load, case):
    """What lies there is logrotor's own: both places are told with their lines, the other rule runs."""
    top, paths, key, message = IN_THE_STATE[case]
    fs.create_dir("/app/logs")
    fs.create_symlink("/app/link", "logs")
    config = load(f'{top}{GOOD}[[log]]\nname = "b"\n{paths}\nmax_size = 1\n')
    assert [spec.name for spec in config.logs] == ["good"]
    (problem,) = config.problems
    assert (problem.key, problem.rule) == (f"log[2].{key}", "b")
    assert problem.line is not None and problem.line > 6
    assert message in problem.message
    assert f"state directory {config.state_dir} (state_dir in {MAIN}, line 1)" in problem.message


@pytest.mark.parametrize("paths", ["logs/*/x.log", "logs/state.log", "logs/*.log", "logs/state/*.log"])
def test_a_state_directory_beside_or_below_the_logs_is_fine(load, paths):
    """Logs may lie in it, too, as in /var/lib/NAME with systemd's StateDirectory."""
    assert load(f'state_dir = "logs/state"\n{RULE.replace("bad.log", paths)}').problems == ()


def test_a_default_state_directory_is_told_with_its_origin():
    """The place that nobody set has no line."""
    rule = {"name": "a", "paths": ["~/x.log"], "archive_dir": "~/.local/state/logrotor", "max_size": 1}
    with pytest.raises(ConfigError, match=r"directory /home/ann/.local/state/logrotor \(default for ordinary users\);"):
        load_config({"log": [rule]}, environ=HOME, euid=1000)


# ---------------------------------------------------------------- reopen targets

TARGETS = {
    "no manager": ('pidfile = "x"\n', {"manager": "is required; accepted: \"supervisord\", \"systemd\", \"pidfile\""}),
    "unknown manager": ('manager = "runit"\n', {"manager": "'runit' is not known here; accepted: \"supervisord\""}),
    "slip of a manager": ('manager = "supervisor"\n', {"manager": "not known here; did you mean 'supervisord'?"}),
    "callable": ('manager = "callable"\n', {"manager": "'callable' works only from the library, where a dict"}),
    "function": (
        'manager = "command"\ncommand = ["x"]\nfunction = "f"\n',
        {"function": "unknown key; accepted: command, manager, pidfile"},
    ),
    "supervisord": ('manager = "supervisord"\n', {"pidfile": "is required with manager = 'supervisord'; accepted: a"}),
    "supervisord HUP": (
        'manager = "supervisord"\npidfile = "x"\nsignal = "HUP"\n',
        {"signal": "supervisord reopens its logs on USR2, always (HUP would restart all its children): leave it out"},
    ),
    "pidfile": ('manager = "pidfile"\n', {"pidfile": "is required with", "signal": "is required with"}),
    "systemd": ('manager = "systemd"\n', {"signal": "is required with", "unit": "is required with"}),
    "command": ('manager = "command"\n', {"command": "is required with manager = 'command'; accepted: a list such as"}),
    "shell": ('manager = "command"\ncommand = "reload x"\n', {"command": "'reload x' is not a list; put it in [ ]"}),
    "foreign key": (
        'manager = "command"\ncommand = ["x"]\nunit = "y"\n',
        {"unit": "is not used with manager = 'command'; leave it out, or use 'systemd'"},
    ),
    "signal": (
        'manager = "pidfile"\npidfile = "x"\nsignal = "KILL"\n',
        {"signal": "'KILL' cannot be handled by any process; accepted: the name of a signal, such as"},
    ),
    "slip": (
        'manager = "pidfile"\npid = "x"\nsignal = "HUP"\n', {"pid": "unknown key; did you mean 'pidfile'?"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TARGETS)
def test_a_wrong_target_switches_off_the_rules_that_use_it(load, case):
    """A mistake in [reopen.w] is told once; rules with other targets run."""
    text, expected = TARGETS[case]
    config = load(f'{GOOD}{RULE}reopen = "w"\n[reopen.w]\n{text}')
    assert [spec.name for spec in config.logs] == ["good"]
    assert config.targets == {}
    *target, rule = config.problems
    assert [p.key for p in target] == [f"reopen.w.{key}" for key in expected]
    assert all(message in p.message for p, message in zip(target, expected.values(), strict=True))
    assert (rule.key, rule.line, rule.rule) == ("log[2].reopen", 9, "bad")
    assert rule.message == f"'w' cannot be used: see reopen.w in {MAIN}"


@pytest.mark.parametrize(("text", "key"), [("reopen = 7\n", "reopen"), ("[reopen]\nw = 7\n", "reopen.w")])
def test_a_target_is_a_table(load, text, key):
    """[reopen.NAME] is the only form."""
    config = load(text + GOOD)
    assert [(p.key, p.rule) for p in config.problems] == [(key, None)]
    assert "7 is no table; accepted: [reopen." in config.problems[0].message


def test_a_target_named_off_is_refused(load):
    """A name that means "no target" cannot be one."""
    config = load(GOOD + SUPERVISORD.replace(".w", ".off"))
    assert [p.key for p in config.problems] == ["reopen.off"]


def test_a_target_in_two_files_is_the_first_one(fs):
    """Rules of the second file do not signal a process that they did not mean."""
    fs.create_file(MAIN, contents='include = ["b.toml"]\n' + GOOD + 'reopen = "w"\n' + SUPERVISORD)
    fs.create_file("/app/b.toml", contents=RULE + 'reopen = "w"\n' + SUPERVISORD.replace("s.pid", "t.pid"))
    config = load_config(MAIN, environ=HOME)
    assert [(spec.name, config.targets[spec.reopen or ""].pidfile) for spec in config.logs] == [("good", "/app/s.pid")]
    assert [(p.file, p.key, p.rule) for p in config.problems] == [
        ("/app/b.toml", "reopen.w", None),
        ("/app/b.toml", "log[1].reopen", "bad"),
    ]


# ---------------------------------------------------------------- dicts


def test_a_dict_has_no_file_and_no_lines():
    """Problems of a dict name the key."""
    with pytest.raises(ConfigError) as caught:
        load_config({"log": [{"name": "a", "paths": ["a"], "max_size": "x"}]}, environ=HOME)
    assert str(caught.value).startswith("<dict>: log[1].max_size: 'x' is no size; accepted: ")


def test_a_function_must_be_callable():
    """A callable target without a function is told at load time, not at the first rotation."""
    source = {"reopen": {"m": {"manager": "callable", "function": 3}, "n": {"manager": "callable"}}}
    with pytest.raises(ConfigError) as caught:
        load_config(source, environ=HOME)
    assert "reopen.m.function: 3 cannot be called; accepted: a function" in str(caught.value)
    assert "reopen.n.function: is required with manager = 'callable'" in str(caught.value)


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
def test_no_dict_crashes(source):
    """Whatever is handed over is a configuration or a ConfigError with at least one problem."""
    try:
        assert load_config(source, environ=HOME, euid=1000).logs
    except ConfigError as error:
        assert error.problems
        assert str(error)


@given(st.text(max_size=60) | st.text(alphabet="[]{}\"'#=\n a.\\", max_size=40))
def test_no_text_stops_the_search_for_lines(text):
    """Lines are best effort: a strange text costs them, never the message."""
    assert all(1 <= line <= text.count("\n") + 1 for line in lines_of(text).values())
