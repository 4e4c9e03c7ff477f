"""What the ledgers of a store say of its datasets: their last runs, how far one is, what was spent."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pixmill.config.model import Config
from pixmill.errors import PixmillError
from pixmill.execution.status import PastRun, past_run
from pixmill.ledger import Ledger, open_ledger, queries
from pixmill.ledger.billing.bill import ALL, Bill, make_bill, month_period
from pixmill.text import describe_range
from pixmill.view.run_progress import NOT_BEGUN, RunProgress
from pixmill.view.stored_datasets import StoredDataset

SHOWN_RUNS = 3


class _KnownBill(NamedTuple):
    """What was spent up to a call."""

    newest_call: int
    bill: Bill


class StoreLedgers:
    """Reads the ledgers of a store, which stay open. From any number of threads."""

    def __init__(self) -> None:
        # Held for moments only: every request needs it, and a bill may take seconds. Two requests
        # may add one up twice.
        self._lock = threading.Lock()
        self._open: dict[Path | str, Ledger] = {}
        self._progress: dict[str, RunProgress] = {}
        self._bills: dict[Path | str, _KnownBill] = {}

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            for ledger in self._open.values():
                ledger.close()
            self._open.clear()

    def open(self, config: Config) -> Ledger:
        """Return the ledger of a config, open for reading. Raises PixmillError where there is none."""
        address = config.ledger_address
        # Kept open: a page that is followed asks every second.
        with self._lock:
            ledger = self._open.get(address)
            if ledger is None:
                ledger = open_ledger(address, read_only=True)
                if ledger is None:
                    raise PixmillError(f"there is no ledger at {address}")
                self._open[address] = ledger
            return ledger

    def last_runs(self, dataset: StoredDataset) -> list[PastRun]:
        """Return the last runs of a dataset, the newest first; none where its ledger can't be read."""
        with suppress(PixmillError):
            ledger = self.open(dataset.config)
            rows = ledger.read(
                queries.last_runs,
                dataset.config.name,
                SHOWN_RUNS,
            )
            return [past_run(row, ledger) for row in rows]
        return []

    def run_under_way(
        self, dataset: StoredDataset, last_runs: Sequence[PastRun] | None = None
    ) -> PastRun | None:
        """Return the run that is at work on a dataset and has said what it is to make.

        `last_runs` are those of the dataset, where they are known already.
        """
        runs = self.last_runs(dataset) if last_runs is None else last_runs
        if not runs or not runs[0].alive:
            return None
        # It runs elsewhere, or by an earlier version: nobody here knows its config.
        if dataset.running.get("run_id") != runs[0].run_id:
            return None
        return runs[0]

    def progress_of(
        self,
        dataset: StoredDataset,
        run: PastRun,
    ) -> RunProgress:
        """Return how far a run is. Raises PixmillError where its ledger can't be read."""
        known = self._progress.get(run.run_id, NOT_BEGUN)
        # What is known stays as it is, so that two readers do not add the same calls twice.
        new = known.read_on(self.open(dataset.config), run.run_id)
        with self._lock:
            self._progress[run.run_id] = new
        return new

    def spent_on(self, dataset: StoredDataset) -> str:
        """Return in words what was ever spent on a dataset, nothing of a simulated one."""
        config = dataset.config
        if config.simulated:
            return ""
        with suppress(PixmillError):
            bill = self._bill_of(config)
            parts = [
                describe_range(line.least, line.most, line.currency)
                for line in bill.lines
                if line.group == (config.name,)
            ]
            return " + ".join(parts) or "nothing"
        return "unknown"

    def _bill_of(self, config: Config) -> Bill:
        """Return what was spent by config; it is added up anew when calls have ended since."""
        ledger = self.open(config)
        newest = ledger.read(queries.newest_call)
        known = self._bills.get(config.ledger_address)
        if known is None or known.newest_call != newest:
            zone = ZoneInfo(config.budget.timezone)
            period = month_period(ALL, zone, datetime.now(UTC))
            known = _KnownBill(
                newest,
                make_bill(ledger, period, ("config",)),
            )
            with self._lock:
                self._bills[config.ledger_address] = known
        return known.bill
