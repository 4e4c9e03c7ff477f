"""Which images stand for a dataset on the page of its store, by their names there."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.datasets.schema import our_columns
from pixmill.ledger import Ledger, queries

_LOOKED_AT_CALLS = 50
"""The last calls of a run among which images are looked for: those of the very last are being fetched."""


def published_images(file: Path, most: int) -> list[str]:
    """Return up to `most` images from the beginning of a dataset's file, none where it can't be read."""
    try:
        with pq.ParquetFile(file) as dataset:
            if not dataset.num_row_groups:
                return []
            name = our_columns(dataset.schema_arrow)["file_name"]
            names = dataset.read_row_group(0, columns=[name])[name].drop_null()
    except (OSError, KeyError, pa.ArrowException):
        return []
    # Evenly over them, as the first of a sweep are all of one row.
    step = max(1, len(names) // most)
    return [names[at].as_py() for at in range(0, len(names), step)][:most]


def newest_images(
    ledger: Ledger,
    run_id: str,
    most: int,
) -> list[str]:
    """Return up to `most` images that a run has just made, the newest first."""
    texts = ledger.read(
        queries.newest_images,
        run_id,
        _LOOKED_AT_CALLS,
    )
    # Of several images of a job the first speaks for it.
    return [json.loads(text)[0]["file_name"] for text in texts[:most]]
