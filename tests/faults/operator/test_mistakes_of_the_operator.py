"""Family I of the faults: what people do to a run. The real command line, and the library in the wrong order."""

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.prepare import prepare
from pixmill.ledger.schema import SCHEMA_VERSION
from tests.conftest import Project, results, run_config
from tests.pixmill.run_checks import (
    OUTCOMES,
    Provider,
    assert_usage_error,
    check_run,
    configure_run,
    error_response,
    run_and_check,
    run_to_end,
)
from tests.real_command import Command, run_arguments

REPORT = {
    "run_id",
    "exit_code",
    "reason",
    "rows",
    "jobs",
    *OUTCOMES,
    "cached",
    "images_missing",
    "calls",
    "cost",
    "seconds",
    "dataset",
    "report",
}


MISTAKES = """
limits: {qsp: 2, timeout_seconds: 30s}
provider: {api_key: sk-canary-0123456789}
request: {params: {scale: 99}}
execution: {engine: ray}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            MISTAKES,
            [
                "limits.qsp: unknown key; did you mean `qps`?",
                "limits.timeout_seconds",
                "must not be in a config",
                "request.params.scale",
                "not supported by this version",
            ],
        ),
        ("limits: [", ["is not valid YAML"]),
    ],
    ids=["unknown, wrong unit, secret, bad size, for later", "bad YAML"],
)
def test_mistakes_in_the_config_are_refused_with_their_places(
    project: Project, pixmill: Command, text: str, words: list[str]
) -> None:
    """I2f: all at once, before anything is opened; the secret is not repeated."""
    project.write_rows(project.rows(2))
    start = f"name: pets\nstore: {project.folder}/out\ninput: {{path: {project.folder}/pets.csv}}\n"
    Path(project.path).write_text(start + text)
    command = pixmill(*run_arguments(project.path))
    assert_usage_error(command, *words)
    assert "canary" not in command.stderr
    assert not (project.folder / "out").exists()


def test_a_wrong_endpoint_key_or_column_is_found_before_any_call(
    project: Project,
    pixmill: Command,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I1f: a missing column, table and key, and an address in plain http that is not this machine."""
    config = configure_run(project, provider.url, 2)
    assert_usage_error(
        pixmill(*run_arguments(config, "--set", "input.columns.prompt=txt")),
        "txt",
        "text",
    )
    assert_usage_error(
        pixmill(
            *run_arguments(config, "--set", f"input.path={project.folder}/none.csv")
        ),
        "none.csv",
    )
    assert_usage_error(
        pixmill(
            *run_arguments(
                config, "--set", "provider.base_url=http://gateway.example.com"
            )
        ),
        "provider.base_url",
    )
    monkeypatch.delenv("PIXMILL_API_KEY")
    assert_usage_error(pixmill(*run_arguments(config)), "PIXMILL_API_KEY")
    assert provider.requests == []


def test_changed_parameters_are_new_keys_and_are_shown_before_paying(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """I3f: what is reused, what is new, and what changed since the last run; without a yes nothing is paid."""
    config = configure_run(project, provider.url, 4, budget={"price_per_call": 0.2})
    run_and_check(config, provider.charges)
    change = ("--set", "request.params.scale=4")
    plan = pixmill("plan", config, "--json", *change)
    assert (plan.exit_code, plan.report["pending"], plan.report["cached"]) == (0, 4, 0)
    assert plan.report["cost"] == {"pending": 0.8, "currency": "CNY"}
    assert "request.params.scale" in plan.stderr
    assert "→ 4" in plan.stderr
    assert_usage_error(pixmill("run", config, "--json", *change), "4 calls")
    assert len(provider.requests) == 4
    changed = run_and_check(config, provider.charges, change[1])
    back = run_and_check(config, provider.charges)
    assert (changed.report["calls"], changed.report["cached"]) == (4, 0)
    assert (back.report["calls"], back.report["cached"]) == (0, 4)


def test_settings_that_do_not_change_the_image_cost_nothing(
    project: Project, provider: Provider
) -> None:
    """I3f: limits, retries, budget and output are no part of a key."""
    config = configure_run(project, provider.url, 4)
    run_and_check(config, provider.charges)
    other = (
        "limits.concurrency=2",
        "limits.timeout_seconds=9",
        "retry.max_attempts=1",
        "stop.window=9",
        "budget.price_per_call=9",
        "provider.account=other",
    )
    assert run_and_check(config, provider.charges, *other).report["calls"] == 0


@pytest.mark.parametrize("option", ["--overwrite", "--regenerate"])
def test_there_is_no_option_that_pays_for_everything_again(
    project: Project, pixmill: Command, provider: Provider, option: str
) -> None:
    """I4f: a habit from other tools is an error, and the ledger stays as it was."""
    config = configure_run(project, provider.url, 2)
    run_and_check(config, provider.charges)
    before = (project.folder / "out" / "ledger.db").read_bytes()
    assert_usage_error(pixmill(*run_arguments(config, option)), "No such option")
    assert (project.folder / "out" / "ledger.db").read_bytes() == before
    assert len(provider.requests) == 2


def make_newer(ledger: Path, *changes: str) -> None:
    """Make a ledger one of a later version."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(
            "UPDATE meta SET value = ? WHERE name = 'schema_version'",
            (str(SCHEMA_VERSION + 1),),
        )
        for change in changes:
            connection.execute(change)
        connection.commit()


def schema(ledger: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute(
            "SELECT sql FROM sqlite_schema ORDER BY name"
        ).fetchall()


def test_an_older_program_pays_nothing_on_a_newer_ledger(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """I5f."""
    config = configure_run(project, provider.url, 2)
    run_config(config)
    make_newer(project.folder / "out" / "ledger.db")
    assert_usage_error(pixmill(*run_arguments(config)), "newer pixmill", "upgrade")
    assert_usage_error(pixmill("plan", config), "newer pixmill")
    assert len(provider.requests) == 2


def test_an_older_program_leaves_a_newer_ledger_as_it_is(
    project: Project, provider: Provider
) -> None:
    """I5f: the refusal says that it was not touched."""
    path = project.folder / "out" / "ledger.db"
    config = configure_run(project, provider.url, 2)
    run_config(config)
    make_newer(
        path,
        "DROP INDEX runs_of_config",
        "DROP INDEX attempts_of_run",
        "ALTER TABLE runs RENAME TO campaigns",
    )
    before = schema(path)
    with pytest.raises(PixmillError, match="newer pixmill"):
        prepare(load_config(config))
    assert schema(path) == before


def test_a_run_with_nothing_to_pay_for_needs_no_consent_and_no_prefect(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """`run --json`: one line with exactly the keys of the contract."""
    config = configure_run(project, provider.url, 3)
    first = run_and_check(config, provider.charges)
    command = pixmill("run", config, "--json")
    assert (command.exit_code, command.stdout.count("\n")) == (0, 1)
    assert command.report.keys() == REPORT
    assert command.report["dataset"] == first.report["dataset"]
    check_run(config, command.report, provider.charges())
    told = json.loads(
        (
            project.folder
            / "out"
            / "pets"
            / "runs"
            / f"{command.report['run_id']}.json"
        ).read_text()
    )
    assert told.pop("at")
    assert told.pop("limits") is None
    assert told == command.report


def test_new_invalid_rows_end_with_3_once(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """`accept` is about new problems: the same bad rows are known in the next run. JSON comes with exit 3 too."""
    config = configure_run(project, provider.url, 0, input={"max_invalid": 1})
    project.write_rows([{**row, "photo": "no URL"} for row in project.rows(2)])
    codes = [(ended := pixmill("run", config, "--json")).exit_code for _ in range(2)]
    assert (codes, ended.report["invalid"], ended.report["jobs"]) == ([3, 0], 2, 2)
    assert provider.requests == []


def test_too_many_invalid_rows_stop_before_paying(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    """input.max_invalid: a wrong column shows as rows that are all bad."""
    config = configure_run(project, provider.url, 0)
    project.write_rows(
        [
            {**row, "text": ""} if at < 2 else row
            for at, row in enumerate(project.rows(10))
        ]
    )
    assert_usage_error(
        pixmill(*run_arguments(config)),
        "2 of 10 rows are invalid",
        "2 empty_prompt",
        "nothing was sent",
    )
    assert (
        run_and_check(config, provider.charges, "input.max_invalid=0.2").report["calls"]
        == 8
    )


def test_an_empty_table_is_a_run(
    project: Project, pixmill: Command, provider: Provider
) -> None:
    command = pixmill("run", configure_run(project, provider.url, 0), "--json")
    assert (command.exit_code, command.report["jobs"], command.report["calls"]) == (
        0,
        0,
        0,
    )
    assert results(command.report) == []


def test_a_limit_below_nothing_is_refused(project: Project, pixmill: Command) -> None:
    project.write_rows(project.rows(1))
    assert_usage_error(
        pixmill(*run_arguments(project.write_config(), "--limit", "-1")), "--limit"
    )


def test_a_run_in_the_wrong_order_raises_at_once(
    project: Project, provider: Provider
) -> None:
    """I6f: after `finish`, and `start` twice; nothing hangs and nothing is paid for twice."""
    config = configure_run(project, provider.url, 4)
    with prepare(load_config(config)) as prepared:
        run = prepared.start()
        [chunk, *others] = run.chunks()
        for part in [chunk, *others]:
            run.process(part)
        report = run.finish().as_dict()
        assert run_to_end(lambda: run.process(chunk)).skipped == 1
    check_run(config, report, provider.charges())
    with prepare(load_config(config, ["request.params.scale=4"])) as prepared:
        prepared.start()
        with pytest.raises(PixmillError, match="has started already"):
            run_to_end(prepared.start)
    assert len(provider.requests) == 4


def test_a_run_inside_an_event_loop_works(project: Project, provider: Provider) -> None:
    """I6f: as in a notebook, where a loop runs already."""

    async def notebook() -> int:
        return int(run_config(configure_run(project, provider.url, 3))["succeeded"])

    assert run_to_end(lambda: asyncio.run(notebook())) == 3


def test_the_same_config_run_by_several_threads_pays_once(
    project: Project, provider: Provider
) -> None:
    """I6f, H1: every caller gets its own report, and the file that all of them publish is whole."""
    config = configure_run(project, provider.url, 12)
    with ThreadPoolExecutor(3) as callers:
        reports = run_to_end(lambda: list(callers.map(run_config, [config] * 3)))
    assert len(provider.requests) == 12 == sum(report["calls"] for report in reports)
    assert run_and_check(config, provider.charges).report["succeeded"] == 12


@pytest.mark.slow
def test_every_way_to_stop_has_its_exit_code_on_the_real_command_line(
    project: Project, tmp_path: Path, prefect_api: str
) -> None:
    """Exit codes 6, 4, 3 and 0 of runs through Prefect, each with its JSON; together every row is paid once."""
    pixmill = Command(tmp_path, prefect_api)
    with Provider({"a pet 5": error_response(50412)}) as provider:
        config = configure_run(project, provider.url, 6)
        provider.every = error_response(50400, 401)
        denied = pixmill(*run_arguments(config))
        assert (denied.exit_code, denied.report["calls"], denied.report["skipped"]) == (
            6,
            1,
            6,
        ), denied.stderr
        provider.every = None
        in_order = (
            "--set",
            "execution.jobs_per_task=6",
            "--set",
            "limits.concurrency=1",
        )  # task runs of their own, and calls, may overtake each other
        poor = pixmill(*run_arguments(config, "--set", "budget.max_calls=4", *in_order))
        assert (poor.exit_code, poor.report["succeeded"]) == (4, 4)
        rest = pixmill(*run_arguments(config))
        assert (rest.exit_code, rest.report["refused"], rest.report["succeeded"]) == (
            3,
            1,
            5,
        )
        known = pixmill(*run_arguments(config))
        assert (known.exit_code, known.report["calls"]) == (0, 0)
        for command in (denied, poor, rest, known):
            assert (command.report["exit_code"], command.stdout.count("\n")) == (
                command.exit_code,
                1,
            )
            assert command.report.keys() == REPORT
        check_run(config, known.report, provider.charges())
