"""verify: each archive is compared with what went into it, by its hash, and none may be missing or change places."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from logrotor import Rotator
from logrotor.decide.evidence import State
from logrotor.disk.database import OURS
from logrotor.observe.verifying import verify
from tests.observe.test_reading import flip, generations
from tests.observe.test_reading_beside_runs import Site
from tests.support import command, users
from tests.support.need import need


def states(logrotor, *args: object, code: int = 0) -> dict[str, str]:
    """What verify says of each archive, by its name."""
    told = logrotor("verify", "--json", *args, code=code).json
    assert told["exit_code"] == code
    return {os.path.basename(each["path"]): each["state"] for each in told["archives"]}


def swap(one: Path, other: Path) -> None:
    away = one.with_name("away")
    one.rename(away), other.rename(one), away.rename(other)


def swap_contents(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second), other.write_bytes(first)


def same_size(path: Path) -> None:
    """Valid content of as many bytes and lines."""
    data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).replace(b"line", b"LINE")
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(data))


def anew(path: Path, *, marked: bool = True) -> None:
    """The same by another file, which a copy of the attributes makes a form of that generation."""
    made = path.with_name("made")
    shutil.copy2(path, made)
    if not marked:
        os.removexattr(made, "user.logrotor.source")
    same_size(made)
    made.rename(path)


def compress(here, more: str = 'compress = "zstd"') -> None:
    """The archives get another form; there is no line for another one."""
    (here.logs / "app.log").write_bytes(b"")
    here.configure(more)
    here.run()


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
@pytest.mark.parametrize("more", ["", 'naming = "dated"', 'archive_dir = "old"'])
def test_sound_archives(here, logrotor, codec, more):
    """As recorded by the run that made them; a shift of the numbers changes nothing."""
    here.configure(f'compress = "{codec}"\n{more}')
    generations(here, 3)
    told = logrotor("verify", "--json", code=0).json["archives"]
    assert [(a["bytes"], a["lines"], a["state"], a["recorded"], a["problem"]) for a in told] == [
        (16_100, 700, "sound", True, None)
    ] * 3
    assert len({a["xxh128"] for a in told}) == 3


def test_the_hash_is_that_of_other_programs(here, logrotor):
    """XXH3 of 128 bits over the lines, in hexadecimal digits."""
    import xxhash

    generations(here, 1)
    (told,) = logrotor("verify", "--json", code=0).json["archives"]
    data = zstandard.ZstdDecompressor().decompressobj().decompress((here.logs / "app.log.1.zst").read_bytes())
    assert told["xxh128"] == xxhash.xxh3_128_hexdigest(data)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda one, two: flip(two), {"app.log.2.zst": "damaged"}),
        (lambda one, two: os.truncate(two, 40), {"app.log.2.zst": "damaged"}),
        (lambda one, two: os.truncate(two, 0), {"app.log.2.zst": "damaged"}),
        (lambda one, two: same_size(two), {"app.log.2.zst": "changed"}),
        (lambda one, two: two.write_bytes(one.read_bytes()), {"app.log.2.zst": "changed"}),
        (lambda one, two: two.unlink(), {"app.log.2.zst": "missing"}),
        (lambda one, two: one.unlink(), {"app.log.1.zst": "missing"}),
        (lambda one, two: swap(one, two), {"app.log.1.zst": "misplaced", "app.log.2.zst": "misplaced"}),
        (lambda one, two: swap_contents(one, two), {"app.log.1.zst": "misplaced", "app.log.2.zst": "misplaced"}),
        (lambda one, two: anew(two), {"app.log.2.zst": "changed"}),
        (lambda one, two: anew(two, marked=False), {"app.log.2.zst": "no record", "app.log": "missing"}),
    ],
)
def test_what_happened_to_an_archive_is_found(here, logrotor, harm, expected):
    """Exit 1, by name; the others are sound, and are so again once it is undone or accepted."""
    generations(here, 3)
    sound = {f"app.log.{n}.zst": "sound" for n in (1, 2, 3)}
    assert states(logrotor) == sound
    one, two = here.logs / "app.log.1.zst", here.logs / "app.log.2.zst"
    kept = {path: path.read_bytes() for path in (one, two)}
    harm(one, two)
    assert states(logrotor, code=1) == {**{name: "sound" for name in sound if (here.logs / name).exists()}, **expected}
    if set(expected.values()) == {"damaged"}:
        states(logrotor, "--accept", code=1)
        two.write_bytes(kept[two])
    else:
        states(logrotor, "--accept")
    assert set(states(logrotor).values()) == {"sound"}


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda one, two: os.truncate(two, 100), {"app.log.2": "changed"}),
        (lambda one, two: flip(two), {"app.log.2": "changed"}),
        (lambda one, two: two.write_bytes(two.read_bytes().replace(b"line", b"LINE")), {"app.log.2": "changed"}),
        (lambda one, two: two.unlink(), {"app.log.2": "missing"}),
        (lambda one, two: swap(one, two), {"app.log.1": "misplaced", "app.log.2": "misplaced"}),
        (lambda one, two: swap_contents(one, two), {"app.log.1": "misplaced", "app.log.2": "misplaced"}),
    ],
)
def test_plain_archives(here, logrotor, harm, expected):
    """Nobody has read them before the first verify: no record, which is not sound; then they are as the others."""
    here.configure('compress = "none"')
    generations(here, 3)
    names = {f"app.log.{n}" for n in (1, 2, 3)}
    assert states(logrotor) == dict.fromkeys(names, "no record")
    assert states(logrotor) == dict.fromkeys(names, "sound")
    one, two = here.logs / "app.log.1", here.logs / "app.log.2"
    harm(one, two)
    found = states(logrotor, code=1)
    assert {name: state for name, state in found.items() if state != "sound"} == expected


def test_a_plain_archive_that_has_only_grown(here, logrotor):
    """A writer that never reopened: its lines come after what is recorded. That is recorded in turn."""
    here.configure('compress = "none"')
    generations(here, 2)
    states(logrotor), states(logrotor)
    with (here.logs / "app.log.1").open("ab") as log:
        log.write(b"one more\n")
    assert states(logrotor) == {"app.log.1": "grown", "app.log.2": "sound"}
    assert states(logrotor) == {"app.log.1": "sound", "app.log.2": "sound"}


def test_a_compression_hides_no_change(here, logrotor):
    """What was changed while it was plain is so in its archive."""
    here.configure('compress = "none"')
    generations(here, 2)
    states(logrotor)
    flip(here.logs / "app.log.2")
    compress(here)
    assert states(logrotor, code=1) == {"app.log.1.zst": "sound", "app.log.2.zst": "changed"}


def test_archives_that_were_never_read_change_places(here, logrotor):
    """Their order is that of the rotations, which is known without reading them."""
    here.configure('compress = "none"')
    generations(here, 3)
    swap(here.logs / "app.log.1", here.logs / "app.log.3")
    assert states(logrotor, code=1) == {"app.log.1": "misplaced", "app.log.2": "no record", "app.log.3": "misplaced"}


def test_what_retention_removes_is_not_missing(here, logrotor):
    """By count, in this run or the next one; what was removed by hand is, until its time would have come."""
    for _ in range(12):
        generations(here, 1)
    assert Counter(states(logrotor).values()) == {"sound": 7}
    (here.logs / "app.log.3.zst").unlink()
    assert Counter(states(logrotor, code=1).values()) == {"sound": 6, "missing": 1}
    for _ in range(8):
        generations(here, 1)
    assert Counter(states(logrotor).values()) == {"sound": 7}
    with sqlite3.connect(here.state / "history.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM archives").fetchone() == (7,)


def test_the_order_of_what_is_missing(here, logrotor):
    """The oldest and the newest are missed as well as one in the middle, and each has its place."""
    generations(here, 5)
    for slot in (1, 3, 5):
        (here.logs / f"app.log.{slot}.zst").unlink()
    found = states(logrotor, code=1)
    assert {name for name, state in found.items() if state == "missing"} >= {"app.log.1.zst"}
    assert Counter(found.values())["sound"] == 2
    told = logrotor("verify", "--json", code=1).json["archives"]
    assert Counter(each["state"] for each in told) == {"sound": 2, "missing": 3}
    assert all(each["xxh128"] and each["bytes"] == 16_100 for each in told)


def test_nothing_is_left_of_a_log(here, logrotor):
    """Its archives are missing all the same, each of them, as long as a rule would have the log."""
    generations(here, 2)
    for path in here.logs.iterdir():
        path.unlink()
    assert Counter(each["state"] for each in logrotor("verify", "--json", code=1).json["archives"]) == {"missing": 2}
    here.configure(paths='["other/*.log"]')
    (here.folder / "other").mkdir()
    assert states(logrotor) == {}
    here.configure()
    states(logrotor, "--accept")
    assert states(logrotor) == {}


def test_an_archive_dir_that_is_gone_and_one_that_is_refused(here, logrotor):
    """What was not looked at is not missing, nor sound."""
    here.configure('archive_dir = "old"')
    generations(here, 2)
    old, away = here.logs / "old", here.logs / "away"
    old.chmod(0o777)
    found = logrotor("verify", "--json", code=1).json["archives"]
    assert "missing" not in {each["state"] for each in found} and "sound" not in {each["state"] for each in found}
    old.chmod(0o755)
    old.rename(away)
    found = logrotor("verify", "--json", code=1).json["archives"]
    assert Counter(each["state"] for each in found) == {"missing": 2}
    away.rename(old)
    assert Counter(states(logrotor).values()) == {"sound": 2}


def test_a_lost_history(here, logrotor):
    """No record of any, and none is missing. What they held is not known, so none becomes sound by being read."""
    generations(here, 3)
    shutil.rmtree(here.state)
    assert set(states(logrotor).values()) == {"no record"}
    generations(here, 1)
    for _ in range(2):
        assert Counter(states(logrotor).values()) == {"no record": 3, "sound": 1}
    states(logrotor, "--accept")
    assert Counter(states(logrotor).values()) == {"sound": 4}


def odd_row(history: Path) -> None:
    with closing(sqlite3.connect(history)) as connection, connection:
        connection.execute("INSERT INTO in_flight (path, inode) VALUES (x'ff', 'a')")


def noisy_page(history: Path) -> None:
    with closing(sqlite3.connect(history)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'outcomes'").fetchone()
    with history.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


@pytest.mark.parametrize(
    ("damage", "state"),
    [(odd_row, "changed"), (noisy_page, "changed"), (lambda path: path.write_bytes(b"rubbish" * 999), "no record")],
)
def test_a_damaged_history_hides_no_change(here, logrotor, damage, state):
    """Its records are kept where they can be read; else the archive has none, and never becomes sound."""
    generations(here, 3)
    same_size(here.logs / "app.log.2.zst")
    damage(here.state / "history.sqlite")
    here.run(force=True)
    for _ in range(2):
        assert states(logrotor, code=1 if state == "changed" else 0)["app.log.3.zst"] == state
    assert logrotor("history", "--json", code=0).json["runs"]


def test_a_history_that_cannot_be_read(here, logrotor):
    """That is said, with exit 1: it is not the same as no record."""
    generations(here, 2)
    with sqlite3.connect(here.state / "history.sqlite") as connection:
        connection.executescript(f"PRAGMA user_version = 99; PRAGMA application_id = {OURS + 99}")
        connection.execute("DROP TABLE archives")
        connection.execute("CREATE TABLE archives (id INTEGER PRIMARY KEY, log BLOB)")
    found = states(logrotor, code=1)
    assert found["history.sqlite"] == "unreadable" and set(found.values()) == {"unreadable", "no record"}


@pytest.mark.parametrize("change", ["name = 'text'", "bytes = -1", "log = NULL", "inode = 'x'"])
def test_a_record_that_cannot_be_read(here, logrotor, change):
    """Of an archive that was changed: that is not well, until it is accepted; the others are judged."""
    generations(here, 3)
    same_size(here.logs / "app.log.2.zst")
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'log BLOB NOT NULL', 'log BLOB') WHERE name = 'archives'"
        )
    with closing(sqlite3.connect(here.state / "history.sqlite")) as connection, connection:
        connection.execute(f"UPDATE archives SET {change} WHERE id = 2")
    expected = {"history.sqlite": "unreadable", "app.log.2.zst": "no record"}
    found = states(logrotor, code=1)
    assert expected.items() <= found.items() and found == states(logrotor, code=1)
    states(logrotor, "--accept")
    assert set(states(logrotor).values()) == {"sound"}


def test_a_history_of_an_older_logrotor(here, logrotor):
    """It gets the table by the first run that works; verify asks for no record that is not there."""
    generations(here, 2)
    with sqlite3.connect(here.state / "history.sqlite") as connection:
        connection.execute("DROP TABLE archives")
    for _ in range(2):
        assert set(states(logrotor).values()) == {"no record"}
    states(logrotor, "--accept")
    assert set(states(logrotor).values()) == {"sound"}
    with sqlite3.connect(here.state / "history.sqlite") as connection:
        connection.execute("DROP TABLE archives")
    generations(here, 1)
    assert Counter(states(logrotor).values()) == {"no record": 2, "sound": 1}


def test_a_folder_that_was_copied(here, logrotor):
    """Other inodes, the same archives: what they hold says which is which."""
    generations(here, 3)
    copy = here.folder / "copy"
    shutil.copytree(here.logs, copy)
    shutil.rmtree(here.logs), copy.rename(here.logs)
    assert Counter(states(logrotor).values()) == {"sound": 3}
    swap(here.logs / "app.log.1.zst", here.logs / "app.log.3.zst")
    assert Counter(states(logrotor, code=1).values()) == {"sound": 1, "misplaced": 2}


def test_settings_that_change(here, logrotor):
    """Compressed later, moved, dated: a record follows its archive."""
    here.configure('compress = "none"')
    generations(here, 3)
    states(logrotor)
    for more in ('compress = "zstd"', 'compress = "zstd"\narchive_dir = "old"', 'naming = "dated"', ""):
        compress(here, more)
        assert Counter(states(logrotor).values()) == {"sound": 3}, more


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_killed_before_the_record(here, logrotor, codec):
    """The archives are whole, and the history knows nothing of them: no record, and nothing is missing or damaged."""
    here.configure('compress = "none"')
    generations(here, 3)
    states(logrotor, "--accept")
    kept = (here.state / "history.sqlite").read_bytes()
    here.configure(f'compress = "{codec}"')
    generations(here, 1)
    (here.state / "history.sqlite").write_bytes(kept)  # as the kill left it
    found = Counter(states(logrotor).values())
    assert found == {"sound": 3, "no record": 1} == Counter(states(logrotor).values())
    states(logrotor, "--accept")
    assert Counter(states(logrotor).values()) == {"sound": 4}


@pytest.mark.parametrize("marked", [True, False])
def test_killed_before_the_record_of_what_nobody_had_read(here, logrotor, marked):
    """A row without a hash is that of an archive without a row, also where nothing can be noted on files."""
    here.configure('compress = "none"')
    generations(here, 3)
    kept = (here.state / "history.sqlite").read_bytes()
    compress(here)
    (here.state / "history.sqlite").write_bytes(kept)
    for path in here.logs.glob("*.zst") if not marked else ():
        os.removexattr(path, "user.logrotor.source")
    assert Counter(states(logrotor).values()) == {"no record": 3}
    assert Counter(states(logrotor).values()) == {"sound": 3}


def test_killed_in_retention(here, logrotor):
    """What the run was about to remove, and has removed, is not missing."""
    generations(here, 7)
    kept = here.state / "kept"
    connection = sqlite3.connect(here.state / "history.sqlite")
    connection.execute("UPDATE archives SET leaving = 1 WHERE id = (SELECT min(id) FROM archives)")
    connection.commit(), connection.close()
    assert Counter(states(logrotor).values()) == {"sound": 7} and not kept.exists()
    (here.logs / "app.log.7.zst").unlink()
    assert Counter(states(logrotor).values()) == {"sound": 6}


def test_archives_of_others(here, logrotor):
    """What logrotate or a human packed is sound if it can be read: --long, padded. Recorded once that is accepted."""
    here.log(size=320)
    need(shutil.which("zstd") is not None, "zstd")
    long = subprocess.run(["zstd", "-c", "--long=31"], input=b"old\n" * 9, capture_output=True, check=True).stdout
    (here.logs / "app.log.2.zst").write_bytes(long)
    (here.logs / "app.log.1.gz").write_bytes(gzip.compress(b"new\n") + bytes(1024))
    here.run(force=True)
    expected = {"app.log.2.gz": "no record", "app.log.3.zst": "no record", "app.log.1.zst": "sound"}
    assert states(logrotor) == expected == states(logrotor)
    states(logrotor, "--accept")
    assert set(states(logrotor).values()) == {"sound"}


def test_what_cannot_be_read(here, logrotor, monkeypatch):
    """A disk error asks for the disk; damage does not, nor does a missing permission."""
    import errno

    from logrotor.observe import verifying

    generations(here, 2)
    told = {}
    flip(here.logs / "app.log.1.zst")
    (told["damage"],) = (a["advice"] for a in logrotor("verify", "--json", code=1).json["archives"] if a["problem"])

    def broken(fd, codec):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(verifying.codecs, "decompressed", broken)
    broke = logrotor("verify", "--json", code=1).json["archives"]
    assert {each["state"] for each in broke} == {"unreadable"}
    assert all("dmesg" in each["advice"] for each in broke) and "dmesg" not in told["damage"]


def test_root_records_as_the_owner(here):
    """Root who asks is the user whose state directory it is: nothing of root's is left there."""
    need(os.geteuid() == 0, "root")
    here.configure('compress = "none"')
    generations(here, 1)
    owner = users.user("nobody")
    for path in (here.state, here.state / "history.sqlite"):
        os.chown(path, owner.uid, owner.gid)
    told = command.logrotor("verify", "-c", here.file, check=0)
    assert f"working as nobody, who owns {here.state}" in told.stderr
    assert {path.owner() for path in here.state.glob("history*")} == {"nobody"}


# ---------------------------------------------------------------- beside runs


def verify_beside(site: Site, times: int, seed: int) -> int:
    rounds = 0
    site.rotate(2, seed)
    with site.rotating(times, seed) as goes_on:
        while goes_on():
            done = command.logrotor("verify", "--json", "-c", site.file)
            odd = [a for a in done.json["archives"] if a["problem"] and a["state"] != "unknown"]
            assert odd == []
            rounds += 1
    found = command.logrotor("verify", "--json", "-c", site.file)
    assert found.code == 0 and {a["state"] for a in found.json["archives"]} <= {"sound", "no record"}
    return rounds


@pytest.mark.parametrize("keys", [{"compress": "zstd"}, {"compress": "none"}])
def test_beside_runs_no_sound_archive_is_damaged(world, keys):
    """Records, names and files change all the time, and retention removes some."""
    assert verify_beside(Site(world, backup_count=5, **keys), 12, seed=3) > 0


@pytest.mark.long
@pytest.mark.timeout(1200)  # on a busy machine each verify waits ten seconds for a moment without a rotation
@pytest.mark.parametrize("seed", range(6))
def test_beside_many_runs_no_sound_archive_is_damaged(world, seed):
    """The same for longer, in every form."""
    from tests.observe.test_reading_beside_runs import KINDS

    kind = list(KINDS)[seed % len(KINDS)]
    assert verify_beside(Site(world, backup_count=8, **KINDS[kind]), 200, seed) > 2


@pytest.mark.parametrize("recorded", [True, False])
def test_an_idle_run_asks_no_archive(here, logrotor, recorded, tmp_path):
    """However many are recorded: each name is looked at once, as without records."""
    need(shutil.which("strace") is not None, "strace")
    here.configure('compress = "zstd"')
    generations(here, 6)
    (here.logs / "app.log").write_bytes(b"")
    if not recorded:
        with sqlite3.connect(here.state / "history.sqlite") as connection:
            connection.execute("DELETE FROM archives")
    told = tmp_path / "calls"
    argv = ["strace", "-f", "-qq", "-o", told, *command.arguments("run", "-c", here.file)]
    assert subprocess.run(argv, env=command.environment(), check=False, capture_output=True).returncode == 0
    asked = [line for line in told.read_text(errors="replace").splitlines() if '"app.log.' in line]
    assert len(asked) == 6 and all("stat" in line for line in asked)


# ---------------------------------------------------------------- whatever happens to a log


FORMS = [
    {"compress": "zstd"}, {"compress": "none"}, {"compress": "gzip", "keep_uncompressed": 2},
    {"compress": "zstd", "naming": "dated"}, {"compress": "zstd", "archive_dir": "old"},
    {"compress": "gzip", "archive_dir": "old", "naming": "dated"},
]  # fmt: skip


def killed_run(site: Site, change: int) -> None:
    """A run in another process that ends, as by KILL, before its so many-th change."""
    child = os.fork()
    if child == 0:
        from logrotor.disk import calls

        done, real = 0, calls.invoke

        def invoke(operation, function, *args, **kwargs):
            nonlocal done
            done += 1
            if done == change:
                os._exit(9)
            return real(operation, function, *args, **kwargs)

        try:
            calls.invoke = invoke
            Rotator(site.config).run(force=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def lives(site: Site, chance: random.Random, steps: int) -> None:
    """Rotations, kills, settings that change, a lost history: nothing is wrong with any archive, ever."""
    for _ in range(steps):
        what = chance.choice(["rotate", "rotate", "rotate", "kill", "kill", "change", "verify", "verify", "lose"])
        site.write(chance.choice((1, 5, 80)))
        if what == "rotate":
            Rotator(site.config).run(force=True)
        elif what == "kill":
            killed_run(site, chance.randrange(1, 40))
        elif what == "change":
            Site(site.folder, backup_count=chance.choice((3, 5, 9)), **chance.choice(FORMS))
        elif what == "lose" and chance.random() < 0.3:
            shutil.rmtree(site.folder / "state", ignore_errors=True)
        else:
            found = list(verify(site.look))
            assert [each for each in found if each.problem] == [], what
            assert {each.state for each in found} <= {State.SOUND, State.GROWN, State.UNRECORDED}


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))])
def test_no_run_and_no_kill_makes_an_archive_wrong(world, seed):
    """Verified now and then; at the end what is removed, changed or swapped is found among what is recorded."""
    chance = random.Random(seed)
    site = Site(world, backup_count=5, **chance.choice(FORMS))
    lives(site, chance, 25)
    Site(world, backup_count=9, compress="zstd")
    for _ in range(4):
        site.write(9)
        Rotator(site.config).run(force=True)
    list(verify(site.look))
    sound = [each for each in verify(site.look) if each.state is State.SOUND]
    assert len(sound) >= 4 and not [each for each in verify(site.look) if each.problem]
    one = Path(chance.choice(sound).path)
    harm = chance.choice([lambda: one.unlink(), lambda: flip(one), lambda: os.truncate(one, one.stat().st_size - 1)])
    harm()
    assert [each for each in verify(site.look) if each.problem] != [], one
