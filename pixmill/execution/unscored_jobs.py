"""Which jobs of a plan have images that lack a score."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.datasets.dataset_files import DATASET
from pixmill.datasets.published_outcomes import open_published, origin_of
from pixmill.datasets.publishing import last_manifest
from pixmill.ledger import Ledger
from pixmill.planning.packed_keys import unpack_keys
from pixmill.planning.plan import BATCH_JOBS, Plan
from pixmill.quality.scored_images import open_scored_images

_JOBS_AT_ONCE = 16 * BATCH_JOBS
"""Few of them are left to be looked up, and those of one batch would be too few for a query."""


class LackingScores(NamedTuple):
    """Of a number of jobs, those whose images lack a score."""

    at: NDArray[np.intp]
    """Which ones."""
    outcomes: pa.Table
    """What the ledger knows of each of them."""


class UnscoredJobs:
    """Finds the jobs of `plan` whose images lack a score, by what the ledger and the published dataset have.

    Raises LedgerError, and UserError where a scorer can't be found.
    """

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        config = plan.config
        self._plan = plan
        self._ledger = ledger
        self._scored = open_scored_images(config.quality, ledger)
        self._published = open_published(
            config.dataset_folder / DATASET,
            last_manifest(config),
            origin_of(config, ledger),
            ledger,
        )

    def mark(self) -> NDArray[np.bool_]:
        """Mark [position] the first jobs of their keys whose images may lack a score, without a pass over the
        table where that can be."""
        plan = self._plan
        config = plan.config
        marked = plan.first.copy()
        # What a picture is compared with may have come since, and only its row says whether it has.
        has_inputs = (
            "unchanged" in config.quality.checks and config.input.images == "keep"
        )
        if plan.computed is None or has_inputs:
            return marked
        for start in range(0, len(marked), _JOBS_AT_ONCE):
            part = marked[start : start + _JOBS_AT_ONCE]
            keys = plan.computed.read_keys(start, len(part))
            if self._published:
                np.logical_and(part, ~self._published.are_scored(keys), out=part)
            positions = np.flatnonzero(part)
            part[:] = False
            for begin in range(0, len(positions), BATCH_JOBS):
                here = positions[begin : begin + BATCH_JOBS]
                no_inputs = pa.nulls(len(here), pa.string())
                for lacking in self.find(unpack_keys(keys[here]), no_inputs):
                    part[here[lacking.at]] = True
        return marked

    def find(
        self, keys: Sequence[str | None], inputs: pa.Array
    ) -> Iterator[LackingScores]:
        """Yield those of the jobs with these `keys` whose images lack a score; `inputs` are the SHA-256 of their
        first input images."""
        if not keys:
            return
        outcomes = (
            self._published.outcomes(self._ledger, keys, [])
            if self._published
            else self._ledger.outcomes(keys)
        )
        start = 0
        for known in outcomes:
            of_part = inputs.slice(start, known.num_rows)
            lacks = self._scored.unscored_jobs(known["images"], of_part)
            yield LackingScores(start + np.flatnonzero(lacks), known.filter(lacks))
            start += known.num_rows
