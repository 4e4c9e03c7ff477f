"""How far a run that is under way is, by the calls that its ledger has."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from pixmill.execution.progress import Outcome
from pixmill.execution.status import PastRun
from pixmill.ledger import Ledger, queries
from pixmill.text import counted, duration, in_words, money
from pixmill.view.stored_datasets import StoredDataset

_PROBLEMS = (Outcome.REFUSED, Outcome.FAILED, Outcome.IN_DOUBT)


class RunProgress(NamedTuple):
    """How far a run is."""

    last_attempt: int
    """The ledger's id of the newest call that is counted."""

    counts: Counter[str]
    """Calls by their verdict, of which those that end a job are called as an `Outcome` is."""

    cost: Decimal
    """What is known to be charged."""

    def read_on(
        self,
        ledger: Ledger,
        run_id: str,
    ) -> "RunProgress":
        """Return the progress with the calls that have ended since."""
        # Only those: the calls of a long run are many, and this is asked every second.
        new = ledger.read(
            queries.calls_after,
            run_id,
            self.last_attempt,
        )
        return RunProgress(
            last_attempt=max(self.last_attempt, new.last),
            counts=self.counts + Counter(new.verdicts),
            cost=self.cost + new.cost,
        )

    def share_done(self, dataset: StoredDataset) -> float:
        """Return how much of the run of a dataset is done, 0 to 1."""
        to_pay = _count_to_pay(dataset)
        done = sum(self.counts[outcome] for outcome in (Outcome.SUCCEEDED, *_PROBLEMS))
        return min(1.0, done / to_pay) if to_pay else 1.0

    def describe(
        self,
        dataset: StoredDataset,
        run: PastRun,
    ) -> str:
        """Return the progress in one line: `120 of 800 made · 2 refused · 24.00 CNY · 3 min`."""
        of_all = counted(_count_to_pay(dataset), "job")
        parts = [f"{self.counts[Outcome.SUCCEEDED]:,} of {of_all} made"]
        parts += [
            f"{self.counts[outcome]:,} {in_words(outcome)}"
            for outcome in _PROBLEMS
            if self.counts[outcome]
        ]
        budget = dataset.config.budget
        if not dataset.config.simulated and budget.highest_price is not None:
            parts.append(money(self.cost, budget.currency))
        parts.append(duration((datetime.now(UTC) - run.started_at).total_seconds()))
        return " · ".join(parts)


NOT_BEGUN = RunProgress(
    last_attempt=0,
    counts=Counter(),
    cost=Decimal(0),
)


def _count_to_pay(dataset: StoredDataset) -> int:
    return int(dataset.running.get("to_pay", 0))
