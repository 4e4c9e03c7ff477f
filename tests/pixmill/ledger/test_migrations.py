"""A ledger of an earlier schema becomes one of today's, in a file and in PostgreSQL, its money to the last digit."""

import re
from contextlib import closing

import pytest
from sqlalchemy import inspect, text

from pixmill.ledger import Claim, ClaimDenied, Ledger, State, open_ledger, queries
from pixmill.ledger.migrations import version_of
from pixmill.ledger.schema import MIGRATIONS, SCHEMA_VERSION
from tests.pixmill.ledger.billing.billing import TERMS

ANSWERED = """INSERT INTO attempts (job_key, run_id, verdict, charged, price, code, answered_at) VALUES
    ('paid', 'run-1', 'succeeded', 'yes', 0.0155, '10000', 1),
    ('paid too', 'run-1', 'succeeded', 'yes', 0.0155, '10000', 2),
    ('free', 'run-1', 'failed', 'no', NULL, '50215', 3),
    ('lost', 'run-1', 'in_doubt', 'unknown', NULL, 'process_died', 4),
    ('lost', 'run-2', 'in_doubt', 'unknown', NULL, 'process_died', 5)"""
ANSWERED_IN_4 = """INSERT INTO attempts (job_key, run_id, verdict, charged, amount, code, answered_at) VALUES
    ('paid', 'run-1', 'succeeded', 'yes', 15500000, '10000', 1),
    ('paid too', 'run-1', 'succeeded', 'yes', 15500000, '10000', 2),
    ('free', 'run-1', 'failed', 'no', NULL, '50215', 3),
    ('lost', 'run-1', 'in_doubt', 'unknown', 15500000, 'process_died', 4),
    ('lost', 'run-2', 'in_doubt', 'unknown', NULL, 'process_died', 5)"""
JOBS = """INSERT INTO jobs (job_key, state, run_id, attempts) VALUES
    ('paid', 'succeeded', 'run-1', 1), ('lost', 'in_doubt', 'run-1', 1), ('left', 'pending', 'run-1', 1)"""


def undo(ledger: Ledger, version: int) -> None:
    """Take away what was added to the schema since `version`."""
    with ledger.database.writing.begin() as connection:
        connection.execute(text("DROP TABLE scores"))
        for number in range(SCHEMA_VERSION - 1, version - 1, -1):
            for statement in reversed(MIGRATIONS[number]):
                if dropped := re.match(
                    r"ALTER TABLE (\w+) DROP COLUMN price", statement
                ):
                    back = f"ALTER TABLE {dropped[1]} ADD COLUMN price FLOAT"
                elif added := re.match(
                    r"ALTER TABLE (\w+) ADD COLUMN (\w+)", statement
                ):
                    back = f"ALTER TABLE {added[1]} DROP COLUMN {added[2]}"
                elif index := re.match(r"CREATE (?:UNIQUE )?INDEX (\w+)", statement):
                    back = f"DROP INDEX {index[1]}"
                else:
                    continue
                connection.execute(text(back))
        connection.execute(text(f"UPDATE meta SET value = '{version}'"))


def schema_of(ledger: Ledger) -> dict[str, set[str]]:
    with ledger.database.reading.connect() as connection:
        found = inspect(connection)
        return {
            table: {
                *(column["name"] for column in found.get_columns(table)),
                *(str(index["name"]) for index in found.get_indexes(table)),
            }
            for table in found.get_table_names()
        }


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_earlier_ledger_becomes_one_of_today_with_its_money(
    ledger: Ledger, version: int
) -> None:
    today = schema_of(ledger)
    undo(ledger, version)
    assert schema_of(ledger) != today
    with ledger.database.writing.begin() as connection:
        connection.execute(text(ANSWERED if version < 4 else ANSWERED_IN_4))
        connection.execute(text(JOBS))
    ledger.close()
    with closing(open_ledger(ledger.address) or ledger) as upgraded:
        assert schema_of(upgraded) == today
        assert upgraded.read(version_of) == SCHEMA_VERSION
        spent = upgraded.read(queries.spent)
        # Of the two calls whose processes died, one was of a run whose price is known.
        assert {charged: str(money) for charged, money in spent.items()} == {
            "yes": "0.031",
            "no": "0",
            "unknown": "0.0155",
        }
        upgraded.begin_run("run-3", "pets")
        terms = TERMS._replace(run_id="run-3")
        assert upgraded.claim("paid", terms) == ClaimDenied(State.SUCCEEDED)
        assert upgraded.claim("lost", terms) == ClaimDenied(State.IN_DOUBT)
        assert upgraded.claim("left", terms) == Claim(2, 0)
        upgraded.record_task("left", "task", lease_seconds=60)
        assert upgraded.known(["left"], max_runs=3).states == [State.SUBMITTED]
