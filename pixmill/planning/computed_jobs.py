"""The job keys that the plan computed, and the numbers in them, kept for the passes over the table that come after it.

They take two thirds of the time that it takes to expand a batch. In memory, a million jobs would be 36 MB for as long
as the plan lives, so they are in a file.
"""

import os
import tempfile
import weakref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.planning.packed_keys import KEY_BYTES, unpack_keys

_JOB = np.dtype([("key", np.uint8, (KEY_BYTES,)), ("number", "<i4")])


class ComputedJobs(NamedTuple):
    """The keys of consecutive positions, also of those that no job is made of."""

    keys: list[str]
    numbers: list[int]
    """As in `JobBatch`: seeds, or the replicates of variants without one."""
    are_valid: bool = False
    """Whether the plan has found nothing wrong with the rows, so that nobody has to look again."""


class ComputedJobsFile:
    """Holds the computed jobs of a table by position, in a file without a name: nothing is left of it, however
    the process ends.

    Raises OSError where the file can't be made or written.
    """

    def __init__(self) -> None:
        # Unbuffered, as `read` goes past any buffer; open for as long as this object lives.
        self._file = tempfile.TemporaryFile(prefix="pixmill-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def append(
        self,
        keys: NDArray[np.uint8],
        numbers: list[int],
    ) -> None:
        """Add the jobs of the next batch: `keys` [position, byte] and the number in each."""
        jobs = np.empty(len(numbers), _JOB)
        jobs["key"] = keys
        jobs["number"] = numbers
        data = jobs.tobytes()
        # An unbuffered write may take only a part, where a disk is nearly full.
        while data:
            data = data[self._file.write(data) :]

    def read(
        self,
        start: int,
        count: int,
    ) -> ComputedJobs:
        """Return `count` jobs from position `start` on. Any number of threads may read at once."""
        jobs = self._read_jobs(start, count)
        keys = [key or "" for key in unpack_keys(jobs["key"])]
        return ComputedJobs(keys, jobs["number"].tolist())

    def read_keys(self, start: int, count: int) -> NDArray[np.uint8]:
        """Return the keys [position, byte] of `count` jobs from position `start` on."""
        return self._read_jobs(start, count)["key"]

    def _read_jobs(self, start: int, count: int) -> NDArray[np.void]:
        size = _JOB.itemsize
        data = os.pread(self._file.fileno(), count * size, start * size)
        return np.frombuffer(data, _JOB, count)
