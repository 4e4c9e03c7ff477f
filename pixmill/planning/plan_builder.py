"""What a table, a config and a ledger come to, concluded batch by batch."""

from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.planning.batch_plan import (
    BatchPlan,
    join_batches,
    mark_invalid,
    plan_batch,
)
from pixmill.planning.candidate_plan import CandidateBuilder
from pixmill.planning.computed_jobs import ComputedJobsFile
from pixmill.planning.duplicates import conflicting_row_keys, mark_first_occurrences
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.planning.ledger_lookup import BatchLookup, BatchSummary
from pixmill.planning.packed_keys import key_prefixes, pack_keys
from pixmill.planning.plan import REPORTED, Plan
from pixmill.planning.plan_costs import PlanCosts, PriceCounts
from pixmill.planning.planned_state import PlannedState, are_jobs
from pixmill.planning.prices import PriceList
from pixmill.planning.row_checks import InvalidRow, RowProblem, problem, shown_cell
from pixmill.tables import InputTable, as_text

EXAMPLES = 3
"""Invalid rows of each reason that are shown."""


class PlanBuilder:
    """Gathers what a pass over the table finds, and concludes the plan from it.

    `add` takes what the table says of a batch, `apply_ledger` what the ledger says of it, later and in the same order.
    """

    def __init__(
        self,
        config: Config,
        table: InputTable,
        expander: JobExpander,
    ) -> None:
        self._config = config
        self._table = table
        self._expander = expander
        self._rows = 0
        self._long_prompts = 0
        self._notes = Counter[str]()
        self._matches = Counter[str]()
        self._reasons = Counter[str]()
        self._examples: dict[str, list[InvalidRow]] = {}
        # By row: hashes of the row keys, and of what is asked for first.
        self._row_hashes: list[NDArray[np.int64]] = []
        self._requests: list[NDArray[np.uint64]] = []
        # By position.
        self._key_hashes: list[NDArray[np.uint64]] = []
        self._prices = PriceList(config)
        self._price_numbers: list[NDArray[np.uint16]] = []
        self._batches: list[BatchPlan] = []
        self._computed: ComputedJobsFile | None = None
        until = config.quality.until
        self._candidates = CandidateBuilder(until.candidates) if until else None
        # Files of this machine may change between two passes, and what they hold is in the keys.
        if not config.input.local_images:
            with suppress(OSError):
                self._computed = ComputedJobsFile()

    def add(self, jobs: JobBatch) -> BatchSummary:
        """Count a batch, keep its hashes, and return what is left to be looked up."""
        self._rows += int(jobs.selected.sum())
        self._long_prompts += jobs.long_prompts
        self._notes.update(jobs.notes)
        self._matches.update(jobs.matches)
        for row, bad in sorted(jobs.problems.items()):
            self._count_invalid(bad, jobs.rows.first_row + row, jobs)
        keys = pack_keys(jobs.all_keys)
        if self._computed:
            try:
                self._computed.append(keys, jobs.numbers)
            except OSError:
                # A full disk costs time, as keys are computed again, and no plan.
                self._computed = None
        if not self._prices.is_uniform:
            self._price_numbers.append(self._prices.numbers(jobs))
        hashes = key_prefixes(keys)
        self._key_hashes.append(hashes)
        source = self._config.input
        if source.row_key:
            # Eight bytes each: the texts of a million row keys take sixty megabytes.
            row_hashes = np.array([hash(key) for key in jobs.row_keys], np.int64)
            self._row_hashes.append(row_hashes)
            if len(jobs.variants) > 1:
                self._requests.append(hashes[:: len(jobs.variants)].copy())
        in_dataset = jobs.in_dataset.reshape(-1, len(jobs.variants))
        invalid = sorted(jobs.problems)
        has_job = in_dataset.copy()
        has_job[invalid] = False
        return BatchSummary(
            first_row=jobs.rows.first_row,
            keys=np.where(has_job.reshape(-1, 1), keys, np.uint8(0)),
            in_dataset=in_dataset,
            invalid=invalid,
            images=jobs.images if source.looks_at_images else None,
        )

    def apply_ledger(self, batch: BatchSummary, found: BatchLookup) -> None:
        """Decide what each job of a batch is planned as, and count its rows with bad images."""
        decided = plan_batch(self._config, batch, found, self._candidates)
        for row, bad in decided.bad_images.items():
            self._count_invalid(bad, batch.first_row + row)
        self._batches.append(decided)

    def build(self, call_seconds: float) -> Plan:
        """Return the plan, once the ledger was applied to every batch: what is left are the rules about
        the table as a whole.
        """
        decided = join_batches(self._batches, len(self._expander.variants))
        self._batches.clear()
        state = decided.states
        key_hashes = _join(self._key_hashes, np.zeros(0, np.uint64))
        conflicts, contradicting = self._find_conflicts(state, key_hashes)
        # Before the first job of each key is marked, which has to be one that can be paid for.
        mark_invalid(state, contradicting)
        invalid = (state == PlannedState.INVALID).any(axis=1)
        state = state.ravel()
        first = mark_first_occurrences(key_hashes, are_jobs(state))
        pending = first & (state == PlannedState.PENDING)
        to_pay = pending & ~decided.submitted
        price_numbers = _join(self._price_numbers, np.zeros(0, np.uint16))
        jobs = int((state != PlannedState.LEFT_OUT).sum())
        candidates = None
        later_at: PriceCounts = ()
        if self._candidates:
            candidates = self._candidates.build(
                invalid=np.asarray(invalid),
                pending=pending,
                to_pay=to_pay,
                first=first,
                key_hashes=key_hashes,
            )
            jobs = int(candidates.kept.sum())
            later_at = self._count_prices(candidates.later, price_numbers)
        return Plan(
            config=self._config,
            table=self._table,
            expander=self._expander,
            rows=self._rows,
            jobs=jobs,
            reasons=dict(self._reasons),
            examples={reason: tuple(shown) for reason, shown in self._examples.items()},
            states={each: int((first & (state == each)).sum()) for each in REPORTED},
            images_missing=int((decided.missing & first).sum()),
            images_lost=int((decided.lost & first).sum()),
            long_prompts=self._long_prompts,
            notes=dict(self._notes),
            matches=dict(self._matches),
            first=first,
            pending=pending,
            conflicts=conflicts,
            bad_images={row + 1: bad for row, bad in decided.bad_images.items()},
            places=decided.places,
            computed=self._computed,
            again=int((decided.again & pending).sum()),
            asked=tuple(job for at, job in decided.asked.items() if pending[at]),
            submitted=np.flatnonzero(pending & decided.submitted),
            costs=PlanCosts(
                to_pay_at=self._count_prices(to_pay, price_numbers),
                later_at=later_at,
                has_prices=self._config.budget.highest_price is not None,
            ),
            call_seconds=call_seconds,
            candidates=candidates,
        )

    def _count_prices(
        self,
        to_pay: NDArray[np.bool_],
        price_numbers: NDArray[np.uint16],
    ) -> PriceCounts:
        """Return how many of the jobs to pay for have which price."""
        counts = [int(to_pay.sum())]
        if not self._prices.is_uniform:
            counts = np.bincount(price_numbers[to_pay]).tolist()
        met = zip(self._prices.kinds, counts, strict=False)
        return tuple((price, jobs) for price, jobs in met if jobs)

    def _find_conflicts(
        self,
        state: NDArray[np.int8],
        key_hashes: NDArray[np.uint64],
    ) -> tuple[frozenset[int], NDArray[np.intp]]:
        """Return the hashes of row keys that rows with different requests share, and those rows, from 0."""
        requests = key_hashes  # of one variant, the job is all that a row asks for
        if len(self._expander.variants) > 1:
            requests = _join(self._requests, np.zeros(0, np.uint64))
        row_hashes = _join(self._row_hashes, np.zeros(0, np.int64))
        has_jobs = np.asarray(are_jobs(state).any(axis=1))
        conflicts, rows = conflicting_row_keys(row_hashes, requests, has_jobs)
        for row in rows:
            bad = problem("duplicate_row_key", self._expander.key_column)
            self._count_invalid(bad, int(row) + 1)
        return conflicts, rows

    def _count_invalid(
        self,
        bad: RowProblem,
        row_number: int,
        jobs: JobBatch | None = None,
    ) -> None:
        """Count an invalid row; the first few of each reason are kept as examples, with their cells
        where `jobs` still has them.
        """
        self._reasons[bad.reason] += 1
        shown = self._examples.setdefault(bad.reason, [])
        if len(shown) == EXAMPLES:
            return
        row = InvalidRow(row_number, bad)
        if jobs:
            at = row_number - jobs.rows.first_row
            if self._config.input.row_key:
                row = row._replace(row_key=shown_cell(jobs.row_keys[at]) or "")
            if bad.column in jobs.rows.rows.column_names:
                text = as_text(jobs.rows.rows[bad.column].slice(at, 1))
                row = row._replace(cell=shown_cell(text[0].as_py()))
        shown.append(row)


def _join(
    parts: list[NDArray[Any]],
    empty: NDArray[Any],
) -> NDArray[Any]:
    """Return `parts` as one array, and empty the list: both at once would be twice as much."""
    joined = np.concatenate(parts) if parts else empty
    parts.clear()
    return joined
