"""The pass over a table that makes its plan: expanded, looked up in the ledger and counted batch by batch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import Ledger, State, open_ledger, queries
from pixmill.planning.candidate_plan import CandidateBuilder
from pixmill.planning.candidates import CandidateJudge
from pixmill.planning.computed_jobs import ComputedJobsFile
from pixmill.planning.duplicates import conflicting_row_keys, mark_first_occurrences
from pixmill.planning.input_identity import damaged_files
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch, JobPrice
from pixmill.planning.known_jobs import KnownJobs
from pixmill.planning.ledger_lookup import BatchLookup, BatchSummary, LedgerLookup
from pixmill.planning.packed_keys import key_prefixes, pack_keys, unpack_keys
from pixmill.planning.plan import (
    REPORTED,
    TYPICAL_SECONDS,
    Plan,
    Selection,
    prefetch,
    row_batches,
)
from pixmill.planning.planned_state import PlannedState
from pixmill.planning.prices import PriceList
from pixmill.planning.row_checks import InvalidRow, RowProblem, problem
from pixmill.tables import InputTable, open_table

EXAMPLES = 3
"""Invalid rows of each reason that are shown."""

SIMULATED_SECONDS = 0.2
"""Seconds of a call of the simulator, where the ledger knows none yet."""

_KEYS_AHEAD = 128
"""Batches whose keys (256 KB a batch) may wait while the ledger is scanned, which takes as long as some forty."""

_IMAGES_AHEAD = 1
"""Batches that may wait with the names of their input images, which can be long."""

_PLANNED: Mapping[str | None, int] = {
    None: PlannedState.PENDING.value,
    State.PENDING: PlannedState.PENDING.value,
    # Another run's: whether it may be paid for, the claim decides.
    State.IN_FLIGHT: PlannedState.PENDING.value,
    State.SUBMITTED: PlannedState.PENDING.value,
    State.SUCCEEDED: PlannedState.CACHED.value,
    State.REFUSED: PlannedState.REFUSED.value,
    State.FAILED: PlannedState.FAILED.value,
    State.IN_DOUBT: PlannedState.IN_DOUBT.value,
}
"""What a state of the ledger is planned as. Plain numbers, which numpy takes in a third of the time."""


def plan_config(config: Config) -> Plan:
    """Return the plan of a run of `config` against its ledger; nothing is sent or written.

    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    ledger = open_ledger(config.ledger_address, read_only=True)
    try:
        return make_plan(config, ledger)
    finally:
        if ledger:
            ledger.close()


class PlanBuilder:
    """Gathers what a pass over the table finds, and concludes the plan from it.

    `add` takes what the table says of a batch, `apply_ledger` what the ledger says of it, later and in the same order.
    What every job is planned as is in `states`, an array [row, variant] for each batch.
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
        self._missing: list[NDArray[np.bool_]] = []
        self._lost: list[NDArray[np.bool_]] = []
        self._again: list[NDArray[np.bool_]] = []
        self._submitted: list[NDArray[np.intp]] = []
        self._prices = PriceList(config)
        self._price_numbers: list[NDArray[np.uint16]] = []
        self._places: list[NDArray[np.uint32]] = []
        self._states: list[NDArray[np.int8]] = []
        # By row number and by position: few.
        self._bad_images: dict[int, RowProblem] = {}
        self._asked: dict[int, tuple[str, int]] = {}
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
            self._note(bad, jobs.rows.first_row + row)
        keys = pack_keys(jobs.all_keys)
        if self._computed:
            try:
                self._computed.append(keys, jobs.seeds)
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
        taken = jobs.taken.reshape(-1, len(jobs.variants))
        invalid = sorted(jobs.problems)
        has_job = taken.copy()
        has_job[invalid] = False
        return BatchSummary(
            first_row=jobs.rows.first_row,
            keys=np.where(has_job.reshape(-1, 1), keys, np.uint8(0)),
            taken=taken,
            invalid=invalid,
            images=jobs.images if source.looks_at_images else None,
        )

    def apply_ledger(
        self,
        batch: BatchSummary,
        found: BatchLookup,
    ) -> None:
        """Decide what each job of a batch is planned as. Of the rules that hold for it, the last one counts."""
        state = self._known_states(batch, found)
        submitted = self._submitted_before(batch, found)
        if self._candidates and found.judged and found.asked:
            # Of the candidates of a row, a person means the one that the dataset has.
            kept = self._candidates.kept(found.judged, state, batch.taken)
            asked = {at: of for at, of in found.asked.items() if kept.flat[at]}
            found = found._replace(asked=asked)
        again = self._paid_again(batch, found)
        state[submitted | again] = PlannedState.PENDING
        state[~batch.taken] = PlannedState.LEFT_OUT
        state[batch.invalid, 0] = PlannedState.INVALID
        if self._candidates:
            # Before input images are looked at: those of a row that has its picture do not matter.
            self._candidates.narrow(
                state,
                found.judged,
                busy=submitted | again,
                taken=batch.taken,
                with_bad_images=list(found.bad_images),
            )
        would_pay = (state == PlannedState.PENDING) & ~submitted
        _make_invalid(state, self._rows_with_bad_images(batch, found, would_pay))
        self._states.append(state)

    def _known_states(
        self,
        batch: BatchSummary,
        found: BatchLookup,
    ) -> NDArray[np.int8]:
        """Return what the ledger says of each job [row, variant], and keep what it says of their images."""
        state = np.full(batch.taken.shape, PlannedState.PENDING, np.int8)
        known = found.known
        if known:
            state.ravel()[:] = [_PLANNED[of] for of in known.states]
            by_url = self._config.output.images == "url"
            # With `url` a URL is all of an image, so that only what has no URL lacks it.
            missing = known.nowhere if by_url else known.missing
            self._missing.append(missing)
            self._lost.append(missing & known.lost)
            self._places.append(known.places)
        return state

    def _submitted_before(
        self,
        batch: BatchSummary,
        found: BatchLookup,
    ) -> NDArray[np.bool_]:
        """Mark [row, variant] what is paid for already, with a task that has to be asked for."""
        if not found.known:
            return np.zeros(batch.taken.shape, np.bool_)
        submitted = found.known.submitted
        start = (batch.first_row - 1) * batch.taken.shape[1]
        self._submitted.append(start + np.flatnonzero(submitted))
        return submitted.reshape(batch.taken.shape)

    def _paid_again(
        self,
        batch: BatchSummary,
        found: BatchLookup,
    ) -> NDArray[np.bool_]:
        """Mark [row, variant] what is paid for although it has an outcome."""
        again = np.zeros(batch.taken.shape, np.bool_)
        if found.known:
            again = found.known.again.reshape(again.shape).copy()
        again.flat[list(found.asked)] = True
        if found.known:
            again &= ~found.known.submitted.reshape(again.shape)
        # A row with bad images would become invalid, and its outcomes would be lost to the dataset.
        again[list(found.bad_images)] = False
        marked = again.ravel()
        start = (batch.first_row - 1) * batch.taken.shape[1]
        for at, calls in found.asked.items():
            key = unpack_keys(batch.keys[at : at + 1])[0]
            if marked[at] and key:
                self._asked[start + at] = (key, calls)
        self._again.append(marked)
        return again

    def _rows_with_bad_images(
        self,
        batch: BatchSummary,
        found: BatchLookup,
        would_pay: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Mark the rows of which any job `would_pay` [row, variant] and whose input images are bad.

        Where nothing would be paid for, what was paid stays in the dataset.
        """
        pays = np.asarray(would_pay.any(axis=1))
        bad = dict(found.bad_images)
        source = self._config.input
        if source.local_images and batch.images:
            rows = np.flatnonzero(pays).tolist()
            bad |= damaged_files(batch.images, source.image_columns, rows)
        marked = np.zeros(len(pays), np.bool_)
        marked[list(bad)] = True
        marked &= pays
        for row in np.flatnonzero(marked).tolist():
            self._bad_images[batch.first_row + row] = bad[row]
            self._note(bad[row], batch.first_row + row)
        return marked

    def build(self, call_seconds: float) -> Plan:
        """Return the plan, once the ledger was applied to every batch: what is left are the rules about
        the table as a whole.
        """
        state = _join(
            self._states, np.zeros((0, len(self._expander.variants)), np.int8)
        )
        key_hashes = _join(self._key_hashes, np.zeros(0, np.uint64))
        conflicts, contradicting = self._find_conflicts(state, key_hashes)
        # Before the first job of each key is marked, which has to be one that can be paid for.
        _make_invalid(state, contradicting)
        invalid = (state == PlannedState.INVALID).any(axis=1)
        state = state.ravel()
        first = mark_first_occurrences(key_hashes, state < PlannedState.INVALID)
        pending = first & (state == PlannedState.PENDING)
        submitted = _join(self._submitted, np.zeros(0, np.intp))
        submitted = submitted[pending[submitted]]
        to_pay = pending.copy()
        to_pay[submitted] = False
        price_numbers = _join(self._price_numbers, np.zeros(0, np.uint16))
        jobs = int((state != PlannedState.LEFT_OUT).sum())
        candidates = None
        later_at: tuple[tuple[JobPrice | None, int], ...] = ()
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
            states={of: int((first & (state == of)).sum()) for of in REPORTED},
            images_missing=_count(self._missing, first),
            images_lost=_count(self._lost, first),
            long_prompts=self._long_prompts,
            notes=dict(self._notes),
            matches=dict(self._matches),
            first=first,
            pending=pending,
            conflicts=conflicts,
            bad_images=self._bad_images,
            places=_join(self._places, np.zeros(0, np.uint32)),
            computed=self._computed,
            again=_count(self._again, pending),
            asked=tuple(asked for at, asked in self._asked.items() if pending[at]),
            submitted=submitted,
            to_pay_at=self._count_prices(to_pay, price_numbers),
            call_seconds=call_seconds,
            candidates=candidates,
            later_at=later_at,
        )

    def _count_prices(
        self,
        to_pay: NDArray[np.bool_],
        price_numbers: NDArray[np.uint16],
    ) -> tuple[tuple[JobPrice | None, int], ...]:
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
    ) -> tuple[frozenset[int], NDArray[np.bool_]]:
        """Return the hashes of row keys that rows with different requests share, and mark those rows."""
        requests = key_hashes  # of one variant, the job is all that a row asks for
        if len(self._expander.variants) > 1:
            requests = _join(self._requests, np.zeros(0, np.uint64))
        row_hashes = _join(self._row_hashes, np.zeros(0, np.int64))
        has_jobs = np.asarray((state < PlannedState.INVALID).any(axis=1))
        conflicts, rows = conflicting_row_keys(row_hashes, requests, has_jobs)
        for row in rows:
            bad = problem("duplicate_row_key", self._expander.key_column)
            self._note(bad, int(row) + 1)
        marked = np.zeros(len(state), np.bool_)
        marked[rows] = True
        return conflicts, marked

    def _note(
        self,
        bad: RowProblem,
        row_number: int,
    ) -> None:
        """Count an invalid row; the first few of each reason are kept as examples."""
        self._reasons[bad.reason] += 1
        shown = self._examples.setdefault(bad.reason, [])
        if len(shown) < EXAMPLES:
            shown.append(InvalidRow(row_number, bad))


def make_plan(
    config: Config,
    ledger: Ledger | None,
    selection: Selection | None = None,
) -> Plan:
    """Read the whole table, look its jobs up in the ledger (`None`: there is none yet) and return the plan.

    What `selection` chooses is planned as if it were marked to be paid for again already.
    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    source = config.input
    table = open_table(
        source.path, encoding=source.encoding, delimiter=source.delimiter
    )
    expander = JobExpander(config, table)
    builder = PlanBuilder(config, table, expander)
    known = ledger if ledger is not None and not ledger.read(queries.is_empty) else None
    known_jobs = KnownJobs(known, config) if known else None
    bad_inputs = ledger.bad_inputs if ledger and source.images != "url" else None
    judge = None
    if known and config.quality.until:
        judge = CandidateJudge(config, known, expander.variants)
    lookup = LedgerLookup(
        known_jobs,
        source.image_columns,
        expander.image_limits,
        bad_inputs,
        selection,
        judge,
    )

    # The scan takes a quarter of the time of the pass: batches go on being read and expanded beside it.
    ahead = _IMAGES_AHEAD if source.looks_at_images else _KEYS_AHEAD
    summaries = _summarise(table, expander, builder, known_jobs)
    for batch, found in prefetch(summaries, lookup.look_up, ahead):
        builder.apply_ledger(batch, found)
    del lookup, known_jobs, summaries  # they hold a scan of the ledger
    call_seconds = SIMULATED_SECONDS if config.simulated else TYPICAL_SECONDS
    mean_latency_ms = known.read(queries.mean_latency_ms) if known else None
    if mean_latency_ms:
        call_seconds = mean_latency_ms / 1000
    return replace(builder.build(call_seconds), selection=selection)


def _summarise(
    table: InputTable,
    expander: JobExpander,
    builder: PlanBuilder,
    known_jobs: KnownJobs | None,
) -> Iterator[BatchSummary]:
    for jobs in map(expander.expand, row_batches(table, expander)):
        if known_jobs:
            known_jobs.expect(table, jobs)
        yield builder.add(jobs)


def _make_invalid(
    state: NDArray[np.int8],
    rows: NDArray[np.bool_],
) -> None:
    """Plan the marked `rows` of `state` [row, variant] as invalid: the first variant has the entry of the row."""
    state[rows] = PlannedState.LEFT_OUT
    state[rows, 0] = PlannedState.INVALID


def _count(
    masks: list[NDArray[np.bool_]],
    wanted: NDArray[np.bool_],
) -> int:
    return int((np.concatenate(masks) & wanted).sum()) if masks else 0


def _join(
    parts: list[NDArray[Any]],
    empty: NDArray[Any],
) -> NDArray[Any]:
    """Return `parts` as one array, and empty the list: both at once would be twice as much."""
    joined = np.concatenate(parts) if parts else empty
    parts.clear()
    return joined
