"""Looking up many jobs at once, whatever length their answers have."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert, select

from pixmill.ledger import Ledger
from pixmill.ledger.queries import OUTCOME_COLUMNS
from pixmill.ledger.schema import jobs
from tests.fuzz.amount import examples
from tests.pixmill.ledger.conftest import IN_A_FILE

LONG = '\x07\n"é' * 5_000
"""What an answer may keep: 20,000 characters, of which JSON makes three times as many."""

URLS = [f"https://x.example/{at}?signature=\x1f{'s' * 200}" for at in range(100)]


def put(ledger: Ledger, keys: Sequence[str], **columns: Any) -> None:
    """Write jobs as paid ones leave them, all with the same `columns`."""
    rows = [
        {
            "job_key": key,
            "state": "succeeded",
            "attempts": 1,
            "run_id": "earlier",
            **columns,
        }
        for key in keys
    ]
    with ledger.database.writing.begin() as connection:
        connection.execute(insert(jobs), rows)


def looked_up(ledger: Ledger, keys: Sequence[str | None]) -> list[dict[str, Any]]:
    return [row for part in ledger.outcomes(keys) for row in part.to_pylist()]


def keys_of(count: int) -> list[str]:
    return [f"{at:064x}" for at in range(count)]


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"rephraser_result": LONG}, id="rewritten prompts"),
        pytest.param({"output_urls": json.dumps(URLS)}, id="a hundred URLs"),
        pytest.param({"error_message": "\x1b[" * 10_000}, id="messages"),
    ],
)
def test_jobs_with_long_answers_are_looked_up_whole_and_in_order(
    ledger: Ledger, columns: Mapping[str, Any]
) -> None:
    keys = keys_of(40)
    put(ledger, keys[::2], **columns)
    put(ledger, keys[1::4], rephraser_result="short")
    rows = looked_up(ledger, [*keys, None, "unknown", keys[0]])
    known = [row["state"] for row in rows]
    assert known == [
        *["succeeded", "succeeded", "succeeded", None] * 10,
        None,
        None,
        "succeeded",
    ]
    wanted = {
        name: json.loads(value) if name == "output_urls" else value
        for name, value in columns.items()
    }
    for at in (0, 2, 38, 42):
        assert {name: rows[at][name] for name in wanted} == wanted
    assert [row["rephraser_result"] for row in rows[1:40:4]] == ["short"] * 10


@IN_A_FILE
def test_no_text_grows_with_the_number_of_the_jobs(ledger: Ledger) -> None:
    """A text that grows with it is refused in the end: what is paid could never be published."""

    @event.listens_for(ledger.database.reading, "connect")
    def limited(connection: sqlite3.Connection, _record: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 40 << 20)

    keys = keys_of(1_200)
    put(ledger, keys, rephraser_result=LONG)
    rows = looked_up(ledger, keys)
    assert [row["rephraser_result"] == LONG for row in rows] == [True] * len(keys)


def test_what_is_in_memory_at_once_does_not_grow_with_the_number_of_the_jobs(
    ledger: Ledger,
) -> None:
    keys = keys_of(3_000)
    put(ledger, keys, rephraser_result="x" * 20_000)
    before = pa.total_allocated_bytes()
    rows = 0
    for part in ledger.outcomes(keys):
        assert pa.total_allocated_bytes() - before < 100 << 20
        assert part.nbytes < 40 << 20
        rows += part.num_rows
    assert rows == len(keys)


def test_missing_images_with_a_hundred_urls_each_are_found_all(ledger: Ledger) -> None:
    keys = keys_of(2_000)
    put(ledger, keys, output_urls=json.dumps(URLS), url_expires_at=1)
    found = list(ledger.missing_images([None, *keys]))
    assert [images.job_key for images in found] == keys
    assert all(images.urls == URLS for images in found)


# A PostgreSQL text can't hold NUL, and what a provider sends is stored without it.
TEXTS = (
    st.none()
    | st.sampled_from(
        [
            "",
            "'",
            "''",
            "NULL",
            "'NULL'",
            ",",
            "a,b",
            "\\",
            "\\'",
            '"',
            "%Q",
            "\n",
            "\r\n",
            "\ufeff",
            "\u2028é🐈",
        ]
    )
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
)
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1)
SMALL_INTEGERS = st.integers(0, 2**31 - 1)
FLOATS = st.none() | st.integers(-(10**15), 10**15).map(lambda number: number / 1000)
LISTS = st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])))
STORED = st.fixed_dictionaries(
    {
        "run_id": TEXTS.filter(lambda text: text is not None),
        "error_code": TEXTS,
        "error_message": TEXTS,
        "rephraser_result": TEXTS,
        "output_urls": LISTS.map(
            lambda urls: None if urls is None else json.dumps(urls)
        ),
        "url_expires_at": INTEGERS,
        "started_at": INTEGERS,
        "latency_ms": FLOATS,
        "cost": FLOATS,
        "currency": TEXTS,
        "effective_seed": INTEGERS,
        "attempts": SMALL_INTEGERS,
    }
)


@given(stored=st.lists(STORED, min_size=1, max_size=30))
@examples(25)
def test_a_look_up_returns_each_value_as_it_is_stored(
    ledger: Ledger, stored: Sequence[dict[str, Any]]
) -> None:
    keys = keys_of(len(stored))
    rows = [
        {"job_key": key, "state": "succeeded", **values}
        for key, values in zip(keys, stored, strict=True)
    ]
    with ledger.database.writing.begin() as connection:
        connection.execute(jobs.delete())
        connection.execute(insert(jobs), rows)
    columns = [jobs.c[name] for name in OUTCOME_COLUMNS]
    with ledger.database.reading.connect() as connection:
        single = [
            connection.execute(select(*columns).where(jobs.c.job_key == key)).one()
            for key in keys
        ]
    wanted = [
        {
            **row._asdict(),
            "output_urls": json.loads(row.output_urls or "null"),
        }
        for row in single
    ]
    assert looked_up(ledger, keys) == wanted
