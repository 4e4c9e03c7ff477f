"""Publishing answers that are too long to be in memory for a whole batch of rows."""

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.ledger import bulk_lookup as lookups
from tests.conftest import Project, run_config
from tests.pixmill.datasets.publishing import edit_ledger


def test_a_batch_that_is_published_in_parts_is_the_dataset_that_it_is_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = project.rows(12)
    rows[4]["photo"] = "no URL"
    project.write_rows([*rows, rows[2]])
    path = project.write_config(
        output={"images": "url"},
        input={"max_invalid": 1},
        sweep={"groups": [{"grid": {"scale": [2, 3]}}]},
    )
    run_config(path)
    config = load_config(path)
    edit_ledger(
        config,
        "UPDATE jobs SET rephraser_result = ? WHERE rowid % 3 = 0",
        "long " * 400,
    )
    at_once = run_config(path)
    dataset = pq.ParquetFile(at_once["dataset"])
    assert dataset.metadata.num_row_groups == 1
    whole = dataset.read()
    monkeypatch.setattr(lookups, "_LONG_BYTES", 1_500)
    monkeypatch.setattr(lookups, "_TEXT_BYTES", 5_000)
    monkeypatch.setattr(lookups, "_TABLE_BYTES", 5_000)
    edit_ledger(config, "UPDATE jobs SET error_message = 'a new version'")
    in_parts = run_config(path)
    dataset = pq.ParquetFile(in_parts["dataset"])
    assert dataset.metadata.num_row_groups > 2
    assert dataset.read().equals(whole)
    counted = ("rows", "jobs", "succeeded", "cached", "invalid", "images_missing")
    assert [in_parts[name] for name in counted] == [at_once[name] for name in counted]
    assert at_once["invalid"] == 1
