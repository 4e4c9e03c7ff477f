"""What the ledger knows of a batch, asked for in a thread beside the one that reads the table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.ledger import KnownStates
from pixmill.ledger.input_images import InputImage
from pixmill.planning.candidates import CandidateJudge, Judged
from pixmill.planning.input_identity import bad_images
from pixmill.planning.jobs import RowImages
from pixmill.planning.known_jobs import KnownJobs
from pixmill.planning.packed_keys import unpack_keys
from pixmill.planning.plan import Selection
from pixmill.planning.row_checks import RowProblem
from pixmill.request.operations.operation import InputImages


class BatchSummary(NamedTuple):
    """What is left of a batch until it is looked up: a few bytes a job."""

    first_row: int
    keys: NDArray[np.uint8]
    """[position, byte]: zeros where no job is."""
    in_dataset: NDArray[np.bool_]
    """[row, variant]: `JobBatch.in_dataset`, before anything is known of candidates."""
    invalid: list[int]
    """The rows with problems."""
    images: RowImages | None
    """Where they are looked at."""


class BatchLookup(NamedTuple):
    """What is known of a batch."""

    known: KnownStates | None
    """What the ledger knows of its keys, by position; `None` where it knows no job at all."""
    bad_images: Mapping[int, RowProblem]
    """By row, what is known to be wrong with its input images."""
    asked: Mapping[int, int]
    """By position, the jobs that a person asks for once more, with the calls made for each so far."""
    judged: Judged | None = None
    """What is known of candidates, where a ledger knows any job and the config has candidates."""

    def mark_again(
        self,
        shape: tuple[int, ...],
        asked: Iterable[int],
    ) -> NDArray[np.bool_]:
        """Mark [row, variant], of the `shape` of a batch, what is to be paid for whatever its outcome is.

        `asked` are the positions of those among `self.asked` that count.
        """
        again = np.zeros(shape, np.bool_)
        if self.known:
            again = self.known.again.reshape(shape).copy()
        again.flat[list(asked)] = True
        # A row with bad images would become invalid, and its outcomes would be lost to the dataset.
        again[list(self.bad_images)] = False
        return again


class LedgerLookup:
    """Asks the ledger what it knows of a batch."""

    def __init__(
        self,
        known_jobs: KnownJobs | None,
        image_columns: Sequence[str],
        image_limits: Sequence[InputImages],
        bad_inputs: Callable[[Sequence[str]], Mapping[str, InputImage]] | None,
        selection: Selection | None,
        judge: CandidateJudge | None,
    ) -> None:
        self._known_jobs = known_jobs
        self._image_columns = image_columns
        self._image_limits = image_limits
        self._bad_inputs = bad_inputs
        self._selection = selection
        self._judge = judge

    def look_up(self, batch: BatchSummary) -> BatchLookup:
        """Return what is known of `batch`. Raises LedgerError."""
        # Each is asked only where an answer can matter: most configs ask the first question only.
        known = None
        judged = None
        bad: Mapping[int, RowProblem] = {}
        asked: Mapping[int, int] = {}
        if self._known_jobs:
            known = self._known_jobs.known(batch.keys)
            if self._selection:
                asked = self._selection(unpack_keys(batch.keys))
            if self._judge:
                judged = self._judge.judge(batch.keys, known, batch.images)
        if batch.images and self._bad_inputs:
            bad = bad_images(
                batch.images,
                self._image_columns,
                self._bad_inputs,
                self._image_limits,
            )
        return BatchLookup(known, bad, asked, judged)
