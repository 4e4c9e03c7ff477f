"""The whole comparison: what was found, its headline for people, and all of it as JSON values."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pixmill.datasets.compare.columns import Jobs, read_jobs
from pixmill.datasets.compare.image_distance import ImageChanges, image_changes
from pixmill.datasets.compare.matching import Pairs, RowChanges, match, row_changes
from pixmill.datasets.compare.measures import Measures, measure
from pixmill.datasets.compare.parameters import Difference, differences
from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.ledger.records import OUTCOMES
from pixmill.text import counted, money


class RequestChanges(NamedTuple):
    """Paired jobs whose request is not the same on both sides, and how many differ in which part of it."""

    changed: int
    prompt: int
    params: int
    seed: int


@dataclass(frozen=True)
class Comparison:
    """Side A against side B.

    `pairs` counts the jobs that both sides have (row key, point and replicate); `outcomes` counts those by their status
    on A and on B.
    """

    a: ComparedDataset
    b: ComparedDataset
    measures_a: Measures
    measures_b: Measures
    rows: RowChanges
    parameters: tuple[Difference, ...]
    pairs: int
    requests: RequestChanges
    outcomes: dict[tuple[str, str], int]
    images: ImageChanges

    @property
    def changed_outcomes(self) -> int:
        """How many jobs of both sides ended differently."""
        return sum(
            count for (before, after), count in self.outcomes.items() if before != after
        )

    def headline(self) -> str:
        """Say in one sentence what B is against A."""
        return f"{self._images()}{self._cost()}; {self._outcomes()}."

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        outcomes = [
            {"a": before, "b": after, "jobs": count}
            for (before, after), count in self.outcomes.items()
        ]
        return {
            "headline": self.headline(),
            "a": _side(self.a, self.measures_a),
            "b": _side(self.b, self.measures_b),
            "rows": self.rows._asdict(),
            "parameters": [one._asdict() for one in self.parameters],
            "jobs": {
                "both": self.pairs,
                "only_a": self.measures_a.jobs - self.pairs,
                "only_b": self.measures_b.jobs - self.pairs,
                "changed_outcomes": self.changed_outcomes,
                "outcomes": outcomes,
                "requests": self.requests._asdict(),
            },
            "images": {
                **self.images._asdict(),
                "most_different": [
                    pair._asdict() for pair in self.images.most_different
                ],
            },
        }

    def _images(self) -> str:
        more = self.measures_b.images - self.measures_a.images
        if not more:
            return f"A and B have {counted(self.measures_a.images, 'image')} each"
        return f"B has {abs(more):,} {'more' if more > 0 else 'fewer'} image{'s' * (abs(more) != 1)} than A"

    def _cost(self) -> str:
        a = self.measures_a
        b = self.measures_b
        if (
            a.cost_per_image is None
            or b.cost_per_image is None
            or a.currency != b.currency
        ):
            return ""
        change = b.cost_per_image - a.cost_per_image
        if abs(change) <= 1e-9 * a.cost_per_image:
            return " at the same cost per usable image"
        return f" for {money(abs(change), b.currency)} {'more' if change > 0 else 'less'} per usable image"

    def _outcomes(self) -> str:
        if not self.pairs:
            return "they have no job in common"
        count = self.changed_outcomes
        return (
            f"{counted(count, 'job')} differ{'s' * (count == 1)} in outcome"
            if count
            else "no job differs in outcome"
        )


def compare(a: ComparedDataset, b: ComparedDataset) -> Comparison:
    """Compare two sides. Raises UserError where a dataset is absent or damaged."""
    jobs_a = read_jobs(a)
    jobs_b = read_jobs(b)
    pairs = match(jobs_a, jobs_b)
    return Comparison(
        a,
        b,
        measure(jobs_a),
        measure(jobs_b),
        row_changes(jobs_a, jobs_b),
        differences(a, b, jobs_a, jobs_b),
        len(pairs.a),
        _request_changes(jobs_a, jobs_b, pairs),
        _outcomes(jobs_a, jobs_b, pairs),
        image_changes(jobs_a, jobs_b, pairs, (a.store, b.store)),
    )


def _request_changes(a: Jobs, b: Jobs, pairs: Pairs) -> RequestChanges:
    changed = a.job_key[pairs.a] != b.job_key[pairs.b]
    parts = [
        int((changed & (part_a[pairs.a] != part_b[pairs.b])).sum())
        for part_a, part_b in (
            (a.prompt, b.prompt),
            (a.params, b.params),
            (a.seed, b.seed),
        )
    ]
    return RequestChanges(int(changed.sum()), *parts)


def _outcomes(a: Jobs, b: Jobs, pairs: Pairs) -> dict[tuple[str, str], int]:
    both = np.stack([a.status[pairs.a], b.status[pairs.b]])
    kinds, counts = np.unique(both, axis=1, return_counts=True)
    return {
        (OUTCOMES[x], OUTCOMES[y]): int(count)
        for (x, y), count in zip(kinds.T.tolist(), counts, strict=True)
    }


def _side(side: ComparedDataset, measures: Measures) -> dict[str, Any]:
    where = {
        "name": side.label,
        "dataset": side.store.display_name(side.path),
        "published_at": side.published_at or None,
    }
    return {**where, **measures._asdict()}
