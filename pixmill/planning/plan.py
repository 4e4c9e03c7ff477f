"""The plan: what a run would do, known before any call.

Making one is a single pass over the table, looked up in the ledger batch by batch. It keeps a few bytes a job:
hashes that find duplicates, and which jobs are the first of their key and pending. The run and the dataset
stream the table again and follow these masks, so no job has to be kept.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.memory import give_back
from pixmill.planning.candidate_plan import CandidatePlan
from pixmill.planning.computed_jobs import ComputedJobsFile
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import Job, JobBatch
from pixmill.planning.plan_costs import PlanCosts
from pixmill.planning.planned_state import PlannedState
from pixmill.planning.prices import PriceList
from pixmill.planning.row_checks import InvalidRow, RowProblem
from pixmill.request.sweep import ConditionCount
from pixmill.tables import InputTable, RowBatch

BATCH_JOBS = 8_000
"""Jobs that are expanded, looked up and published together: what a run keeps in memory."""

TYPICAL_SECONDS = 5.9
"""Seconds of a call where the ledger knows none yet: the documented example took 5.86 s."""


Selection = Callable[[Sequence[str | None]], Mapping[int, int]]
"""Chooses keys of a batch to pay for again: maps position to the number of attempts so far."""


@dataclass(frozen=True)
class Plan:
    """What the table asks for and what is known of it. Counts of job keys are distinct ones.

    Positions are as in `JobBatch`, counted over the whole table.
    """

    config: Config
    table: InputTable
    expander: JobExpander
    rows: int
    """Rows that `input.where` lets in."""
    jobs: int
    """Jobs and invalid rows: rows of the dataset."""
    reasons: Mapping[str, int]
    """Invalid rows by reason."""
    examples: Mapping[str, tuple[InvalidRow, ...]]
    """The first invalid rows of each reason."""
    states: Mapping[PlannedState, int]
    """Job keys by what they are planned as."""
    images_missing: int
    """Paid job keys whose images are not in the store, `images_lost` of them for good."""
    images_lost: int
    long_prompts: int
    """Rows with a prompt that the provider may cut."""
    notes: Mapping[str, int]
    """Rows by what is to be said of them (`row_checks.NOTES`)."""
    first: NDArray[np.bool_]
    """[position]: the first job of each key."""
    pending: NDArray[np.bool_]
    """[position]: those of them that a run would pay for, or ask for where their task is out (`submitted`)."""
    conflicts: frozenset[int]
    """Hashes of row keys whose rows contradict each other."""
    bad_images: Mapping[int, RowProblem]
    """By row number, what is wrong with input images of rows that would be paid for otherwise."""
    places: NDArray[np.uint32]
    """[position]: where the ledger has an outcome, 0 where that is not known."""
    costs: PlanCosts
    computed: ComputedJobsFile | None = None
    """The keys and seeds that the plan computed, `None` where they have to be computed again."""
    again: int = 0
    """Pending keys that have an outcome."""
    asked: tuple[tuple[str, int], ...] = ()
    """Those of them that `selection` chose, with their attempts: not marked in the ledger before a person agrees."""
    selection: Selection | None = None
    submitted: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, np.intp))
    """The positions of pending keys whose tasks are out: they are asked for and not paid again."""
    call_seconds: float = TYPICAL_SECONDS
    matches: Mapping[str, int] = field(default_factory=dict)
    """How often each condition that reads rows holds, by its path in the config; empty where nobody counted."""
    candidates: CandidatePlan | None = None
    """What is known of candidates, `None` without `quality.until`."""

    @property
    def invalid(self) -> int:
        """The number of invalid rows."""
        return sum(self.reasons.values())

    @property
    def distinct(self) -> int:
        """The number of job keys."""
        return int(self.first.sum())

    @property
    def to_pay(self) -> int:
        """The number of job keys that a run would pay for."""
        return self.states[PlannedState.PENDING] - len(self.submitted)

    @property
    def most_to_pay(self) -> int:
        """The number of job keys that a run would pay for at most: with candidates, where none of
        those to come is good."""
        return self.to_pay + (self.candidates.later_calls if self.candidates else 0)

    @property
    def to_do(self) -> int:
        """The number of pending job keys: what a run would pay for or ask for."""
        return self.states[PlannedState.PENDING]

    @property
    def has_images_to_fetch(self) -> bool:
        """Whether earlier runs paid for images that are not here and whose URLs may live."""
        return self.images_missing > self.images_lost

    @property
    def rate(self) -> float:
        """Calls per second that the limits and the usual latency allow."""
        return min(
            self.config.limits.qps,
            self.config.concurrency / max(self.call_seconds, 1e-3),
        )

    def bound(self) -> str:
        """Say what bounds the time of a run, and what would lift it."""
        # Little's law: so many calls in flight, each of so many seconds, end so often.
        limits = self.config.limits
        busy = self.config.concurrency / self.call_seconds
        if busy >= limits.qps:
            return f"bound by your limit of {limits.qps:g} calls/s"
        enough = math.ceil(limits.qps * self.call_seconds)
        return (
            f"{self.config.concurrency} calls in flight at {self.call_seconds:.1f} s each are "
            f"{busy:.2g} calls/s; "
            f"{enough} in flight would reach your {limits.qps:g} calls/s"
        )

    @property
    def most_cost(self) -> Decimal | None:
        """What a run would cost at most, `None` where the price of a job is not known."""
        return self.costs.most

    @property
    def least_cost(self) -> Decimal | None:
        """The same where every answer has one image only, however many it may have."""
        return self.costs.least

    @property
    def expected_cost(self) -> Decimal | None:
        """What a run is expected to cost with all candidates that may follow, `None` where a price or
        the share of good ones is not known."""
        most = self.costs.most_with_candidates
        found = self.candidates
        if most is None or found is None or found.expected_calls is None:
            return None
        share = found.expected_calls / max(1, self.most_to_pay)
        return (most * Decimal(share)).quantize(Decimal("0.01"))

    def condition_counts(self) -> list[ConditionCount]:
        """Return how often each condition of the config holds, in the order of the config."""
        sweep = self.expander.sweep
        counts = [*sweep.condition_counts]
        of_jobs = self.rows * len(sweep.points)
        for row in sweep.row_conditions:
            if row.config_path in self.matches:
                matched = self.matches[row.config_path]
                counts.append(
                    ConditionCount(
                        row.config_path, row.condition.text, matched, of_jobs, "jobs"
                    )
                )
        counts.sort(key=lambda each: each.config_path)
        where = self.config.input.where
        if where and "input.where" in self.matches:
            rows = len(self.first) // len(self.expander.variants)
            matched = self.matches["input.where"]
            counts.insert(
                0, ConditionCount("input.where", where, matched, rows, "rows")
            )
        return counts

    def cost_of(self, limit: int | None) -> Decimal | None:
        """What a run would cost at most that pays for `limit` keys, in input order; `None` where that is not known."""
        if limit is None or limit >= self.to_pay:
            return self.most_cost
        return self.costs.sum_most(job.price for job in self.jobs_to_pay(limit))

    def most_calls_within(self, limit: int | None) -> int:
        """The number of job keys that a run would pay for at most that pays for `limit` of them."""
        return self.most_to_pay if limit is None else min(limit, self.most_to_pay)

    def most_cost_within(self, limit: int | None) -> Decimal | None:
        """The same as `cost_of`, with the candidates that may have to be paid for later."""
        now = self.cost_of(limit)
        later_calls = self.most_calls_within(limit) - self.to_pay
        if now is None or later_calls <= 0:
            return now
        later = self.costs.most_later(later_calls)
        return None if later is None else now + later

    def limit_within_rows(self, limit: int | None, rows: int | None) -> int | None:
        """Return how many keys may be paid for: at most `limit`, and only those of the first `rows` rows
        of the table; None for all."""
        if rows is None:
            return limit
        # Keys are paid for in input order, so that a number is all that tells these from later ones.
        positions = rows * len(self.expander.variants)
        pending = np.count_nonzero(self.pending[:positions])
        of_rows = int(pending - np.count_nonzero(self.submitted < positions))
        return of_rows if limit is None else min(limit, of_rows)

    @cached_property
    def prices(self) -> PriceList:
        """What jobs cost."""
        return PriceList(self.config)

    def batches(self, only_rows: NDArray[np.bool_] | None = None) -> Iterator[JobBatch]:
        """Stream the jobs again, as the plan found them: all batches, or those that hold a row that
        `only_rows` marks."""
        if only_rows is not None and not only_rows.any():
            return
        for batch in row_batches(self.table, self.expander):
            # The masks, keys and seeds are those of the table that was agreed to.
            self.table.check_unchanged()
            start = batch.first_row - 1
            end = start + batch.rows.num_rows
            if only_rows is None or only_rows[start:end].any():
                computed = None
                if self.computed:
                    variants = len(self.expander.variants)
                    jobs = batch.rows.num_rows * variants
                    known = self.computed.read(start * variants, jobs)
                    computed = known._replace(are_valid=not self.invalid)
                jobs_of_batch = self.expander.expand(
                    batch, self.conflicts, self.bad_images, computed
                )
                if self.candidates:
                    begin = start * len(self.expander.variants)
                    here = slice(begin, begin + len(jobs_of_batch.keys))
                    jobs_of_batch = jobs_of_batch._replace(
                        in_dataset=self.candidates.kept[here],
                        judgements=self.candidates.judgements[here],
                    )
                yield jobs_of_batch
            if only_rows is not None and not only_rows[end:].any():
                # Nobody wants what follows, which may be most of a large table.
                return

    def pending_jobs(self, limit: int | None = None) -> Iterator[Job]:
        """Stream the jobs with a task that is out, then those to pay for, at most `limit` of these.

        Each key comes once, both parts in input order.
        """
        # The tasks first: they take places at the provider, and their results do not live long.
        for job in self._jobs_at(self.submitted):
            yield job._replace(has_task=True)
        yield from self.jobs_to_pay(limit)

    def jobs_to_pay(self, limit: int | None = None) -> Iterator[Job]:
        """Stream the jobs to pay for, at most `limit` of them, each key once and in input order."""
        yield from self._jobs_at(self.positions_to_pay(limit))

    def positions_to_pay(self, limit: int | None = None) -> NDArray[np.intp]:
        """Return the positions of the first `limit` jobs to pay for, in input order."""
        to_pay = self.pending.copy()
        to_pay[self.submitted] = False
        return np.flatnonzero(to_pay)[:limit]

    def leave_out(self, positions: NDArray[np.bool_]) -> "Plan":
        """Return the plan without the pending jobs that `positions` marks: a run has tried them."""
        pending = self.pending & ~positions
        states = {**self.states, PlannedState.PENDING: int(pending.sum())}
        submitted = self.submitted[pending[self.submitted]]
        return replace(self, pending=pending, submitted=submitted, states=states)

    def example(self) -> Job | None:
        """Return the first job to pay for, where there is none the first of all, for people to look at."""
        marked = self.pending if self.to_do else self.first
        return next(self._jobs_at(np.flatnonzero(marked)[:1]), None)

    def _jobs_at(self, positions: NDArray[np.intp]) -> Iterator[Job]:
        variants = len(self.expander.variants)
        only_rows = np.zeros(len(self.first) // variants, np.bool_)
        only_rows[positions // variants] = True
        for batch in self.batches(only_rows):
            start = (batch.rows.first_row - 1) * variants
            here = (
                positions[(positions >= start) & (positions < start + len(batch.keys))]
                - start
            )
            for at in here.tolist():
                # The key is missing if an input image was deleted since planning; the dataset
                # reports the row as invalid.
                if batch.keys[at]:
                    price = self.prices.price_of(batch, at)
                    yield batch.job(at)._replace(price=price)

    def summary(self) -> dict[str, Any]:
        """The counts of `plan --json`."""
        cost = self.most_cost
        counts: dict[str, Any] = {
            "rows": self.rows,
            "invalid": self.invalid,
            "points": len(self.expander.sweep.points),
            "jobs": self.jobs,
            "distinct": self.distinct,
            **{state.name.lower(): self.states[state] for state in REPORTED},
            "images_missing": self.images_missing,
            "cost": {
                "pending": None if cost is None else float(cost),
                "currency": self.config.budget.currency,
            },
            "eta_seconds": round(self.to_pay / self.rate, 1),
            "submitted": len(self.submitted),
        }
        found = self.candidates
        if found is not None:
            most = self.costs.most_with_candidates
            expected = self.expected_cost
            calls = found.expected_calls
            counts["candidates"] = {
                **found.counts(),
                "acceptance": found.acceptance,
                "expected_calls": None if calls is None else round(calls, 1),
                "most_calls": self.most_to_pay,
                "expected_cost": None if expected is None else float(expected),
                "most_cost": None if most is None else float(most),
            }
        return counts


REPORTED = (
    PlannedState.CACHED,
    PlannedState.REFUSED,
    PlannedState.FAILED,
    PlannedState.IN_DOUBT,
    PlannedState.PENDING,
)


Batch = TypeVar("Batch")
Found = TypeVar("Found")


def row_batches(
    table: InputTable,
    expander: JobExpander,
) -> Iterator[RowBatch]:
    """Stream the table in batches of about `BATCH_JOBS` jobs; the next is read in a thread beside."""
    size = max(1, BATCH_JOBS // len(expander.variants))
    batches = table.batches(size)
    # Arrow parses without the interpreter, which hashes the jobs of the batch before meanwhile.
    with ThreadPoolExecutor(1) as beside:
        try:
            read = beside.submit(next, batches, None)
        except RuntimeError:
            # The system gives no more threads: each batch is read when it is wanted.
            yield from batches
            return
        while batch := read.result():
            read = beside.submit(next, batches, None)
            yield batch


_BATCHES_BETWEEN = 16
"""After how many batches memory is given back: in these about as much is freed as a run needs, some 50 MB."""


def prefetch(
    batches: Iterable[Batch],
    look_up: Callable[[Batch], Found],
    ahead: int = 1,
) -> Iterator[tuple[Batch, Found]]:
    """Yield each batch with what `look_up` finds for it, in a thread beside, while the next ones are prepared.

    At most `ahead` batches wait for what is found of them.
    """
    waiting = deque[tuple[Batch, Future[Found]]]()
    beside = ThreadPoolExecutor(1)
    try:
        for number, batch in enumerate(batches):
            if number % _BATCHES_BETWEEN == 0:
                give_back()
            waiting.append((batch, beside.submit(look_up, batch)))
            while len(waiting) > ahead or (waiting and waiting[0][1].done()):
                ready, found = waiting.popleft()
                yield ready, found.result()
        for ready, found in waiting:
            yield ready, found.result()
    finally:
        # Of a table that can't be read to its end, nobody wants what is still to be looked up.
        beside.shutdown(cancel_futures=True)
