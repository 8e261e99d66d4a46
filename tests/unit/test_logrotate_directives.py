"""Each directive of logrotate's is carried over, or named with its consequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from logrotor.logrotate.blocks import IGNORED, WORDS, parse, read
from logrotor.logrotate.globs import bare_name
from logrotor.logrotate.losses import COSMETIC, DIFFERENTLY, LESS, MORE, Consequence, number_of, size_of
from logrotor.logrotate.mapping import Imported, Rule, carry_over

HELD = "rotate 4\nmissingok\nnotifempty\ndaily\n"  # no loss, few keys
BARE = {"schedule": "daily", "backup_count": 4, "compress": "none", "create": False}


def imported(text: str) -> Imported:
    return carry_over(parse(text, "/etc/logrotate.d/x"))


def rule(inside: str, *, before: str = HELD, path: str = "/l/a.log") -> Rule:
    (found,) = imported(f"{before}{path} {{\n{inside}\n}}\n").rules
    return found


def keys(found: Rule) -> dict[str, Any]:
    return {name: value for name, value in found.keys.items() if name not in ("name", "paths")}


def lost(found: Rule) -> set[tuple[str, Consequence]]:
    return {(loss.word, loss.consequence) for loss in found.losses}


POST = "postrotate\n kill -HUP $(cat /run/x.pid)\nendscript"
# What stands in the block, the keys that differ from BARE (None: not there), and what is lost.
TABLE: dict[str, tuple[str, dict[str, Any], set[tuple[str, Consequence]]]] = {
    "missingok": ("missingok", {}, set()),
    "nomissingok": ("nomissingok", {"missing": "error"}, set()),
    "ifempty": ("ifempty", {"rotate_empty": True}, set()),
    "notifempty": ("ifempty\nnotifempty", {}, set()),
    "rotate": ("rotate 7", {"backup_count": 7}, set()),
    "rotate, all": ("rotate -1", {"backup_count": None}, set()),
    "rotate, none": ("rotate 0", {"backup_count": 1}, {("rotate", MORE)}),
    "rotate, wrong": ("rotate seven", {"backup_count": None}, {("rotate", MORE)}),
    "rotate, with a comment": ("rotate 7  # a week", {"backup_count": None}, {("rotate", MORE)}),
    "start": ("start 0", {}, {("start", MORE)}),
    "hourly": ("hourly", {"schedule": "hourly"}, {("hourly", LESS)}),
    "hourly, all stay": ("hourly\nrotate -1", {"schedule": "hourly", "backup_count": None}, {("hourly", DIFFERENTLY)}),
    "minutes": ("minutes 15", {"schedule": "*/15 * * * *"}, {("minutes", LESS)}),
    "daily": ("daily", {}, set()),
    "weekly": ("weekly", {"schedule": "weekly"}, set()),
    "weekly, a day": ("weekly 3", {"schedule": "0 0 * * 3"}, set()),
    "weekly, any day": ("weekly 7", {"schedule": "weekly"}, {("weekly", DIFFERENTLY)}),
    "weekly, wrong": ("weekly 8", {"schedule": "weekly"}, {("weekly", DIFFERENTLY)}),
    "monthly": ("monthly", {"schedule": "monthly"}, set()),
    "monthly, a day": ("monthly 15", {"schedule": "0 0 15 * *"}, set()),
    "monthly, the last": ("monthly 31", {"schedule": "0 0 L * *"}, set()),
    "monthly, not in February": ("monthly 30", {"schedule": "0 0 L * *"}, {("monthly", DIFFERENTLY)}),
    "yearly": ("yearly", {"schedule": "yearly"}, set()),
    "size": ("size 100k", {"min_size": "100KiB"}, set()),
    "size, odd": ("size 2097153", {"min_size": 2097153}, set()),
    "size, then a period": ("size 100k\nweekly", {"schedule": "weekly"}, set()),
    "size, wrong": ("size 10 k", {"min_size": "1MiB"}, {("size", MORE)}),
    "minsize": ("minsize 1M", {"min_size": "1MiB"}, set()),
    "maxsize": ("maxsize 1G", {"max_size": "1GiB"}, {("maxsize", LESS)}),
    "maxsize, all stay": ("maxsize 1M\nrotate -1", {"max_size": "1MiB", "backup_count": None},
                          {("maxsize", DIFFERENTLY)}),
    "maxsize below minsize": ("minsize 2M\nmaxsize 1M", {"max_size": "1MiB", "schedule": None}, {("maxsize", LESS)}),
    "minage": ("minage 3", {}, {("minage", LESS)}),
    "maxage": ("maxage 30", {"max_age": "31d"}, {("maxage", LESS)}),
    "maxage, none": ("maxage 0", {}, set()),
    "maxage, wrong": ("maxage x", {}, {("maxage", MORE)}),
    "compress": ("compress", {"compress": "gzip"}, set()),
    "nocompress": ("compress\nnocompress", {}, set()),
    "delaycompress": ("compress\ndelaycompress", {"compress": "gzip", "keep_uncompressed": 1}, set()),
    "nodelaycompress": ("compress\ndelaycompress\nnodelaycompress", {"compress": "gzip"}, set()),
    "compresscmd": ("compress\ncompresscmd /usr/bin/zstd\ncompressext .zst", {"compress": "zstd"}, set()),
    "compresscmd, unknown": ("compress\ncompresscmd /usr/bin/xz", {"compress": "zstd"}, {("compresscmd", COSMETIC)}),
    "compressoptions": ("compress\ncompressoptions -9", {"compress": "gzip", "compress_level": 9}, set()),
    "compressoptions, others": ("compress\ncompressoptions -T0", {"compress": "gzip"}, {("compressoptions", COSMETIC)}),
    "compressext": ("compress\ncompressext .z", {"compress": "gzip"}, {("compressext", MORE)}),
    "compressext, known": ("compress\ncompressext .xz", {"compress": "gzip"}, {("compressext", COSMETIC)}),
    "uncompresscmd": ("compress\nuncompresscmd /bin/gunzip", {"compress": "gzip"}, {("uncompresscmd", COSMETIC)}),
    "create": ("create", {"create": None, "create_mode": "keep"}, set()),
    "create, a mode": ("create 640", {"create": None, "create_mode": "0640"}, set()),
    "create, an owner": ("create 0640 a adm", {"create": None, "create_mode": "0640"}, {("create", DIFFERENTLY)}),
    "create, no mode": ("create root adm", {"create": None, "create_mode": "keep"}, {("create", DIFFERENTLY)}),
    "create, read-only": ("create 0444", {"create": None, "create_mode": "keep"}, {("create", DIFFERENTLY)}),
    "nocreate": ("create\nnocreate", {}, set()),
    "createolddir": ("olddir o\ncreateolddir", {"archive_dir": "o"}, set()),
    "createolddir, a mode": ("olddir o\ncreateolddir 750 a b", {"archive_dir": "o"}, {("createolddir", DIFFERENTLY)}),
    "nocreateolddir": ("createolddir 750 a b\nnocreateolddir", {}, set()),
    "olddir": ("olddir /l/old", {"archive_dir": "/l/old"}, set()),
    "olddir, a variable": ("olddir /l/$old", {}, {("olddir", DIFFERENTLY)}),
    "noolddir": ("olddir /l/old\nnoolddir", {}, set()),
    "copytruncate": ("copytruncate\ncreate 640", {"method": "copytruncate", "create": None}, set()),
    "copytruncate, ifempty": ("copytruncate\nifempty", {"method": "copytruncate", "create": None},
                              {("ifempty", COSMETIC)}),
    "nocopytruncate": ("copytruncate\nnocopytruncate", {}, set()),
    "copy": ("copy", {}, {("copy", DIFFERENTLY)}),
    "nocopy": ("copy\nnocopy", {}, set()),
    "renamecopy": ("renamecopy", {}, set()),
    "norenamecopy": ("renamecopy\nnorenamecopy", {}, set()),
    "dateext": ("dateext", {"naming": "dated"}, {("dateext", MORE)}),
    "nodateext": ("dateext\nnodateext", {}, set()),
    "dateformat": ("dateformat -%s", {}, {("dateformat", COSMETIC)}),
    "dateyesterday": ("dateext\ndateyesterday", {"naming": "dated"}, {("dateext", MORE), ("dateyesterday", COSMETIC)}),
    "datehourago": ("datehourago", {}, {("datehourago", COSMETIC)}),
    "extension": ("extension .log", {}, {("extension", MORE)}),
    "addextension": ("addextension .log", {}, {("addextension", MORE)}),
    "su": ("su deploy deploy", {}, set()),
    "su, root": ("su root adm", {}, {("su", COSMETIC)}),
    "mail": ("mail root@localhost", {}, {("mail", LESS)}),
    "nomail": ("mail root\nnomail", {}, set()),
    "mailfirst": ("mailfirst", {}, {("mailfirst", COSMETIC)}),
    "maillast": ("maillast", {}, {("maillast", COSMETIC)}),
    "shred": ("shred", {}, {("shred", DIFFERENTLY)}),
    "noshred": ("shred\nnoshred", {}, set()),
    "shredcycles": ("shredcycles 3", {}, {("shredcycles", COSMETIC)}),
    "allowhardlink": ("allowhardlink", {}, {("allowhardlink", DIFFERENTLY)}),
    "noallowhardlink": ("allowhardlink\nnoallowhardlink", {}, set()),
    "ignoreduplicates": ("ignoreduplicates", {}, set()),
    "errors": ("errors root", {}, {("errors", COSMETIC)}),
    "sharedscripts": (f"sharedscripts\n{POST}", {"reopen": "x"}, set()),
    "nosharedscripts": (f"nosharedscripts\n{POST}", {"reopen": "x"}, set()),
    "postrotate": (POST, {"reopen": "x"}, set()),
    "postrotate and copytruncate": (f"copytruncate\n{POST}", {"method": "copytruncate", "create": None},
                                    {("postrotate", COSMETIC)}),
    "prerotate": ("prerotate\n/bin/x\nendscript", {}, {("prerotate", DIFFERENTLY)}),
    "prerotate, empty": ("prerotate\nendscript", {}, set()),
    "firstaction": ("firstaction\n/bin/x\nendscript", {}, {("firstaction", DIFFERENTLY)}),
    "lastaction": ("lastaction\n/bin/x\nendscript", {}, {("lastaction", DIFFERENTLY)}),
    "preremove": ("preremove\n/bin/x\nendscript", {}, {("preremove", DIFFERENTLY)}),
    "a misspelt word": ("compres", {}, {("compres", COSMETIC)}),
    "no value": ("rotate", {"backup_count": None}, {("rotate", MORE)}),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_directive(case: str) -> None:
    """The keys of the rule, and what is lost with which consequence."""
    inside, changed, losses = TABLE[case]
    found = rule(inside)
    assert keys(found) == {name: value for name, value in {**BARE, **changed}.items() if value is not None}
    assert lost(found) == losses
    assert all(loss.what and loss.file and loss.line > 1 for loss in found.losses)


def test_each_directive_is_in_the_table() -> None:
    """Those that only the reader obeys have tests of their own."""
    assert {case.partition(",")[0] for case in TABLE} >= WORDS - {"include", "tabooext", "taboopat"}


def test_nothing_removes_what_nobody_asked_to_remove() -> None:
    """No count: logrotate would remove the log. No moment: 1 MiB."""
    found = rule("", before="")
    assert {"backup_count", "max_age", "max_size"}.isdisjoint(found.keys)
    assert (found.keys["schedule"], found.keys["min_size"]) == ("daily", "1MiB")
    assert lost(found) == {("", MORE), ("", COSMETIC)}


def test_a_misspelt_word_gets_the_nearest() -> None:
    """Said at the rule, and of the globals at the head."""
    assert [loss.advice for loss in rule("rotat 5").losses] == ["did you mean 'rotate'?"]
    (loss,) = imported("wekly\n/l/a { rotate 1\n}").losses
    assert (loss.word, loss.line, loss.advice) == ("wekly", 1, "did you mean 'weekly'?")


def test_a_pattern_that_matches_archives() -> None:
    """logrotate's glob bomb: its archives are rotated again."""
    assert lost(rule("", path="/l/*")) == {("", DIFFERENTLY)} and lost(rule("", path="/l/*.log")) == set()


def test_a_copy_is_no_rule() -> None:
    """A rule for it would move the log away."""
    assert rule("copy").left_out and not rule("copytruncate").left_out


@pytest.mark.parametrize(
    ("written", "number", "size"),
    [("10", 10, 10), ("010", 8, 8), ("0x10", 16, 16), ("1k", None, 1024), ("2M", None, 2 << 20), ("1G", None, 1 << 30),
     ("1m", None, None), ("-1", -1, None), ("", None, None), ("k", None, None), ("1kk", None, None),
     ("09", None, None)],
)  # fmt: skip
def test_numbers(written: str, number: int | None, size: int | None) -> None:
    """As strtoul(3) reads them with base 0."""
    assert (number_of(written), size_of(written)) == (number, size)


def test_the_user_of_all_rules() -> None:
    """Is that of the configuration; of some rules only, a configuration has none."""
    alone = imported("su deploy deploy\n/l/a { daily\n rotate 1\n}")
    assert alone.run_as == "deploy" and not {"su"} & {loss.word for loss in alone.all_losses}
    for text in ("/l/a { su deploy deploy\n}\n/l/b {\n}", "/l/a { su deploy deploy\n}\n/l/b { su other other\n}"):
        mixed = imported(text)
        assert mixed.run_as == "" and ("su", DIFFERENTLY) in lost(mixed.rules[0])
    assert imported("su root adm\n/l/a {\n}").run_as == ""


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("/l/a.log", "/l/a.log"), (r"/l/a\ b.log", "/l/a b.log"), ('"/l/a b.log"', "/l/a b.log"), ("'/l/a\"b'", '/l/a"b'),
     (r'"/l/a\*"', "/l/a[*]"), ("/l/[^a]*.log", "/l/[!a]*.log"), ("/l/[[:digit:]x].log", "/l/[0-9x].log"),
     ("/l/**/a", "/l/*/a"), ("/l/$x", "/l/[$]x"), ("/l/a[b", "/l/a[[]b"), ("~/a.log", "~/a.log"), ("/l/[]]", "/l/[]]"),
     ("/l/\udcff", "/l/?")],
)  # fmt: skip
def test_paths(pattern: str, path: str) -> None:
    """The same files, in our globs."""
    assert rule("", path=pattern).keys["paths"] == [path]


def test_names() -> None:
    """Of a package's file, else of the log; each only once."""
    found = imported("/l/a { daily\n}\n/l/b { daily\n}")
    assert [rule.keys["name"] for rule in found.rules] == ["x-a", "x-b"]
    assert [rule.keys["name"] for rule in imported("/l/xa { daily\n}\n/m/xa { daily\n}").rules] == ["xa", "xa-2"]
    assert rule("").keys["name"] == "x"
    assert rule("", path="/srv/chat/*/*.log\n/l/b").keys["name"] == "x"
    assert [bare_name(path) for path in ("/srv/chat/*/*.log", "/l/*-[ab].log", "/l/a.b", "/")] == [
        "chat",
        "ab",
        "a.b",
        "",
    ]
    found = carry_over(
        parse("/var/log/nginx/*.log { daily\n}\n/l/wtmp { daily\n}\n/l/off { daily\n}", "/etc/logrotate.conf")
    )
    assert [rule.keys["name"] for rule in found.rules] == ["nginx", "wtmp", "off-log"]


# ---------------------------------------------------------------- targets


def test_targets_are_there_once() -> None:
    """Two rules that ask the same have one table; another request has another name."""
    found = imported(f"/l/a {{\n{POST}\n}}\n/l/b {{\n{POST}\n}}\n/l/c {{\n{POST.replace('HUP', 'USR1')}\n}}")
    assert [rule.keys["reopen"] for rule in found.rules] == ["x", "x", "x-2"]
    assert [rule.target and rule.target.name for rule in found.rules] == ["x", None, "x-2"]


def test_all_processes_of_a_unit() -> None:
    """systemctl kill signals each of them, we the main one."""
    assert lost(rule("postrotate\nsystemctl kill -s HUP x\nendscript")) == {("postrotate", DIFFERENTLY)}
    assert lost(rule("postrotate\nsystemctl kill --kill-who=main -s HUP x\nendscript")) == set()


@pytest.mark.parametrize(
    ("inside", "path", "script"),
    [("", "/l/a", "gzip $1 | x\n"), ("sharedscripts", "/l/*.log /m/b", "set -- '/l/*.log /m/b '\ngzip $1 | x\n"),
     ("", "/l/*.log", 'for log in /l/*.log; do\nset -- "$log" "$log.1"\ngzip $1 | x\ndone\n')],
)  # fmt: skip
def test_arguments_of_a_script(inside: str, path: str, script: str) -> None:
    """What logrotate hands over is in the script; a script for each log is one for all, and it is said."""
    found = rule(f"{inside}\npostrotate\n\tgzip $1 | x \\\nendscript", path=path)
    assert found.target is not None and found.target.keys == {"manager": "command"}
    wanted = script if "set --" in script else f'for log in {path}; do\nset -- "$log" "$log.1"\n{script}done\n'
    assert found.target.script == wanted
    assert (("postrotate", DIFFERENTLY) in lost(found)) == ("for log in /l/*" in wanted)


# ---------------------------------------------------------------- files


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    return folder / "logrotate.conf"


def test_include(tmp_path: Path) -> None:
    """A directory by name, but for taboo names and folders; options hold from there on, also in later files."""
    main = tree(tmp_path, {
        "logrotate.conf": f"tabooext + .no\nrotate 2\ninclude {tmp_path}/d\n/l/last {{\n}}\n",
        "d/b": "/l/b {\n}\n", "d/a": "rotate 9\n/l/a {\n}\n", "d/c.dpkg-old": "/l/c {\n}\n", "d/x.no": "/l/x {\n}\n",
    })  # fmt: skip
    (tmp_path / "d/e").mkdir()
    found = carry_over(read([str(main)]))
    assert [(rule.keys["paths"], rule.keys["backup_count"]) for rule in found.rules] == [
        (["/l/a"], 9), (["/l/b"], 9), (["/l/last"], 9),
    ]  # fmt: skip
    assert found.files == (str(main), f"{tmp_path}/d/a", f"{tmp_path}/d/b") and not found.unread


def test_taboo_patterns_replace(tmp_path: Path) -> None:
    """Without a + the list is a new one."""
    main = tree(
        tmp_path, {"logrotate.conf": f"taboopat a*\ninclude {tmp_path}/d\n", "d/ab": "/l/a {\n}", "d/c~": "/l/c {\n}"}
    )
    assert [rule.keys["paths"] for rule in carry_over(read([str(main)])).rules] == [["/l/c"]]


def test_an_include_in_a_block_holds_there(tmp_path: Path) -> None:
    """As if it stood there."""
    main = tree(
        tmp_path, {"logrotate.conf": f"/l/a {{\ninclude {tmp_path}/more\n}}\n/l/b {{\n}}", "more": "rotate 3\n"}
    )
    assert [rule.keys.get("backup_count") for rule in carry_over(read([str(main)])).rules] == [3, None]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """An include that is not there, one that includes itself; each is named, and the rest is read."""
    main = tree(
        tmp_path, {"logrotate.conf": f"include {tmp_path}/no\ninclude {tmp_path}/self\n/l/a {{\n}}\n", "self": ""}
    )
    (tmp_path / "self").write_text(f"include {tmp_path}/self\n")
    found = carry_over(read([str(main)]))
    assert [rule.keys["paths"] for rule in found.rules] == [["/l/a"]]
    assert [(each.subject, each.kind) for each in found.unread] == [
        (f"{tmp_path}/no", "ENOENT"), (f"{tmp_path}/self", "ELOOP"),
    ]  # fmt: skip
    assert f"{main}:1 includes it" in found.unread[0].problem


def test_root_believes_what_logrotate_believes(tmp_path: Path) -> None:
    """A file that others may write could name commands for root."""
    main = tree(tmp_path, {"logrotate.conf": f"include {tmp_path}/d\n", "d/a": "/l/a {\n}", "d/b": "/l/b {\n}"})
    (tmp_path / "d/a").chmod(0o664)
    assert [each.kind for each in read([str(main)], as_root=True).unread] == [IGNORED]
    assert len(read([str(main)], as_root=False).blocks) == 2


def test_comments_belong_to_their_block() -> None:
    """Those before it, among its paths and in it; those of an option before it do not."""
    (found,) = imported(
        "# about weekly\nweekly\n\n# one\n/l/a # two\n# three {\n{ # four\n  daily # five\n}\n# six\n"
    ).rules
    assert found.comments == ("one", "two", "three {", "four", "five")
    assert found.keys["paths"] == ["/l/a"]


@pytest.mark.parametrize(
    "text",
    ["/l/a { rotate 2 }\n/l/b { rotate 3 }", "/l/a {\n rotate 2\n} /l/b {\n rotate 3\n}",
     "/l/a{rotate 2}\n/l/b{\nrotate=3\n}"],
)  # fmt: skip
def test_on_one_line(text: str) -> None:
    """logrotate takes the brace for a part of the value; we do not."""
    assert [rule.keys.get("backup_count") for rule in imported(text).rules] == [2, 3]


@pytest.mark.parametrize(
    "text", ["/l/a {", "/l/a {\npostrotate\nx", "/l/a", '"/l/a {', "}", "{", "{ } ' {", "\\", "=", "\0"]
)
def test_a_torn_text_is_read(text: str) -> None:
    """To its end, whatever it is."""
    assert len(imported(text).rules) <= 1
