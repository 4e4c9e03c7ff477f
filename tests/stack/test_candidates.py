"""Candidates whose ledger is in PostgreSQL and whose store is a bucket: as with files."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.dataset_files import CANDIDATES, DATASET
from pixmill.datasets.refused_dataset import accept_refused
from pixmill.datasets.verification import verify
from pixmill.execution.picks import record_picks
from pixmill.ledger import open_ledger
from tests.bucket import Bucket, bucket, cloud, moto_url, proxy
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.candidates import DRAWN, UNTIL, blank_pictures, summarize

__all__ = ["bucket", "cloud", "moto_url", "proxy"]

pytest.importorskip("boto3")
pytestmark = pytest.mark.stack

ROWS = 4
KEPT = [0, 1, 0, 0]
"""The candidates that the dataset has."""


class Shop(NamedTuple):
    """A project with candidates whose ledger is in PostgreSQL and whose store is a bucket."""

    project: Project
    simulated: Simulated


@pytest.fixture
def shop(
    project: Project, bucket: Bucket, database_url: str, tmp_path: Path
) -> Iterator[Shop]:
    """Four rows: the first picture of one is blank, and every picture of another."""
    with blank_pictures(tmp_path) as simulated:
        project.write_rows(project.rows(ROWS))
        project.use_simulator(simulated)
        project.write_config(
            store=bucket.url("team"),
            ledger=database_url,
            input={"row_key": ["id"]},
            quality={"checks": ["blank"], "until": UNTIL},
        )
        yield Shop(project, simulated)


def candidates(bucket: Bucket, folder: str = "pets") -> list[dict[str, Any]]:
    """Return the rows of the bucket's list of candidates."""
    data = bucket.get(f"team/{folder}/{CANDIDATES}")
    return pq.read_table(BytesIO(data)).to_pylist()  # type: ignore[no-any-return]


def published(bucket: Bucket, name: str) -> list[Any]:
    data = bucket.get(f"team/pets/{DATASET}")
    return pq.read_table(BytesIO(data))[name].to_pylist()  # type: ignore[no-any-return]


def forget_copies(project: Project) -> None:
    """Go on as another machine does, which has nothing of the bucket."""
    shutil.rmtree(load_config(project.path).store_path)


def test_candidates_are_listed_in_the_bucket_and_a_rerun_elsewhere_draws_none(
    shop: Shop, bucket: Bucket
) -> None:
    first = run_config(shop.project.path)
    assert (first["exit_code"], first["calls"]) == (0, 7)
    counts = {"pictures": 4, "accepted": 3, "not_accepted": 1, "drawn": 7}
    assert first["candidates"] == counts
    assert published(bucket, "candidate") == KEPT
    assert summarize(candidates(bucket)) == DRAWN
    # Rejected pictures are in the store as well.
    files = {f"team/{row['file_name']}" for row in candidates(bucket)}
    assert {*bucket.keys("team/images/")} == files
    listed = bucket.get(f"team/pets/{CANDIDATES}")
    forget_copies(shop.project)
    again = run_config(shop.project.path)
    assert (again["calls"], shop.simulated.bill.charged) == (0, 7)
    assert again["candidates"] == counts
    assert bucket.get(f"team/pets/{CANDIDATES}") == listed
    assert verify(load_config(shop.project.path)).findings == []


def test_a_run_that_was_cut_short_goes_on_on_another_machine(
    shop: Shop, bucket: Bucket
) -> None:
    assert run_config(shop.project.path, limit=2)["calls"] == 2
    assert [row["candidate"] for row in candidates(bucket)] == [0, 0]
    forget_copies(shop.project)
    assert run_config(shop.project.path, limit=3)["calls"] == 3
    forget_copies(shop.project)
    last = run_config(shop.project.path)
    assert (last["calls"], shop.simulated.bill.charged) == (2, 7)
    assert published(bucket, "candidate") == KEPT
    assert published(bucket, "accepted") == [True, True, False, True]


def test_a_person_rejects_candidates_of_a_bucket(shop: Shop, bucket: Bucket) -> None:
    run_config(shop.project.path)
    forget_copies(shop.project)
    picks = shop.project.folder / "picks.csv"
    picks.write_text("row_key,candidate,pick\nr0,0,reject\nr1,1,reject\n")
    config = load_config(shop.project.path)
    ledger = open_ledger(config.ledger_address)
    assert ledger
    with closing(ledger):
        assert record_picks(config, ledger, str(picks)) == (2, 0)
    second = run_config(shop.project.path)
    assert (second["calls"], published(bucket, "candidate")) == (2, [1, 2, 0, 0])
    reasons = [row["reason"] for row in candidates(bucket)]
    assert reasons.count("rejected by a person") == 2


def test_candidates_of_a_refused_dataset_wait_beside_it_in_the_bucket(
    shop: Shop, bucket: Bucket
) -> None:
    shop.project.write_config(quality={"gate": ["share(accepted) == 1"]})
    assert run_config(shop.project.path)["exit_code"] == 7
    assert f"team/pets/{CANDIDATES}" not in bucket.keys("team/pets/")
    assert len(candidates(bucket, "pets/refused")) == 7
    forget_copies(shop.project)
    accept_refused(load_config(shop.project.path))
    assert len(candidates(bucket)) == 7
    assert not bucket.keys("team/pets/refused/")
    # Of a config that has no candidates any more, the list would be about another dataset.
    shop.project.write_config(quality={"until": None, "gate": []})
    run_config(shop.project.path)
    assert f"team/pets/{CANDIDATES}" not in bucket.keys("team/pets/")
