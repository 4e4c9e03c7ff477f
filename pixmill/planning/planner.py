"""The pass over a table that makes its plan: expanded, looked up in the ledger and counted batch by batch."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import KnownStates, Ledger, State
from pixmill.planning.duplicates import (
    conflicting_row_keys,
    key_prefix_hash,
    mark_first_occurrences,
)
from pixmill.planning.input_identity import bad_images, damaged_files
from pixmill.planning.job_expander import JobExpander
from pixmill.planning.jobs import JobBatch
from pixmill.planning.known_jobs import KnownJobs
from pixmill.planning.plan import (
    REPORTED,
    TYPICAL_SECONDS,
    Plan,
    PlannedState,
    Selection,
    prefetch,
    row_batches,
)
from pixmill.planning.row_checks import InvalidRow, RowProblem, problem
from pixmill.tables import InputTable, open_table

EXAMPLES = 3

SIMULATED_SECONDS = 0.2

_STANDING: Mapping[str | None, PlannedState] = {
    None: PlannedState.PENDING,
    State.PENDING: PlannedState.PENDING,
    State.IN_FLIGHT: PlannedState.PENDING,  # another run's: the claim decides
    State.SUCCEEDED: PlannedState.CACHED,
    State.REFUSED: PlannedState.REFUSED,
    State.FAILED: PlannedState.FAILED,
    State.IN_DOUBT: PlannedState.IN_DOUBT,
}


class BatchLookup(NamedTuple):
    """What is known of a batch: its job keys and those asked for again by position, bad input images by row."""

    known: KnownStates | None
    bad_images: Mapping[int, RowProblem]
    asked: Mapping[int, int]


@dataclass
class PlanBuilder:
    """What the pass over the table gathers: standings and hashes by position, row keys and contents by row."""

    rows: int = 0
    long_prompts: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[InvalidRow]] = field(default_factory=dict)
    standings: list[NDArray[np.int8]] = field(default_factory=list)
    missing: list[NDArray[np.bool_]] = field(default_factory=list)
    lost: list[NDArray[np.bool_]] = field(default_factory=list)
    key_hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    row_hashes: list[NDArray[np.int64]] = field(default_factory=list)
    contents: list[NDArray[np.uint64]] = field(default_factory=list)
    bad_images: dict[int, RowProblem] = field(default_factory=dict)
    again: list[NDArray[np.bool_]] = field(default_factory=list)
    places: list[NDArray[np.uint32]] = field(default_factory=list)
    asked: dict[int, tuple[str, int]] = field(default_factory=dict)

    def add(self, jobs: JobBatch, found: BatchLookup, config: Config) -> None:
        """Count a batch and what was found of it, and keep its hashes."""
        source = config.input
        self.rows += int(jobs.selected.sum())
        self.long_prompts += jobs.long_prompts
        self.notes.update(jobs.notes)
        for at, bad in sorted(jobs.problems.items()):
            self.note(bad, jobs.rows.first_row + at)
        hashes = key_prefix_hash(jobs.keys)
        self.key_hashes.append(hashes)
        if source.row_key:
            self.row_hashes.append(
                np.array([hash(key) for key in jobs.row_keys], np.int64)
            )
            self.contents.append(
                hashes if len(jobs.slots) == 1 else key_prefix_hash(jobs.contents)
            )
        standings = np.full(len(jobs.keys), PlannedState.PENDING, np.int8)
        if found.known:
            standings[:] = [_STANDING[state] for state in found.known.states]
            self._take_again(jobs, found, found.known.again, standings)
            by_url = config.output.images == "url"  # is an image then, file or no file
            missing = found.known.nowhere if by_url else found.known.missing
            self.missing.append(missing)
            self.lost.append(missing & found.known.lost)
            self.places.append(found.known.places)
        standings[~jobs.taken] = PlannedState.LEFT_OUT
        standings[[at * len(jobs.slots) for at in jobs.problems]] = PlannedState.INVALID
        by_row = standings.reshape(-1, len(jobs.slots))
        unfit = dict(found.bad_images)
        if source.local_images:
            waiting = np.flatnonzero((by_row == PlannedState.PENDING).any(axis=1))
            unfit |= damaged_files(jobs.images, source.image_columns, waiting.tolist())
        self._leave_out(unfit, by_row, jobs.rows.first_row)
        self.standings.append(standings)

    def _take_again(
        self,
        jobs: JobBatch,
        found: BatchLookup,
        again: NDArray[np.bool_],
        standings: NDArray[np.int8],
    ) -> None:
        """Make jobs with an outcome pending, but for rows whose images are bad: their outcomes stay as they are."""
        again[list(found.asked)] = True
        again.reshape(-1, len(jobs.slots))[list(found.bad_images)] = False
        standings[again] = PlannedState.PENDING
        start = (jobs.rows.first_row - 1) * len(jobs.slots)
        self.asked |= {
            start + at: (jobs.keys[at] or "", calls)
            for at, calls in found.asked.items()
            if again[at]
        }
        self.again.append(again)

    def _leave_out(
        self,
        bad_images: Mapping[int, RowProblem],
        by_row: NDArray[np.int8],
        first_row: int,
    ) -> None:
        """Make rows with bad images invalid, but for those that nothing would be paid for: what was paid stays."""
        for at, bad in sorted(bad_images.items()):
            if (by_row[at] == PlannedState.PENDING).any():
                by_row[at] = PlannedState.LEFT_OUT
                by_row[at, 0] = PlannedState.INVALID
                self.bad_images[first_row + at] = bad
                self.note(bad, first_row + at)

    def note(self, bad: RowProblem, row_number: int) -> None:
        """Count an invalid row; the first few of each reason are kept as examples."""
        self.reasons[bad.reason] += 1
        shown = self.examples.setdefault(bad.reason, [])
        if len(shown) < EXAMPLES:
            shown.append(InvalidRow(row_number, bad))


def make_plan(
    config: Config, ledger: Ledger | None, selection: Selection | None = None
) -> Plan:
    """Read the whole table, look its jobs up in the ledger (`None`: there is none yet) and return the plan.

    What `selection` chooses is planned as if it were marked to be paid for again already.
    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    source = config.input
    table = open_table(
        source.path, encoding=source.encoding, delimiter=source.delimiter
    )
    maker = JobExpander(config, table)
    known = ledger if ledger is not None and not ledger.is_empty() else None
    looked_at = ledger if source.images != "url" else None
    known_jobs = KnownJobs(known, table, config) if known else None

    def look_up(jobs: JobBatch) -> BatchLookup:
        return BatchLookup(
            known_jobs.known(jobs) if known_jobs else None,
            bad_images(jobs.images, source.image_columns, looked_at.bad_inputs)
            if looked_at
            else {},
            selection(jobs.keys) if known and selection else {},
        )

    gathered = PlanBuilder()
    for jobs, found in prefetch(map(maker.expand, row_batches(table, maker)), look_up):
        gathered.add(jobs, found, config)
    known_jobs = None  # what it holds of the ledger has been asked for
    plan = _conclude(
        config, table, maker, gathered, known.mean_latency_ms() if known else None
    )
    asked = tuple(asked for at, asked in gathered.asked.items() if plan.pending[at])
    return replace(plan, asked=asked, selection=selection)


def _conclude(
    config: Config,
    table: InputTable,
    maker: JobExpander,
    gathered: PlanBuilder,
    latency_ms: float | None,
) -> Plan:
    standings = _joined(gathered.standings, np.int8)
    has_jobs = np.asarray(
        (standings.reshape(-1, len(maker.slots)) < PlannedState.INVALID).any(axis=1)
    )
    row_hashes = _joined(gathered.row_hashes, np.int64)
    contents = _joined(gathered.contents, np.uint64)
    conflicts, contradicting = conflicting_row_keys(row_hashes, contents, has_jobs)
    for at in contradicting:
        gathered.note(problem("duplicate_row_key", maker.key_column), int(at) + 1)
    by_row = standings.reshape(-1, len(maker.slots))
    by_row[contradicting] = PlannedState.LEFT_OUT
    by_row[contradicting, 0] = PlannedState.INVALID
    first = mark_first_occurrences(
        _joined(gathered.key_hashes, np.uint64), standings < PlannedState.INVALID
    )
    pending = first & (standings == PlannedState.PENDING)
    return Plan(
        config=config,
        table=table,
        maker=maker,
        rows=gathered.rows,
        jobs=int((standings != PlannedState.LEFT_OUT).sum()),
        reasons=dict(gathered.reasons),
        examples={reason: tuple(shown) for reason, shown in gathered.examples.items()},
        standings={
            standing: int((first & (standings == standing)).sum())
            for standing in REPORTED
        },
        images_missing=_count(gathered.missing, first),
        images_lost=_count(gathered.lost, first),
        long_prompts=gathered.long_prompts,
        notes=dict(gathered.notes),
        first=first,
        pending=pending,
        conflicts=conflicts,
        bad_images=gathered.bad_images,
        places=_joined(gathered.places, np.uint32),
        again=_count(gathered.again, pending),
        call_seconds=latency_ms / 1000
        if latency_ms
        else SIMULATED_SECONDS
        if config.simulated
        else TYPICAL_SECONDS,
    )


def _count(masks: list[NDArray[np.bool_]], wanted: NDArray[np.bool_]) -> int:
    return int((np.concatenate(masks) & wanted).sum()) if masks else 0


def _joined(parts: list[NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
    """Return `parts` as one array, and empty the list: both at once would be twice as much."""
    joined = np.concatenate(parts) if parts else np.zeros(0, kind)
    parts.clear()
    return joined
