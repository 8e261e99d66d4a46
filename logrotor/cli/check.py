"""``logrotor check``: which configuration is used, and everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from logrotor import text
from logrotor.cli import output
from logrotor.cli.options import announce, config_option, config_path, json_option
from logrotor.cli.session import enter_found, exit_codes, why_no_run
from logrotor.model import Problem

if TYPE_CHECKING:
    from logrotor.config.find import Found
    from logrotor.model import Config, ConfigProblem

CODES = {
    "1": "some rule is wrong, or a run would fail for some log; the others run",
    "2": "usage, or nothing can run",
}
EPILOG = f"""\
\b
Examples:
  logrotor check
  logrotor check -c /etc/logrotor.toml && systemctl start logrotor.timer
  logrotor check --json | jq -r '.problems[].message'

{exit_codes(CODES)}
"""


_STATE = "state_dir"


@click.command(epilog=EPILOG)
@config_option
@json_option("Print the loaded configuration and its problems as JSON.")
@click.pass_context
def check(ctx: click.Context, config: str | None, as_json: bool) -> int:
    """Check the configuration and show which one is used.

    Prints which file was found and how, what it includes, where state is kept and why there, its rules and reopen
    targets, and every problem at once with its file, line and key, what is accepted, and the nearest known key. A rule
    that is wrong alone does not switch off the others. Also told: what makes runs of this user fail, as a state
    directory, a page or metrics that cannot be written, or logs that would be refused if they were due; a queue engine
    that is not installed; and logs that a create_mode opens to more than can read or write them now.
    """
    from logrotor.config import find_config
    from logrotor.errors import ConfigError

    found = find_config(config_path(ctx), os.environ)
    try:
        entered = enter_found(found)
    except ConfigError as error:
        return _show(found, None, error.problems, Looked(), as_json=as_json)
    announce(entered)
    loaded = entered.config
    problems = (*loaded.problems, *_obstacles(found.file, loaded))
    return _show(found, loaded, problems, look(loaded), as_json=as_json)


class Looked(Struct, frozen=True):
    """What the disk shows. ``another``: the user of the runs, whom we are not, so what they may do is unknown."""

    hindered: dict[Problem, list[str]] = {}  # what makes runs fail, and the logs that it is about
    widened: list[dict[str, str]] = []  # logs that a create_mode opens to more than can read or write them now
    literal: list[dict[str, str]] = []
    another: str | None = None


def look(config: Config) -> Looked:
    """What the disk shows of the logs of a configuration, and of its outputs."""
    from logrotor.clock import local_now
    from logrotor.decide.planner import refusal
    from logrotor.disk.identity import is_us
    from logrotor.disk.trust import stranger_to
    from logrotor.observe.checks.own_files import closed_outputs
    from logrotor.observe.deployment import Deployment
    from logrotor.survey.asking import plan_asking
    from logrotor.survey.surveyor import Surveyor

    another = config.run_as if config.run_as and not is_us(config.run_as) else None
    another = stranger_to(config.state_dir, config.run_as) or another
    if another is not None:
        return Looked(literal=_literal(config), another=another)
    now = local_now()
    hindered: dict[Problem, list[str]] = {problem: [] for problem in closed_outputs(config)}
    with Surveyor(config, Deployment(config, now).histories) as surveyor:
        survey = surveyor.survey()
        plans, _ = plan_asking(config, survey, now, force=True)
        hindered.update({problem: [] for problem in survey.problems})
        for facts, plan in zip(survey.logs, plans, strict=True):
            why = plan.refused or refusal(facts) or facts.directory.closed
            if why is not None:
                hindered.setdefault(why, []).append(facts.path)
        widened = [
            {"log": facts.path, "rule": facts.spec.name, "modes": facts.widens} for facts in survey.logs if facts.widens
        ]
    return Looked(hindered, widened, _literal(config))


def _literal(config: Config) -> list[dict[str, str]]:
    """Paths that name a file as they stand, and as the patterns that they are do not match it."""
    import fnmatch
    import glob

    from logrotor.disk import mounts

    return [
        {"rule": spec.name, "path": path, "literal": glob.escape(path)}
        for spec in config.logs
        for path in spec.paths
        if glob.has_magic(path) and mounts.exists(path) and not fnmatch.fnmatchcase(path, path)
    ]


def _obstacles(file: str, config: Config) -> Iterator[ConfigProblem]:
    """What is no mistake of the file, and stops every run or every job of it all the same."""
    from logrotor.errors import ConfigError
    from logrotor.model import ConfigProblem

    why = why_no_run(config)
    if why is not None:
        yield ConfigProblem(
            file, _STATE, f"{config.state_dir} ({config.state_dir_origin}): {why.problem}", advice=why.advice
        )
    if config.queue is not None:
        from logrotor.jobs.engine import load_engine

        try:
            load_engine(file, config.queue.engine)
        except ConfigError as error:
            yield from error.problems


def _show(
    found: Found,
    config: Config | None,
    problems: tuple[ConfigProblem, ...],
    looked: Looked,
    *,
    as_json: bool,
) -> int:
    nothing_runs = config is None or any(problem.key == _STATE for problem in problems)
    code = 2 if nothing_runs else 1 if problems or looked.hindered else 0
    if as_json:
        from logrotor.model import as_json as in_json

        hindered = [{**in_json(problem), "logs": logs} for problem, logs in looked.hindered.items()]
        more = {"hindered": hindered, "widened": looked.widened, "literal": looked.literal, "another": looked.another}
        output.write_json({**_as_json(found, config, problems, code), **more})
    else:
        facts = [("configuration", f"{found.file} ({found.origin})"), *(_facts(config) if config else [])]
        notes = [*_opened(looked.widened), *map(_unmatched, looked.literal), *_unseen(looked)]
        wrong = [*map(str, problems), *(_failing(problem, logs) for problem, logs in looked.hindered.items())]
        shown = [*map(text.printable, notes), *map(text.lines, wrong)]
        output.write("\n".join([*output.table(facts), *shown, _verdict(config, len(wrong), code)]))
    return code


def _opened(widened: list[dict[str, str]]) -> Iterator[str]:
    """One line for each rule and change: three names, and how many more."""
    logs: dict[tuple[str, str], list[str]] = {}
    for each in widened:
        logs.setdefault((each["rule"], each["modes"]), []).append(each["log"])
    for (rule, modes), names in logs.items():
        yield f"note: create_mode of rule {rule} opens logs to more than now ({modes}): {text.names(names)}"


def _failing(problem: Problem, logs: list[str]) -> str:
    return str(problem) if logs in ([], [problem.subject]) else f"{text.names(logs)}: {problem}"


def _unseen(looked: Looked) -> Iterator[str]:
    if looked.another is not None:
        advice = f"ask as {looked.another}: sudo -u {looked.another} {text.ours('check')}"
        yield f"note: what {looked.another} may do with the logs is not known to {_us()}; {advice}"


def _us() -> str:
    from logrotor.disk.walk import user_name

    return user_name(os.geteuid())


def _unmatched(found: dict[str, str]) -> str:
    what = f"{found['path']} in rule {found['rule']} is a pattern that does not match the file of this name"
    return f'note: {what}; to name it: "{found["literal"]}"'


def _facts(config: Config) -> list[tuple[str, str]]:
    included = [("included", file) for file in config.files[1:]]
    user = [("run as", config.run_as)] if config.run_as else []
    rules = ", ".join(spec.name for spec in config.logs)
    targets = ", ".join(f"{target.name} ({target.manager})" for target in config.targets.values())
    return [
        *included,
        ("state_dir", f"{config.state_dir} ({config.state_dir_origin})"),
        *user,
        ("rules", f"{len(config.logs)}: {rules}"),
        ("targets", targets or "none"),
    ]


def _verdict(config: Config | None, number: int, code: int) -> str:
    if code == 0:
        return "No problem."
    wrong = text.count(number, "problem")
    if code == 2 or config is None:
        return f"{wrong}; nothing can run."
    return f"{wrong}; {text.count(len(config.logs), 'rule')} can run."


def _as_json(found: Found, config: Config | None, problems: tuple[ConfigProblem, ...], code: int) -> dict[str, Any]:
    from logrotor.model import as_json

    return {
        "file": found.file,
        "found": found.origin,
        "exit_code": code,
        "problems": [{**as_json(problem), "message": problem.message} for problem in problems],
        "config": as_json(config) if config else None,
    }
