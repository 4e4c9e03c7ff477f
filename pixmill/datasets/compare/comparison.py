"""The whole comparison: what was found, its headline for people, and all of it as JSON values."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from pixmill.datasets.compare.columns import Jobs, read_jobs
from pixmill.datasets.compare.image_distance import ImageChanges, image_changes
from pixmill.datasets.compare.matching import Pairs, RowChanges, match, row_changes
from pixmill.datasets.compare.measures import Measures, measure
from pixmill.datasets.compare.parameters import Difference, differences
from pixmill.datasets.compare.sides import ComparedDataset
from pixmill.ledger.records import OUTCOMES
from pixmill.text import counted


class RequestChanges(NamedTuple):
    """How many paired jobs have another request, and in which part of it it differs."""

    changed: int
    """In any part: another job key."""

    prompt: int
    params: int
    seed: int

    @classmethod
    def of(cls, a: Jobs, b: Jobs, pairs: Pairs) -> Self:
        """Count the changes between paired jobs."""
        changed = a.job_key[pairs.a] != b.job_key[pairs.b]
        prompt = a.prompt[pairs.a] != b.prompt[pairs.b]
        params = a.params[pairs.a] != b.params[pairs.b]
        seed = a.seed[pairs.a] != b.seed[pairs.b]
        # Only of changed requests: invalid rows have a prompt, but no request.
        return cls(
            changed=int(changed.sum()),
            prompt=int((changed & prompt).sum()),
            params=int((changed & params).sum()),
            seed=int((changed & seed).sum()),
        )


@dataclass(frozen=True)
class Comparison:
    """Side A compared with side B."""

    a: ComparedDataset
    b: ComparedDataset
    measures_a: Measures
    measures_b: Measures
    rows: RowChanges
    parameters: tuple[Difference, ...]

    pairs: int
    """How many jobs both sides have: the same row key, point and replicate."""

    requests: RequestChanges

    outcomes: dict[tuple[str, str], int]
    """How many of these have which status on A and on B."""

    images: ImageChanges

    @property
    def changed_outcomes(self) -> int:
        """How many jobs of both sides ended differently."""
        return sum(
            count for (before, after), count in self.outcomes.items() if before != after
        )

    @property
    def only_a(self) -> int:
        """How many jobs of A have no partner on B."""
        return self.measures_a.jobs - self.pairs

    @property
    def only_b(self) -> int:
        """How many jobs of B have no partner on A."""
        return self.measures_b.jobs - self.pairs

    def headline(self) -> str:
        """Say in one sentence how B compares with A."""
        images = self.measures_b.images - self.measures_a.images
        if not images:
            text = f"A and B have {counted(self.measures_a.images, 'image')} each"
        else:
            more = "more" if images > 0 else "fewer"
            text = f"B has {counted(abs(images), f'{more} image')} than A"
        text += self.measures_b.compare_cost(self.measures_a)
        changed = self.changed_outcomes
        if not self.pairs:
            return f"{text}; they have no job in common."
        if not changed:
            return f"{text}; no job differs in outcome."
        differ = "differs" if changed == 1 else "differ"
        return f"{text}; {counted(changed, 'job')} {differ} in outcome."

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
                "only_a": self.only_a,
                "only_b": self.only_b,
                "changed_outcomes": self.changed_outcomes,
                "outcomes": outcomes,
                "requests": self.requests._asdict(),
            },
            "images": {
                **{
                    name: value
                    for name, value in self.images._asdict().items()
                    if name != "pairs"
                },
                "most_different": [
                    pair._asdict() for pair in self.images.most_different
                ],
            },
        }


def compare(a: ComparedDataset, b: ComparedDataset) -> Comparison:
    """Compare two sides. Raises UserError where a dataset is absent or damaged."""
    jobs_a = read_jobs(a)
    jobs_b = read_jobs(b)
    pairs = match(jobs_a, jobs_b)
    both = np.stack([jobs_a.status[pairs.a], jobs_b.status[pairs.b]])
    kinds, counts = np.unique(both, axis=1, return_counts=True)
    outcomes = {}
    for (before, after), count in zip(kinds.T.tolist(), counts, strict=True):
        outcomes[OUTCOMES[before], OUTCOMES[after]] = int(count)
    return Comparison(
        a=a,
        b=b,
        measures_a=measure(jobs_a),
        measures_b=measure(jobs_b),
        rows=row_changes(jobs_a, jobs_b),
        parameters=differences(a, b, jobs_a, jobs_b),
        pairs=len(pairs.a),
        requests=RequestChanges.of(jobs_a, jobs_b, pairs),
        outcomes=outcomes,
        images=image_changes(jobs_a, jobs_b, pairs, (a.store, b.store)),
    )


def _side(
    side: ComparedDataset,
    measures: Measures,
) -> dict[str, Any]:
    where = {
        "name": side.label,
        "dataset": side.store.display_name(side.path),
        "published_at": side.published_at or None,
    }
    return {**where, **measures._asdict()}
