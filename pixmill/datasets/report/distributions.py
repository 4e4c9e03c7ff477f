"""How scores, latency and cost are spread over the jobs, and over those at each value of an axis.

Values are counted in bins, so that a million jobs take no more memory than a thousand.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.datasets.report.axis_values import is_number
from pixmill.datasets.report.batches import read_batches
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis

BARS = 40
"""Bars of a distribution. The thresholds of built-in checks are where two of forty meet."""

# So many that the mean of a bin is as good as each of its values, on a screen.
_BINS = 8 * BARS

_MOST_GROUPS = 24
"""Values of an axis of numbers that are shown by themselves; more are put together."""

_MOST_VALUES = 60
"""Values of any other axis that are shown: the first ones."""

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Measure(NamedTuple):
    """A number about each job."""

    name: str
    """`latency`, `cost`, or the name of a score."""

    column: str

    kind: str
    """`latency`, `cost` or `score`."""

    flag: str | None = None
    """The column that says whose score is below the threshold."""

    threshold: float | None = None

    def find_range(self, dataset: pq.ParquetFile) -> tuple[float, float]:
        """Return the smallest and the largest value; 0 and 1 for a built-in check."""
        low = math.inf
        high = -math.inf
        if self.threshold is None:
            for batch in read_batches(dataset, [self.column]):
                values = batch[0].drop_null().cast(pa.float64())
                ends = pc.min_max(values.filter(pc.is_finite(values))).as_py()
                if ends["min"] is not None:
                    low = min(low, ends["min"])
                    high = max(high, ends["max"])
        return (low, high) if low <= high else (0.0, 1.0)


class Distribution(NamedTuple):
    """How a score is spread over all jobs."""

    measure: Measure

    low: float
    high: float
    """Where the first bar begins and the last one ends."""

    bars: tuple[int, ...]
    """Jobs in each of `BARS` ranges of equal width."""

    median: float
    jobs: int
    """Those that have the score."""

    flagged: int


class Spread(NamedTuple):
    """How a measure is spread over the jobs at one value of an axis."""

    label: str
    jobs: int
    """Those that have the measure."""

    mean: float
    quantiles: tuple[float, ...]
    """Below which 5, 25, 50, 75 and 95 percent of the values are."""


class AxisSpread(NamedTuple):
    """How a measure is spread at each value of an axis for which any job has it."""

    measure: Measure
    axis: ReportAxis
    spreads: tuple[Spread, ...]


class _Groups(NamedTuple):
    """The values of an axis, or what they are put together to."""

    axis: ReportAxis
    labels: tuple[str, ...]
    texts: pa.Array
    """Of each value that is shown."""

    of_text: NDArray[np.int64]
    """The group of each of `texts`."""

    @classmethod
    def of(cls, axis: ReportAxis) -> Self:
        """Return the groups of an axis: ranges of its values where these are many numbers."""
        values = axis.values
        are_numbers = all(is_number(value.text) for value in values)
        if len(values) > _MOST_GROUPS and are_numbers:
            ordered = sorted(values, key=lambda value: float(value.text or 0))
            parts = np.array_split(np.arange(len(ordered)), _MOST_GROUPS)
            labels = []
            for part in parts:
                first = ordered[part[0]]
                last = ordered[part[-1]]
                labels.append(
                    first.label if first is last else f"{first.label} – {last.label}"
                )
            groups = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        else:
            ordered = list(values[:_MOST_VALUES])
            labels = [value.label for value in ordered]
            groups = np.arange(len(ordered))
        texts = pa.array([value.text for value in ordered], pa.string())
        return cls(axis, tuple(labels), texts, groups.astype(np.int64))

    def of_rows(self, texts: pa.Array) -> NDArray[np.int64]:
        """Return the group of each row, -1 for one that is at no value of the axis."""
        at = pc.index_in(texts, self.texts, skip_nulls=True)
        rows = pc.fill_null(at, -1).to_numpy(zero_copy_only=False)
        return np.where(rows < 0, -1, self.of_text[rows])


class Distributions:
    """Counts the measures of a dataset, batch by batch."""

    def __init__(
        self,
        dataset: pq.ParquetFile,
        columns: DatasetColumns,
        axes: Sequence[ReportAxis],
    ) -> None:
        """Look at the ranges of all measures; `axes` have all values that occur."""
        self._measures = [
            Measure(score.name, score.column, "score", score.flag, score.threshold)
            for score in columns.scores
        ]
        self._status = columns.ours["status"]
        self._groups = [_Groups.of(axis) for axis in axes if len(axis.values) > 1]
        if self._groups:
            # Over all jobs the page has them in other figures.
            for kind, name in (("latency", "latency_ms"), ("cost", "cost")):
                self._measures.append(Measure(kind, columns.ours[name], kind))
        ranges = {
            measure.column: measure.find_range(dataset) for measure in self._measures
        }
        self._of_all = {
            measure.column: _Bins(*ranges[measure.column], 1)
            for measure in self._measures
        }
        self._flagged = dict.fromkeys(self._of_all, 0)
        self._at_values = {
            (measure.column, at): _Bins(
                *ranges[measure.column],
                len(groups.labels),
                is_log=measure.kind == "latency",
            )
            for measure in self._measures
            for at, groups in enumerate(self._groups)
        }

    @property
    def columns(self) -> list[str]:
        """Those that `add` reads beside the axes."""
        flags = [measure.flag for measure in self._measures if measure.flag]
        return [*(measure.column for measure in self._measures), *flags]

    def add(self, batch: pa.RecordBatch, texts: Mapping[str, pa.Array]) -> None:
        """Count the rows of a batch; `texts` has what each axis' column reads as."""
        at_values = [
            groups.of_rows(texts[groups.axis.column]) for groups in self._groups
        ]
        has_succeeded = pc.equal(batch[self._status], "succeeded")
        for measure in self._measures:
            values = batch[measure.column].cast(pa.float64())
            if measure.kind == "latency":
                # As in the other figures: a refusal that comes at once is no picture's latency.
                values = pc.if_else(has_succeeded, values, None)
            known = values.to_numpy(zero_copy_only=False)
            if measure.kind == "score":
                everywhere = np.zeros(len(known), np.int64)
                self._of_all[measure.column].add(known, everywhere)
            if measure.flag:
                flagged = pc.sum(batch[measure.flag]).as_py() or 0
                self._flagged[measure.column] += flagged
            for at, rows in enumerate(at_values):
                self._at_values[measure.column, at].add(known, rows)

    def of_scores(self) -> tuple[Distribution, ...]:
        """Return the distribution of each score that any job has."""
        found = []
        for measure in self._measures:
            bins = self._of_all[measure.column]
            spread = bins.spread(0, "")
            if spread is None:
                continue
            found.append(
                Distribution(
                    measure,
                    bins.low,
                    bins.high,
                    bins.bars(),
                    spread.quantiles[2],
                    spread.jobs,
                    self._flagged[measure.column],
                )
            )
        return tuple(found)

    def over_axes(self) -> tuple[AxisSpread, ...]:
        """Return each measure over each axis, where it is known for two values or more."""
        found = []
        for measure in self._measures:
            for at, groups in enumerate(self._groups):
                bins = self._at_values[measure.column, at]
                spreads = [
                    bins.spread(group, label)
                    for group, label in enumerate(groups.labels)
                ]
                known = tuple(spread for spread in spreads if spread)
                if len(known) > 1:
                    found.append(AxisSpread(measure, groups.axis, known))
        return tuple(found)


class _Bins:
    """Counts of values, and their sums, in bins of equal width from `low` to `high`, by group."""

    def __init__(
        self, low: float, high: float, groups: int, *, is_log: bool = False
    ) -> None:
        self.low = low
        self.high = high if high > low else low + 1
        # A few calls may take a hundred times as long as most: bins of one width would have all
        # of these in one.
        self._is_log = is_log
        self._counts = np.zeros((groups, _BINS), np.int64)
        self._sums = np.zeros((groups, _BINS))

    def add(self, values: NDArray[np.float64], groups: NDArray[np.int64]) -> None:
        """Count `values`, NaN for none, each in its group, -1 for none."""
        counted = np.isfinite(values) & (groups >= 0)
        values = values[counted]
        low = self.low
        high = self.high
        scaled = values
        if self._is_log:
            low = math.log(1 + low)
            high = math.log(1 + high)
            scaled = np.log(1 + values)
        bins = ((scaled - low) / (high - low) * _BINS).astype(np.int64)
        at = groups[counted] * _BINS + bins.clip(0, _BINS - 1)
        size = self._counts.size
        shape = self._counts.shape
        self._counts += np.bincount(at, minlength=size).reshape(shape)
        self._sums += np.bincount(at, values, minlength=size).reshape(shape)

    def bars(self) -> tuple[int, ...]:
        """Return the counts of all groups together, a number for each bar."""
        counts = self._counts.sum(axis=0).reshape(BARS, -1).sum(axis=1)
        return tuple(counts.tolist())

    def spread(self, group: int, label: str) -> Spread | None:
        """Return how the values of a group are spread, None where it has none."""
        counts = self._counts[group]
        sums = self._sums[group]
        total = int(counts.sum())
        if not total:
            return None
        there = counts > 0
        # Exact where a bin holds one value many times, as prices and whole numbers are.
        means = sums[there] / counts[there]
        ends = np.cumsum(counts[there])
        quantiles = [
            float(means[np.searchsorted(ends, share * total)]) for share in _SHARES
        ]
        return Spread(label, total, float(sums.sum() / total), tuple(quantiles))
