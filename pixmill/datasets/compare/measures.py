"""One side in figures: jobs by outcome, images, cost per usable image, latency."""

from decimal import Decimal
from typing import NamedTuple, Self

import numpy as np

from pixmill.datasets.compare.columns import Floats, Jobs
from pixmill.ledger.records import OUTCOMES
from pixmill.text import money


class Measures(NamedTuple):
    """The figures of one side."""

    rows: int
    jobs: int

    statuses: dict[str, int]
    """How many jobs have each status that there is."""

    images: int
    """Distinct usable images: equal rows share one."""

    cost: float | None
    """None where the price of an image is not known."""

    cost_per_image: float | None
    currency: str | None

    latency_median_ms: float | None
    """Of the calls that were answered."""

    latency_p95_ms: float | None

    simulated: bool
    """Whether the simulator alone answered, whom nobody pays."""

    def describe_cost(self, cost: float | None) -> str:
        """Say one of its costs: `0.40 CNY`."""
        if cost is not None:
            return money(cost, self.currency)
        return "simulated" if self.simulated else "unknown"

    def compare_cost(self, other: Self) -> str:
        """Say how the cost of an image compares with that of `other`, as the end of a sentence; empty where it
        can't be compared."""
        if self.cost_per_image is None or other.cost_per_image is None:
            return ""
        if self.currency != other.currency:
            return ""
        change = self.cost_per_image - other.cost_per_image
        # Sums of floats: equal prices differ in the last digits.
        if abs(change) <= 1e-9 * other.cost_per_image:
            return " at the same cost per usable image"
        difference = money(abs(change), self.currency)
        more = "more" if change > 0 else "less"
        return f" for {difference} {more} per usable image"


def measure(jobs: Jobs) -> Measures:
    """Sum up one side."""
    images = len(np.unique(jobs.job_key[jobs.usable]))
    is_priced = ~np.isnan(jobs.cost)
    has_succeeded = jobs.status == OUTCOMES.index("succeeded")
    # By job key: only the first row of one has its cost.
    priced = jobs.job_key[has_succeeded & is_priced]
    unpriced = np.setdiff1d(jobs.job_key[has_succeeded], priced)
    # Unknown where an image came at an unknown price.
    cost = None
    if not len(unpriced) and is_priced.any():
        # A cost is the shortest text of a decimal: added up as such, ten times 0.1 are 1.
        amounts, counts = np.unique(jobs.cost[is_priced], return_counts=True)
        pairs = zip(amounts.tolist(), counts.tolist(), strict=True)
        cost = float(sum(Decimal(repr(amount)) * count for amount, count in pairs))
    statuses = {}
    for at, name in enumerate(OUTCOMES):
        count = int((jobs.status == at).sum())
        if count:
            statuses[name] = count
    return Measures(
        rows=len(np.unique(jobs.row)),
        jobs=len(jobs.row),
        statuses=statuses,
        images=images,
        cost=cost,
        cost_per_image=cost / images if cost is not None and images else None,
        currency=jobs.currency,
        latency_median_ms=quantile(jobs.latency_ms, 0.5),
        latency_p95_ms=quantile(jobs.latency_ms, 0.95),
        simulated=jobs.providers == {"simulator"},
    )


def quantile(
    values: Floats,
    share: float,
) -> float | None:
    """Return a quantile of the values that are not NaN, None where all are."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, share)) if len(known) else None
