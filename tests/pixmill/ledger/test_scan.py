"""One pass over the ledger says of every job what a look-up says of it."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, text

from pixmill.ledger import KnownStates, Ledger, State, scan
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.scan import Fingerprints
from pixmill.ledger.schema import jobs
from pixmill.planning.packed_keys import pack_keys
from tests.pixmill.ledger.conftest import IN_A_FILE

DEAD = "elsewhere|boot|1|1"


def key_of(number: int) -> str:
    return f"{(number * 0x9E3779B97F4A7C15) % (1 << 64):016x}{number:048x}"


def put(ledger: Ledger, rows: Sequence[dict[str, Any]]) -> None:
    with ledger.database.writing.begin() as connection:
        for row in rows:
            filled = {"run_id": "earlier", "attempts": 1, **row}
            connection.execute(insert(jobs), filled)


def every_standing() -> list[dict[str, Any]]:
    """A row for each combination of what a plan looks at."""
    looked_at = {
        "state": list(State),
        "transient": [0, 1],
        "runs": [0, 3],
        "images": [None, "[]"],
        "image_error": [None, "image_lost", "image_pending"],
        "again": [0, 1],
        "owner": [None, this_owner(), DEAD],
        "claim_task": [None, "task"],
    }
    choices: list[list[object]] = list(looked_at.values())  # type: ignore[arg-type]
    combinations = product(*choices)
    return [
        {
            "job_key": key_of(at),
            "lease_until": 1,
            **dict(zip(looked_at, values, strict=True)),
        }
        for at, values in enumerate(combinations)
    ]


def scanned(
    ledger: Ledger, keys: Sequence[str], **rules: Any
) -> tuple[KnownStates, list[bool]]:
    known, unsure = ledger.scan(**rules).known(
        Fingerprints.of(pack_keys(keys).tobytes())
    )
    return known, unsure.tolist()


@pytest.mark.parametrize("retry_doubt", [False, True])
@pytest.mark.parametrize("slice_of", [50_000, 100])
def test_a_scan_knows_of_every_job_what_a_look_up_knows(
    ledger: Ledger, retry_doubt: bool, slice_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_SLICE_ROWS", slice_of)
    monkeypatch.setattr(scan, "_SLICE_PAGES", max(1, slice_of // 100))
    rows = every_standing()
    put(ledger, rows)
    keys = [*(row["job_key"] for row in rows), *map(key_of, range(10_000, 10_050))]
    found, unsure = scanned(ledger, keys, max_runs=3, retry_doubt=retry_doubt)
    wanted = ledger.known(keys, max_runs=3, retry_doubt=retry_doubt)
    looked_up = [
        row["owner"] is not None
        # A task beside an outcome, and what only a person could have written.
        or (row["claim_task"] is not None) != (row["state"] == State.SUBMITTED)
        for row in rows
    ]
    assert unsure == [*looked_up, *[False] * 50]
    sure = np.flatnonzero(~np.array(unsure))
    assert [found.states[at] for at in sure] == [wanted.states[at] for at in sure]
    for name in ("missing", "lost", "again", "unattended"):
        assert (
            getattr(found, name)[sure].tolist() == getattr(wanted, name)[sure].tolist()
        )


@pytest.mark.parametrize("differs_at", [16, 17, 31, 32, 40, 63])
def test_a_job_whose_key_begins_like_that_of_another_is_looked_up(
    ledger: Ledger, differs_at: int
) -> None:
    paid = key_of(1)
    other = (
        paid[:differs_at]
        + ("0" if paid[differs_at] != "0" else "1")
        + paid[differs_at + 1 :]
    )
    put(ledger, [{"job_key": paid, "state": "succeeded"}])
    known, unsure = scanned(ledger, [paid, other], max_runs=3)
    assert (known.states, unsure) == ([State.SUCCEEDED, None], [False, True])
    put(ledger, [{"job_key": other, "state": "failed"}])
    assert scanned(ledger, [paid, other, key_of(2)], max_runs=3)[1] == [
        True,
        True,
        False,
    ]


def test_an_empty_ledger_and_what_is_no_key_are_passed_over(ledger: Ledger) -> None:
    assert scanned(ledger, [key_of(1)], max_runs=3)[0].states == [None]
    put(ledger, [{"job_key": "k", "state": "succeeded"}])
    known, unsure = scanned(ledger, [key_of(1)], max_runs=3)
    assert (known.states, unsure) == ([None], [False])


@IN_A_FILE
def test_outcomes_are_found_wherever_their_rows_were_said_to_be(ledger: Ledger) -> None:
    """A file that was compacted since the plan was made has other jobs in those places."""
    keys = [key_of(number) for number in range(300)]
    put(
        ledger,
        [{"job_key": key, "state": "succeeded", "request_id": key} for key in keys],
    )
    places = scanned(ledger, keys, max_runs=3)[0].places.tolist()
    for tried in (
        places,
        places[::-1],
        [0] * 300,
        [*places[:5], *[0] * 295],
        [9_999] * 300,
    ):
        [found] = ledger.outcomes(keys, tried)
        assert found["request_id"].to_pylist() == keys


@IN_A_FILE
def test_places_are_those_of_the_rows(ledger: Ledger) -> None:
    keys = [key_of(number) for number in range(20)]
    put(ledger, [{"job_key": key, "state": "succeeded"} for key in keys])
    with ledger.database.writing.begin() as connection:
        connection.execute(text("DELETE FROM jobs WHERE rowid % 3 = 1"))
        rows = connection.execute(text("SELECT job_key, rowid FROM jobs")).all()
    known, _ = scanned(ledger, keys, max_runs=3)
    at = dict(zip(keys, known.places.tolist(), strict=True))
    assert at == {**dict.fromkeys(keys, 0), **{row.job_key: row.rowid for row in rows}}
