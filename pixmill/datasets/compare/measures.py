"""One side in figures: jobs by outcome, images, cost per usable image, latency."""

from typing import NamedTuple

import numpy as np

from pixmill.datasets.compare.columns import Floats, Jobs
from pixmill.ledger.records import OUTCOMES


class Measures(NamedTuple):
    """The figures of one side.

    `images` counts distinct usable images: equal rows share one. `cost` is `None` where the price of an image is not
    known; then so is `cost_per_image`. Latencies are milliseconds of the calls that were answered.
    """

    rows: int
    jobs: int
    statuses: dict[str, int]
    images: int
    cost: float | None
    cost_per_image: float | None
    currency: str | None
    latency_median_ms: float | None
    latency_p95_ms: float | None


def measure(jobs: Jobs) -> Measures:
    """Sum up one side."""
    images = len(np.unique(jobs.job_key[jobs.usable]))
    cost = _cost(jobs)
    return Measures(
        rows=len(np.unique(jobs.row)),
        jobs=len(jobs.row),
        statuses={
            name: count
            for at, name in enumerate(OUTCOMES)
            if (count := int((jobs.status == at).sum()))
        },
        images=images,
        cost=cost,
        cost_per_image=cost / images if cost is not None and images else None,
        currency=jobs.currency,
        latency_median_ms=quantile(jobs.latency_ms, 0.5),
        latency_p95_ms=quantile(jobs.latency_ms, 0.95),
    )


def quantile(values: Floats, share: float) -> float | None:
    """Return a quantile of the values that are known, `None` where none is."""
    known = values[~np.isnan(values)]
    return float(np.quantile(known, share)) if len(known) else None


def _cost(jobs: Jobs) -> float | None:
    """Add up what is known, unless an image came at an unknown price: the cost stands once for each job key."""
    priced = ~np.isnan(jobs.cost)
    succeeded = jobs.status == OUTCOMES.index("succeeded")
    is_unpriced = len(
        np.setdiff1d(jobs.job_key[succeeded], jobs.job_key[succeeded & priced])
    )
    return None if is_unpriced or not priced.any() else float(jobs.cost[priced].sum())
