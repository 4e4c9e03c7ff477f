"""What the ledger knows of the jobs of a table: asked for batch by batch, or read for all of the ledger at once."""

from collections.abc import Sequence

import numpy as np

from pixmill.config.model import Config
from pixmill.ledger import KnownStates, Ledger
from pixmill.ledger.scan import Fingerprints, Scan
from pixmill.planning.duplicates import key_bytes
from pixmill.planning.jobs import JobBatch
from pixmill.tables import InputTable

_SCAN_GAIN = 4
"""A job that is searched for takes longer than this many that are read in a row."""


class KnownJobs:
    """Says what is known of batches of jobs, in the quicker of two ways.

    The first batch decides: by the size of its rows it is estimated how many the table has, and a scan reads every job
    of the ledger, whoever asked for it.
    """

    def __init__(self, ledger: Ledger, table: InputTable, config: Config) -> None:
        self._ledger = ledger
        self._table = table
        self._max_runs = config.retry.max_runs
        self._retry_doubt = config.in_doubt == "retry"
        self._scan: Scan | None = None
        self._decided = False

    def known(self, jobs: JobBatch) -> KnownStates:
        """Return what is known of the jobs of a batch, by position. Raises LedgerError."""
        if not self._decided:
            self._decided = True
            if self._ledger.number_of_jobs() <= _SCAN_GAIN * self._expected(jobs):
                self._scan = self._ledger.scan(
                    max_runs=self._max_runs, retry_doubt=self._retry_doubt
                )
        if self._scan is None:
            return self._searched(jobs.keys)
        known, unsure = self._scan.known(Fingerprints.of(key_bytes(jobs.keys)))
        at = [
            position
            for position in np.flatnonzero(unsure).tolist()
            if jobs.keys[position]
        ]
        if at:
            exact = self._searched([jobs.keys[position] for position in at])
            for position, state in zip(at, exact.states, strict=True):
                known.states[position] = state
            known.missing[at] = exact.missing
            known.lost[at] = exact.lost
            known.again[at] = exact.again
            known.places[at] = exact.places
        return known

    def _searched(self, keys: Sequence[str | None]) -> KnownStates:
        return self._ledger.known(
            keys, max_runs=self._max_runs, retry_doubt=self._retry_doubt
        )

    def _expected(self, jobs: JobBatch) -> float:
        """About how many jobs the table asks for, from what its files and the rows of a batch take."""
        stored = sum(file.stat().st_size for file in self._table.files)
        taken: int = jobs.rows.rows.nbytes
        return max(len(jobs.keys), stored / max(1, taken) * len(jobs.keys))
