"""The figures of a dataset: what became of its jobs, what that cost, how long it took. One pass
over few columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pixmill.datasets.report.axis_values import find_axis_values
from pixmill.datasets.report.batches import read_batches
from pixmill.datasets.report.columns import DatasetColumns, ReportAxis
from pixmill.datasets.report.costs import CostCounts, CostOfValue, Spent
from pixmill.datasets.report.distributions import (
    AxisSpread,
    Distribution,
    Distributions,
)
from pixmill.ledger.records import OUTCOMES
from pixmill.memory import give_back
from pixmill.tables import as_text
from pixmill.text import counted, duration, in_words

PERCENTILES = (50, 75, 90, 95, 99)
_READ = (
    "status",
    "error_code",
    "error_message",
    "cost",
    "currency",
    "provider",
    "req_key",
    "run_id",
    "started_at",
    "finished_at",
    "latency_ms",
    "image_count",
)


class Failure(NamedTuple):
    """An error code, how many jobs ended with it, and what the first of them said."""

    code: str
    jobs: int
    message: str


class LastRun(NamedTuple):
    """The run that paid last: when it began (seconds since 1970), how long it took, when its calls
    ended."""

    began: float
    seconds: float
    ends: NDArray[np.int64]
    """Microseconds since it began, one for each call, ascending."""


@dataclass(frozen=True)
class Summary:
    """What the page says about all jobs together."""

    jobs: int
    status: Mapping[str, int]
    missing: int
    """How many jobs succeeded but have no image file."""
    failures: tuple[Failure, ...]
    spent: Spent
    """What was paid for how many images."""
    axis_costs: Mapping[str, tuple[CostOfValue, ...]]
    """What the jobs at each value of an axis cost, by the axis' name; without axes of one value."""
    simulated: bool
    providers: tuple[str, ...]
    """Who answered."""
    req_keys: tuple[str, ...]
    """What was asked."""
    calls_from: float | None
    """When the first call was sent, in seconds since 1970; None where none was."""
    seconds: float
    """How long the runs took, all together."""
    latency: Mapping[int, float]
    """Percentile to seconds."""
    last_run: LastRun | None
    axes: tuple[ReportAxis, ...]
    """Every axis with the values that occur, those of the config first."""
    scores: tuple[Distribution, ...]
    over_axes: tuple[AxisSpread, ...]
    """Scores, latency and cost over each axis of several values."""

    @property
    def succeeded(self) -> int:
        """How many jobs succeeded."""
        return self.status.get("succeeded", 0)

    @property
    def sentence(self) -> str:
        """Everything in one line: `796 of 800 images · 2 refused · 2 failed · 12.40 CNY · 14
        min`."""
        parts = [f"{self.succeeded:,} of {counted(self.jobs, 'image')}"]
        if self.has_several:
            of_jobs = f"{self.succeeded:,} of {counted(self.jobs, 'job')}"
            parts = [f"{counted(self.spent.images, 'image')} from {of_jobs}"]
        parts += [
            f"{self.status[name]:,} {in_words(name)}"
            for name in OUTCOMES
            if name != "succeeded" and self.status.get(name)
        ]
        parts += [f"{counted(self.missing, 'file')} missing"] if self.missing else []
        if self.spent.amounts and not self.simulated:
            parts.append(self.spent.text)
        parts += [duration(self.seconds)] if self.seconds else []
        return " · ".join(parts)

    @property
    def cost(self) -> str:
        """What all jobs cost: `12.40 CNY, 0.0155 CNY an image`."""
        if self.simulated:
            return "nothing"
        if not self.spent.amounts:
            return "unknown"
        if self.spent.per_image:
            return f"{self.spent.text}, {self.spent.per_image} an image"
        return self.spent.text

    @property
    def has_several(self) -> bool:
        """Whether jobs have more than one image."""
        return self.spent.images > self.succeeded - self.missing


@dataclass
class _RunCalls:
    """When the calls of one run ended and how long each took: twelve bytes a row, as a run may have
    millions."""

    began: int = np.iinfo(np.int64).max
    """When the first was sent, in microseconds since 1970."""
    ends: list[NDArray[np.int64]] = field(default_factory=list)
    """Of each batch, in microseconds since 1970."""
    latencies: list[NDArray[np.float32]] = field(default_factory=list)
    """Of each batch, in milliseconds, NaN where unknown. The page shows three digits, so 32 bits
    are enough."""

    def add(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        latencies: NDArray[np.float32],
    ) -> None:
        """Add rows of a batch, one array element for each."""
        self.began = min(self.began, int(starts.min()))
        self.ends.append(ends)
        self.latencies.append(latencies)

    def drop_repeated(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ends of the calls in ascending order and their latencies in any, each once.

        Rows with equal content repeat one call's values; no two calls end in the same microsecond.
        """
        unsorted = np.concatenate(self.ends)
        # The arrays of a run of a million calls are 12 MB, and as large again once joined.
        self.ends.clear()
        latencies = np.concatenate(self.latencies)
        self.latencies.clear()
        give_back()
        ends = np.sort(unsorted)
        repeats = np.flatnonzero(ends[1:] == ends[:-1]) + 1
        if len(repeats):
            # Only here, as most tables ask for nothing twice and the order takes 20 MB more.
            order = np.argsort(unsorted, kind="stable")
            latencies = np.delete(latencies, order[repeats])
            ends = np.delete(ends, repeats)
        return ends, latencies


@dataclass
class _Counts:
    jobs: int = 0
    status: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    spent: CostCounts = field(default_factory=CostCounts)
    at_values: dict[str, CostCounts] = field(default_factory=dict)
    """By the column of an axis."""
    providers: set[str] = field(default_factory=set)
    req_keys: set[str] = field(default_factory=set)
    runs: dict[str, _RunCalls] = field(default_factory=dict)

    def add(self, batch: Mapping[str, Any]) -> None:
        """Count a batch of rows, of which these are our columns."""
        self.jobs += len(batch["status"])
        self.status.update(_count_values(batch["status"]))
        codes = pc.filter(batch["error_code"], pc.is_valid(batch["error_code"]))
        self.codes.update(_count_values(codes))
        for code in pc.unique(codes).to_pylist():
            if code not in self.messages:
                at = pc.index(batch["error_code"], code).as_py()
                self.messages[code] = batch["error_message"][at].as_py() or ""
        # A success with such a code was paid for, but its picture is not here.
        lost = pc.and_(
            pc.equal(batch["status"], "succeeded"),
            pc.starts_with(batch["error_code"], "image_"),
        )
        self.missing += pc.sum(lost).as_py() or 0
        providers = pc.unique(batch["provider"].drop_null())
        self.providers.update(providers.to_pylist())
        req_keys = pc.unique(batch["req_key"].drop_null())
        self.req_keys.update(req_keys.to_pylist())
        self.spent.add(batch)
        self.add_calls(batch)

    def add_calls(self, batch: Mapping[str, Any]) -> None:
        """Add the calls of a batch to those of their runs."""
        names = ("run_id", "started_at", "finished_at")
        # Invalid and skipped rows had no call, and would make a run begin at no time.
        is_call = pc.and_(
            pc.and_(*(batch[name].is_valid() for name in names[:2])),
            batch["finished_at"].is_valid(),
        )
        run, start, end = (batch[name].filter(is_call) for name in names)
        # Of what was paid for: refusals come at once, and would make the provider look quick.
        is_paid = pc.equal(batch["status"], "succeeded").filter(is_call)
        every = batch["latency_ms"].filter(is_call).cast(pa.float32())
        latencies = pc.if_else(is_paid, every, None)
        of_rows = (
            _micros(start),
            _micros(end),
            latencies.to_numpy(zero_copy_only=False),
        )
        codes = run.dictionary_encode()
        indices = codes.indices.to_numpy()
        for code, name in enumerate(codes.dictionary.to_pylist()):
            here = indices == code
            calls = self.runs.setdefault(name, _RunCalls())
            calls.add(*(values[here] for values in of_rows))

    def summarize(
        self,
        axes: tuple[ReportAxis, ...],
        distributions: Distributions,
    ) -> Summary:
        """Return what a report shows of the rows that were counted."""
        seconds = 0.0
        last_run: LastRun | None = None
        latencies = [np.empty(0, np.float32)]
        for run in self.runs.values():
            ends, of_run = run.drop_repeated()
            # A call that got no answer has no latency.
            latencies.append(of_run[np.isfinite(of_run)])
            ends -= run.began
            lasted = int(ends[-1]) / 1e6
            seconds += lasted
            began = run.began / 1e6
            # By its end: a run that began before may still have paid after all others.
            if last_run is None or began + lasted > last_run.began + last_run.seconds:
                last_run = LastRun(began, lasted, ends)
        latency = np.concatenate(latencies)
        first = min((run.began for run in self.runs.values()), default=None)
        return Summary(
            jobs=self.jobs,
            status=dict(self.status),
            missing=self.missing,
            failures=tuple(
                Failure(code, count, self.messages[code])
                for code, count in self.codes.most_common()
            ),
            spent=self.spent.spent(),
            axis_costs=self.axis_costs(axes),
            # Only if all of it is: with a single real call the cost is money.
            simulated=self.providers == {"simulator"},
            providers=tuple(sorted(self.providers)),
            req_keys=tuple(sorted(self.req_keys)),
            calls_from=first / 1e6 if first is not None else None,
            seconds=seconds,
            latency={
                percentile: float(np.percentile(latency, percentile)) / 1000
                for percentile in PERCENTILES
            }
            if len(latency)
            else {},
            last_run=last_run,
            axes=axes,
            scores=distributions.of_scores(),
            over_axes=distributions.over_axes(),
        )

    def axis_costs(
        self,
        axes: Sequence[ReportAxis],
    ) -> dict[str, tuple[CostOfValue, ...]]:
        """Return what the values of each axis cost, by its path, where at least two of them cost something."""
        costs = {}
        for axis in axes:
            at_values = self.at_values.get(axis.column, CostCounts())
            found = [
                CostOfValue(value.label, at_values.spent(value.text))
                for value in axis.values
            ]
            known = tuple(group for group in found if group.spent.amounts)
            if len(known) > 1:
                costs[axis.path] = known
        return costs


def summarize(dataset: pq.ParquetFile, meaning: DatasetColumns) -> Summary:
    """Count the whole dataset."""
    counts = _Counts()
    axes = find_axis_values(dataset, meaning)
    distributions = Distributions(dataset, meaning, axes)
    # An earlier version may not have had the last of these.
    ours = {name: meaning.ours[name] for name in _READ if name in meaning.ours}
    of_axes = [axis.column for axis in axes]
    columns = (*ours.values(), *of_axes, *distributions.columns)
    for batch in read_batches(dataset, columns):
        own = {name: batch[column] for name, column in ours.items()}
        counts.add(own)
        texts = {axis.column: as_text(batch[axis.column]) for axis in axes}
        for column, of_axis in texts.items():
            counts.at_values.setdefault(column, CostCounts()).add(own, of_axis)
        distributions.add(batch, texts)
    return counts.summarize(axes, distributions)


def _count_values(column: pa.Array) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


def _micros(column: pa.Array) -> NDArray[np.int64]:
    micros = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return micros.to_numpy()  # type: ignore[no-any-return]
