"""Which jobs would be drawn with another seed than the image of their row that is published."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.loading import open_dataset, stream_own_columns
from pixmill.datasets.publishing import published_folder
from pixmill.errors import UserError
from pixmill.planning.jobs import Job

_COLUMNS = ("row_key", "point_id", "replicate", "seed")


def count_changed_seeds(config: Config, jobs: Iterable[Job]) -> int:
    """Return how many of `jobs` have another seed than the published one of the same row key, point and replicate.

    0 where rows have no keys of their own, or nothing is published that can be read.
    """
    if not config.input.row_key:
        return 0
    seeds = {(job.row_key, job.point_id, job.replicate): job.seed for job in jobs}
    keys = pa.array({row_key for row_key, _, _ in seeds}, pa.string())
    changed = 0
    try:
        with open_dataset(published_folder(config) / DATASET) as dataset:
            for rows in stream_own_columns(dataset, _COLUMNS):
                for row in rows.filter(pc.is_in(rows["row_key"], keys)).to_pylist():
                    known = seeds.get(
                        (row["row_key"], row["point_id"], row["replicate"])
                    )
                    # An invalid row has none, and neither has an operation without seeds.
                    if None not in (known, row["seed"]):
                        changed += known != row["seed"]
    except UserError:
        return 0
    return changed
