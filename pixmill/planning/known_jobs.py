"""What the ledger knows of the jobs of a table: asked for batch by batch, or read for all of the ledger at once."""

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import KnownStates, Ledger
from pixmill.ledger.scan import Fingerprints, Scan, number_of_jobs
from pixmill.planning.jobs import JobBatch
from pixmill.planning.packed_keys import unpack_keys
from pixmill.tables import InputTable

_SCAN_GAIN = 4
"""A job that is searched for takes longer than this many that are read in a row."""


class KnownJobs:
    """Says what is known of jobs, in the quicker of two ways.

    A scan reads every job of the ledger, whoever asked for it; so it is for tables that ask for many of them.
    """

    def __init__(
        self,
        ledger: Ledger,
        config: Config,
    ) -> None:
        self._ledger = ledger
        self._expected = 0.0
        self._max_runs = config.retry.max_runs
        self._retry_doubt = config.in_doubt == "retry"
        self._scan: Scan | None = None
        self._is_decided = False

    def expect(
        self,
        table: InputTable,
        jobs: JobBatch,
    ) -> None:
        """Estimate from its first batch of `jobs`, and what its files and the rows take, how many `table` asks for."""
        # Of compressed files it is too few, so that some are searched where a scan would be quicker.
        if not self._expected:
            stored = sum(file.stat().st_size for file in table.files)
            rows: int = jobs.rows.rows.nbytes
            self._expected = max(1, stored / max(1, rows)) * len(jobs.keys)

    def known(self, keys: NDArray[np.uint8]) -> KnownStates:
        """Return what is known of `keys` [position, byte]. Raises LedgerError.

        The first call scans, where that is the quicker way.
        """
        if not self._is_decided:
            self._is_decided = True
            if self._ledger.read(number_of_jobs) <= _SCAN_GAIN * self._expected:
                self._scan = self._ledger.scan(
                    max_runs=self._max_runs, retry_doubt=self._retry_doubt
                )
        if self._scan is None:
            return self._search(keys)
        known, unsure = self._scan.known(Fingerprints.of(keys.tobytes()))
        # Claims that may have ended meanwhile, and keys that begin like another one.
        at = np.flatnonzero(unsure & keys.any(axis=1))
        if len(at):
            exact = self._search(keys[at])
            for position, state in zip(at.tolist(), exact.states, strict=True):
                known.states[position] = state
            known.missing[at] = exact.missing
            known.nowhere[at] = exact.nowhere
            known.lost[at] = exact.lost
            known.again[at] = exact.again
            known.places[at] = exact.places
            known.unattended[at] = exact.unattended
        return known

    def _search(self, keys: NDArray[np.uint8]) -> KnownStates:
        return self._ledger.known(
            unpack_keys(keys), max_runs=self._max_runs, retry_doubt=self._retry_doubt
        )
