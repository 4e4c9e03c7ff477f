"""The scores of the check `duplicate`: they are about an image beside all others of its dataset."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.datasets.published_outcomes import PublishedOutcomes
from pixmill.ledger import Ledger
from pixmill.ledger.scores import read_signatures
from pixmill.planning.packed_keys import key_prefixes, unpack_keys
from pixmill.planning.plan import BATCH_JOBS, Plan
from pixmill.quality.image_scorers import check_scorer
from pixmill.quality.ledger_scores import FoundScores
from pixmill.quality.score_columns import ScoreTable, first_image_hashes

_JOBS_AT_ONCE = 16 * BATCH_JOBS
"""Few of them have changed, and those of one batch would be too few for a query."""


class DuplicateScores:
    """Compares the first images of all jobs of `plan` with each other, once somebody asks."""

    by_input = False

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self._plan = plan
        self._ledger = ledger
        self._table: ScoreTable | None = None

    def find(self, images: pa.Array, inputs: pa.Array) -> FoundScores:
        """Return what is known of `images`, by their SHA-256. Raises LedgerError, and UserError where what it
        takes can't be found."""
        if images.null_count == len(images):
            # Rows that are invalid or have failed, mostly: no reason to compare all others.
            return FoundScores(pa.nulls(len(images), pa.float64()), images.is_valid())
        if self._table is None:
            self._table = self._compare()
        return self._table.find(images, inputs)

    def _compare(self) -> ScoreTable:
        # Pillow is not for runs that ask for no such thing.
        from pixmill.quality.duplicates import SIGNATURE_BYTES, score_duplicates

        signatures = self._ledger.read(read_signatures, check_scorer("duplicate"))
        hashes = []
        in_dataset = mark_jobs(self._plan)
        start = 0
        for jobs in self._plan.batches():
            here = in_dataset[start : start + len(jobs.keys)]
            start += len(jobs.keys)
            keys = [jobs.keys[at] for at in np.flatnonzero(here).tolist()]
            if not keys:
                continue
            for outcomes in self._ledger.outcomes(keys):
                images = first_image_hashes(outcomes).to_pylist()
                hashes += [sha256 for sha256 in images if sha256 in signatures]
        joined = b"".join(signatures[sha256] for sha256 in hashes)
        table = np.frombuffer(joined, np.uint8).reshape(-1, SIGNATURE_BYTES)
        # Of two jobs with one and the same image each has a duplicate.
        scores = score_duplicates(table)
        return ScoreTable(pa.array(hashes, pa.string()), pa.array(scores))


def mark_jobs(plan: Plan) -> NDArray[np.bool_]:
    """Mark [position] the jobs of the dataset of `plan`, each once."""
    if plan.candidates:
        return plan.first & plan.candidates.kept
    return plan.first


def has_same_images(plan: Plan, ledger: Ledger, published: PublishedOutcomes) -> bool:
    """Whether the dataset of `plan` has the jobs of the published one, and each of them the same first image,
    which was compared with the others.

    Raises LedgerError, and OSError or ArrowException where the published one can't be read.
    """
    if plan.computed is None:
        return False
    marked = mark_jobs(plan)
    starts = range(0, len(marked), _JOBS_AT_ONCE)
    prefixes = [np.zeros(0, np.uint64)]
    for start in starts:
        here = marked[start : start + _JOBS_AT_ONCE]
        prefixes.append(key_prefixes(plan.computed.read_keys(start, len(here))[here]))
    # Before any image is looked at: a row that is new is the most frequent reason.
    if not np.array_equal(np.unique(np.concatenate(prefixes)), published.jobs):
        return False
    for start in starts:
        here = marked[start : start + _JOBS_AT_ONCE]
        keys = plan.computed.read_keys(start, len(here))[here]
        changed = keys[~published.are_scored(keys)]
        if len(changed) > BATCH_JOBS:
            # To look at so many takes as long as to compare them.
            return False
        if len(changed):
            outcomes = ledger.outcomes(unpack_keys(changed))
            now = pa.concat_arrays([first_image_hashes(part) for part in outcomes])
            if not now.equals(published.compared_images(changed)):
                return False
    return True
