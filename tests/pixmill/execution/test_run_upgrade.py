"""A ledger that an earlier version of its schema made goes on as if it had always been a new one.

`tests/golden/ledgers` keeps one of each released schema, as it was written then: a change of the schema adds one.
"""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from pixmill.ledger import open_ledger
from pixmill.ledger.billing.bill import Period, make_bill
from pixmill.ledger.input_images import InputImage
from pixmill.ledger.schema import SCHEMA_VERSION
from pixmill.planning.planner import plan_config
from tests.conftest import ROOT, Project, Simulated
from tests.pixmill.run_checks import (
    Charge,
    Provider,
    configure_run,
    ledger,
    run_and_check,
    simulator_charges,
)
from tests.real_command import Command, wait_for_result

VERSION_1 = {
    "meta": "name value",
    "jobs": """job_key state transient runs attempts owner lease_until run_id outcome_run provider account req_key
        error_code error_message request_id rephraser_result output_urls url_expires_at images image_error image_run
        started_at finished_at queue_ms latency_ms provider_ms download_ms cost currency""",
    "attempts": """id job_key run_id account sent_at answered_at verdict http_status code message request_id charged
        price latency_ms provider_ms answer""",
    "runs": "run_id name owner started_at finished_at calls summary",
}
"""The tables and columns of the first schema."""

INDEXES_1 = (
    "attempts_of_run",
    "attempts_by_time",
    "jobs_in_flight",
    "jobs_in_doubt",
    "runs_of_config",
)


def to_version_1(config: str) -> None:
    """Take away what later versions of the ledger's schema added."""
    with closing(
        sqlite3.connect(load_config(config).store_path / "ledger.db")
    ) as older:
        older.execute("ALTER TABLE attempts ADD COLUMN price FLOAT")
        older.execute("UPDATE attempts SET price = amount / 1e9")
        for name, kind in older.execute(
            "SELECT name, type FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall():
            if name not in (*VERSION_1, *INDEXES_1):
                # The triggers of a table go with it.
                older.execute(f"DROP {kind} IF EXISTS {name}")
        for table, names in VERSION_1.items():
            for (column,) in older.execute(
                "SELECT name FROM pragma_table_info(?)", (table,)
            ).fetchall():
                if column not in names.split():
                    older.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        older.execute("UPDATE meta SET value = '1' WHERE name = 'schema_version'")
        older.commit()


def schema(config: str) -> dict[str, list[tuple[Any, ...]]]:
    """The columns and indexes of the ledger's tables, defaults without quotes."""
    tables = [
        name
        for (name,) in ledger(
            config, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        )
    ]
    columns = "SELECT name, type, \"notnull\", trim(dflt_value, ''''), pk FROM pragma_table_info(?) ORDER BY name"
    indexes = ledger(
        config, "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name"
    )
    return {table: ledger(config, columns, table) for table in tables} | {
        "indexes": indexes
    }


@pytest.mark.parametrize("opened_by", ["plan", "run"])
def test_a_ledger_of_version_1_goes_on_and_nothing_is_paid_again(
    project: Project, simulated: Simulated, opened_by: str
) -> None:
    project.write_rows(project.rows(5))
    project.use_simulator(simulated)
    run_and_check(project.path, simulator_charges(simulated))
    before, new_schema = (
        run_and_check(project.path, simulator_charges(simulated)),
        schema(project.path),
    )
    to_version_1(project.path)
    assert schema(project.path) != new_schema
    if opened_by == "plan":
        summary = plan_config(load_config(project.path)).summary()
        assert (summary["cached"], summary["pending"]) == (5, 0)
        assert schema(project.path) == new_schema
    after = run_and_check(project.path, simulator_charges(simulated))
    assert schema(project.path) == new_schema
    assert ledger(project.path, "SELECT value FROM meta") == [(str(SCHEMA_VERSION),)]
    assert (after.report["calls"], after.report["cached"], simulated.bill.calls) == (
        0,
        5,
        5,
    )
    assert after.rows == before.rows
    assert after.column("effective_seed") == after.column("seed")


def test_what_version_1_left_undone_is_done_after_the_upgrade(
    project: Project, simulated: Simulated
) -> None:
    """New calls and answers of input images find their columns and tables."""
    project.write_rows(project.rows(4))
    project.use_simulator(simulated)
    assert (
        run_and_check(project.path, simulator_charges(simulated), limit=3).report[
            "calls"
        ]
        == 3
    )
    to_version_1(project.path)
    resumed = run_and_check(project.path, simulator_charges(simulated))
    assert (resumed.report["calls"], resumed.column("status")) == (1, ["succeeded"] * 4)
    assert resumed.column("effective_seed") == resumed.column("seed")
    seeds = ledger(project.path, "SELECT seed FROM attempts ORDER BY id")
    assert seeds == [(None,)] * 3 + [(resumed.rows[3]["seed"],)]
    image = InputImage("https://images.example.com/0.jpg", 1, "input_not_found", "gone")
    with prepare(load_config(project.path)) as run:
        run.ledger.record_input(image)
        assert run.ledger.inputs([image.url]) == {image.url: image}


def test_two_commands_may_upgrade_a_ledger_at_once(
    project: Project, simulated: Simulated, pixmill: Command
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    run_and_check(project.path, simulator_charges(simulated))
    new_schema = schema(project.path)
    to_version_1(project.path)
    command = ("plan", project.path, "--json")
    with pixmill.started(*command) as one, pixmill.started(*command) as other:
        assert [
            wait_for_result(process).report["cached"] for process in (one, other)
        ] == [3, 3]
        assert (one.returncode, other.returncode) == (0, 0)
    assert schema(project.path) == new_schema


KEPT = sorted((ROOT / "tests" / "golden" / "ledgers").glob("v*.sql"))

ROWS_OF_KEPT = [
    "succeeded",
    "succeeded",
    "refused",
    "failed",
    "failed",
    "in_doubt",
    "in_doubt",
    "skipped",
]
"""What becomes of its eight rows where nothing is paid: the fourth failed for now, the seventh was in flight."""

THEN = [
    Charge(f"call {number} of its time", f"call-{number}") for number in (1, 2, 6, 7)
]
"""What its provider had charged: two successes, the answer that was no answer, and the call that was cut off."""


def restore(kept: Path, store: Path) -> None:
    store.mkdir()
    with closing(sqlite3.connect(store / "ledger.db")) as earlier:
        earlier.executescript(kept.read_text())
        earlier.execute("PRAGMA journal_mode=WAL").close()


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.stem)
def test_a_kept_ledger_pays_only_for_what_was_not_settled(
    project: Project, kept: Path
) -> None:
    """B10, A1: what its time paid for, refused, failed for good or left in doubt is not sent again."""
    restore(kept, project.folder / "out")
    with Provider() as provider:
        config = configure_run(project, provider.url, len(ROWS_OF_KEPT))
        counts = plan_config(load_config(config)).summary()
        run = run_and_check(config, lambda: [*THEN, *provider.charges()])
        again = run_and_check(config, lambda: [*THEN, *provider.charges()])
    names = ("cached", "refused", "failed", "in_doubt", "pending")
    assert [counts[name] for name in names] == [2, 1, 1, 2, 2]
    assert sorted(provider.prompts) == ["a pet 3", "a pet 7"]
    assert run.column("status") == [
        *ROWS_OF_KEPT[:3],
        "succeeded",
        *ROWS_OF_KEPT[4:7],
        "succeeded",
    ]
    assert run.column("error_code")[4:7] == ["50215", "http_504", "process_died"]
    assert (run.report["calls"], again.report["calls"]) == (2, 0)
    assert again.column("status") == run.column("status")


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.stem)
def test_what_a_kept_ledger_spent_is_still_on_the_bill(
    project: Project, kept: Path
) -> None:
    """B10, I3."""
    restore(kept, project.folder / "out")
    opened = open_ledger(project.folder / "out" / "ledger.db")
    assert opened
    with closing(opened):
        (total,) = make_bill(opened, Period("all", ZoneInfo("Asia/Shanghai"))).totals
    assert [part.calls for part in (total.yes, total.no, total.unknown)] == [2, 2, 2]
    assert (total.least, total.most, total.currency) == (
        Decimal("0.4"),
        Decimal("0.8"),
        "CNY",
    )
