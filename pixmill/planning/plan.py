"""The plan: what a run would do, known before any call.

Making one is a single pass over the table, looked up in the ledger batch by batch. It keeps a few bytes a job:
hashes that find duplicates, and which jobs are the first of their key and pending. The run and the dataset
stream the table again and follow these masks, so no job has to be kept.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import Known, Ledger, State
from pixmill.planning.duplicates import contradictions, first_bytes, first_of_each
from pixmill.planning.input_identity import bad_images, damaged_files
from pixmill.planning.job_expander import JobMaker
from pixmill.planning.jobs import Job, JobBatch
from pixmill.planning.known_jobs import KnownJobs
from pixmill.planning.row_checks import InvalidRow, Problem, problem
from pixmill.tables import InputTable, RowBatch, open_table

BATCH_JOBS = 8_000
"""Jobs that are expanded, looked up and published together: what a run keeps in memory."""

EXAMPLES = 3
TYPICAL_SECONDS = 5.9
"""Seconds of a call where the ledger knows none yet: the documented example took 5.86 s."""

SIMULATED_SECONDS = 0.2


class Standing(IntEnum):
    """Where a job stands when the plan is made."""

    PENDING = 0
    CACHED = 1
    REFUSED = 2
    FAILED = 3
    IN_DOUBT = 4
    INVALID = 5
    LEFT_OUT = 6
    """No job: a condition leaves it out, or another position stands for its invalid row."""


_STANDING: Mapping[str | None, Standing] = {
    None: Standing.PENDING,
    State.PENDING: Standing.PENDING,
    State.IN_FLIGHT: Standing.PENDING,  # another run's: the claim decides
    State.SUCCEEDED: Standing.CACHED,
    State.REFUSED: Standing.REFUSED,
    State.FAILED: Standing.FAILED,
    State.IN_DOUBT: Standing.IN_DOUBT,
}


Selection = Callable[[Sequence[str | None]], Mapping[int, int]]
"""Chooses of the job keys of a batch those to pay for once more: by position, how many attempts each has had."""


@dataclass(frozen=True)
class Plan:
    """What the table asks for and what is known of it. Counts of job keys are distinct ones.

    `first` marks, by position (row × slots + slot), the first job of each key; `pending` those of them that would be
    paid for; `conflicts` holds hashes of row keys whose rows contradict each other. `bad_images` says by row number
    what is wrong with the input images of rows that would be paid for otherwise: what is known when the plan is made.
    `places` says by position where the ledger has an outcome, 0 where that is not known.
    `again` counts the pending keys that have an outcome. `asked` holds those of them that `selection` chose, with their
    attempts so far: they are not marked in the ledger before a person agrees.
    """

    config: Config
    table: InputTable
    maker: JobMaker
    rows: int
    jobs: int
    reasons: Mapping[str, int]
    examples: Mapping[str, tuple[InvalidRow, ...]]
    standings: Mapping[Standing, int]
    images_missing: int
    images_lost: int
    long_prompts: int
    notes: Mapping[str, int]
    first: NDArray[np.bool_]
    pending: NDArray[np.bool_]
    conflicts: frozenset[int]
    bad_images: Mapping[int, Problem]
    places: NDArray[np.uint32]
    again: int = 0
    asked: tuple[tuple[str, int], ...] = ()
    selection: Selection | None = None
    call_seconds: float = TYPICAL_SECONDS

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
        return self.standings[Standing.PENDING]

    @property
    def has_images_to_fetch(self) -> bool:
        """Whether earlier runs paid for images that are not here and whose URLs may live."""
        return self.images_missing > self.images_lost

    @property
    def rate(self) -> float:
        """Calls per second that the limits and the usual latency allow."""
        return min(self.config.limits.qps, self.config.concurrency / max(self.call_seconds, 1e-3))

    def bound(self) -> str:
        """Say what bounds the time of a run, and what would lift it."""
        limits, busy = self.config.limits, self.config.concurrency / self.call_seconds
        if busy >= limits.qps:
            return f"your limit of {limits.qps:g} calls/s is reached"
        enough = math.ceil(limits.qps * self.call_seconds)
        return (
            f"{self.config.concurrency} in flight at {self.call_seconds:.1f} s is {busy:.2g}/s; "
            f"{enough} would reach your {limits.qps:g}/s"
        )

    def cost(self, calls: int) -> float | None:
        """What `calls` cost, `None` where no price is known."""
        price = self.config.budget.price_per_call
        return None if price is None else round(calls * price, 6)

    def batches(self, rows: NDArray[np.bool_] | None = None) -> Iterator[JobBatch]:
        """Stream the jobs again, as the plan found them: all batches, or those that hold a marked one of `rows`."""
        for batch in row_batches(self.table, self.maker):
            self.table.check_unchanged()  # the masks are those of the table that was agreed to
            start = batch.first_row - 1
            if rows is None or rows[start : start + batch.rows.num_rows].any():
                yield self.maker.expand(batch, self.conflicts, self.bad_images)

    def pending_jobs(self, limit: int | None = None) -> Iterator[Job]:
        """Stream the jobs to pay for, in input order, each key once, at most `limit`."""
        return self._jobs_at(np.flatnonzero(self.pending)[:limit])

    def example(self) -> Job | None:
        """Return the first job to pay for, where there is none the first of all, for people to look at."""
        marked = self.pending if self.to_pay else self.first
        return next(self._jobs_at(np.flatnonzero(marked)[:1]), None)

    def _jobs_at(self, positions: NDArray[np.intp]) -> Iterator[Job]:
        slots = len(self.maker.slots)
        rows = np.zeros(len(self.first) // slots, np.bool_)
        rows[positions // slots] = True
        for jobs in self.batches(rows):
            start = (jobs.rows.first_row - 1) * slots
            here = positions[(positions >= start) & (positions < start + len(jobs.keys))] - start
            # An input image that went away since then makes its row invalid: the dataset says so.
            yield from (jobs.job(int(at)) for at in here if jobs.keys[at])

    def summary(self) -> dict[str, Any]:
        """The counts of `plan --json`."""
        return {
            "rows": self.rows,
            "invalid": self.invalid,
            "points": len(self.maker.sweep.points),
            "jobs": self.jobs,
            "distinct": self.distinct,
            **{standing.name.lower(): self.standings[standing] for standing in _REPORTED},
            "images_missing": self.images_missing,
            "cost": {"pending": self.cost(self.to_pay), "currency": self.config.budget.currency},
            "eta_seconds": round(self.to_pay / self.rate, 1),
        }


_REPORTED = (
    Standing.CACHED,
    Standing.REFUSED,
    Standing.FAILED,
    Standing.IN_DOUBT,
    Standing.PENDING,
)

Found = TypeVar("Found")


def row_batches(table: InputTable, maker: JobMaker) -> Iterator[RowBatch]:
    """Stream the table in batches of about `BATCH_JOBS` jobs."""
    return table.batches(max(1, BATCH_JOBS // len(maker.slots)))


def looked_up(
    batches: Iterable[JobBatch], look_up: Callable[[JobBatch], Found]
) -> Iterator[tuple[JobBatch, Found]]:
    """Yield each batch with what `look_up` finds for it, in a thread beside, while the next one is prepared."""
    with ThreadPoolExecutor(1) as beside:
        waiting: tuple[JobBatch, Future[Found]] | None = None
        for batch in batches:
            found = beside.submit(look_up, batch)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = batch, found
        if waiting:
            yield waiting[0], waiting[1].result()


class _Found(NamedTuple):
    """What is known of a batch: its job keys and those asked for again by position, bad input images by row."""

    known: Known | None
    bad_images: Mapping[int, Problem]
    asked: Mapping[int, int]


@dataclass
class _Pass:
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
    bad_images: dict[int, Problem] = field(default_factory=dict)
    again: list[NDArray[np.bool_]] = field(default_factory=list)
    places: list[NDArray[np.uint32]] = field(default_factory=list)
    asked: dict[int, tuple[str, int]] = field(default_factory=dict)

    def add(self, jobs: JobBatch, found: _Found, config: Config) -> None:
        source = config.input
        self.rows += int(jobs.selected.sum())
        self.long_prompts += jobs.long_prompts
        self.notes.update(jobs.notes)
        for at, bad in sorted(jobs.problems.items()):
            self.note(bad, jobs.rows.first_row + at)
        hashes = first_bytes(jobs.keys)
        self.key_hashes.append(hashes)
        if source.row_key:
            self.row_hashes.append(np.array([hash(key) for key in jobs.row_keys], np.int64))
            self.contents.append(hashes if len(jobs.slots) == 1 else first_bytes(jobs.contents))
        standings = np.full(len(jobs.keys), Standing.PENDING, np.int8)
        if found.known:
            standings[:] = [_STANDING[state] for state in found.known.states]
            self._take_again(jobs, found, found.known.again, standings)
            by_url = config.output.images == "url"  # is an image then, file or no file
            missing = found.known.nowhere if by_url else found.known.missing
            self.missing.append(missing)
            self.lost.append(missing & found.known.lost)
            self.places.append(found.known.places)
        standings[~jobs.taken] = Standing.LEFT_OUT
        standings[[at * len(jobs.slots) for at in jobs.problems]] = Standing.INVALID
        by_row = standings.reshape(-1, len(jobs.slots))
        unfit = dict(found.bad_images)
        if source.local_images:
            waiting = np.flatnonzero((by_row == Standing.PENDING).any(axis=1))
            unfit |= damaged_files(jobs.images, source.image_columns, waiting.tolist())
        self._leave_out(unfit, by_row, jobs.rows.first_row)
        self.standings.append(standings)

    def _take_again(
        self, jobs: JobBatch, found: _Found, again: NDArray[np.bool_], standings: NDArray[np.int8]
    ) -> None:
        """Make jobs with an outcome pending, but for rows whose images are bad: their outcomes stay as they are."""
        again[list(found.asked)] = True
        again.reshape(-1, len(jobs.slots))[list(found.bad_images)] = False
        standings[again] = Standing.PENDING
        start = (jobs.rows.first_row - 1) * len(jobs.slots)
        self.asked |= {
            start + at: (jobs.keys[at] or "", calls)
            for at, calls in found.asked.items()
            if again[at]
        }
        self.again.append(again)

    def _leave_out(
        self, bad_images: Mapping[int, Problem], by_row: NDArray[np.int8], first_row: int
    ) -> None:
        """Make rows with bad images invalid, but for those that nothing would be paid for: what was paid stays."""
        for at, bad in sorted(bad_images.items()):
            if (by_row[at] == Standing.PENDING).any():
                by_row[at] = Standing.LEFT_OUT
                by_row[at, 0] = Standing.INVALID
                self.bad_images[first_row + at] = bad
                self.note(bad, first_row + at)

    def note(self, bad: Problem, row_number: int) -> None:
        self.reasons[bad.reason] += 1
        shown = self.examples.setdefault(bad.reason, [])
        if len(shown) < EXAMPLES:
            shown.append(InvalidRow(row_number, bad))


def make_plan(config: Config, ledger: Ledger | None, selection: Selection | None = None) -> Plan:
    """Read the whole table, look its jobs up in the ledger (`None`: there is none yet) and return the plan.

    What `selection` chooses is planned as if it were marked to be paid for again already.
    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    source = config.input
    table = open_table(source.path, encoding=source.encoding, delimiter=source.delimiter)
    maker = JobMaker(config, table)
    known = ledger if ledger is not None and not ledger.is_empty() else None
    looked_at = ledger if source.images != "url" else None
    known_jobs = KnownJobs(known, table, config) if known else None

    def look_up(jobs: JobBatch) -> _Found:
        return _Found(
            known_jobs.known(jobs) if known_jobs else None,
            bad_images(jobs.images, source.image_columns, looked_at.bad_inputs)
            if looked_at
            else {},
            selection(jobs.keys) if known and selection else {},
        )

    gathered = _Pass()
    for jobs, found in looked_up(map(maker.expand, row_batches(table, maker)), look_up):
        gathered.add(jobs, found, config)
    known_jobs = None  # what it holds of the ledger has been asked for
    plan = _conclude(config, table, maker, gathered, known.mean_latency_ms() if known else None)
    asked = tuple(asked for at, asked in gathered.asked.items() if plan.pending[at])
    return replace(plan, asked=asked, selection=selection)


def _conclude(
    config: Config, table: InputTable, maker: JobMaker, gathered: _Pass, latency_ms: float | None
) -> Plan:
    standings = _joined(gathered.standings, np.int8)
    has_jobs = np.asarray((standings.reshape(-1, len(maker.slots)) < Standing.INVALID).any(axis=1))
    row_hashes, contents = (
        _joined(gathered.row_hashes, np.int64),
        _joined(gathered.contents, np.uint64),
    )
    conflicts, contradicting = contradictions(row_hashes, contents, has_jobs)
    for at in contradicting:
        gathered.note(problem("duplicate_row_key", maker.key_column), int(at) + 1)
    by_row = standings.reshape(-1, len(maker.slots))
    by_row[contradicting] = Standing.LEFT_OUT
    by_row[contradicting, 0] = Standing.INVALID
    first = first_of_each(_joined(gathered.key_hashes, np.uint64), standings < Standing.INVALID)
    pending = first & (standings == Standing.PENDING)
    return Plan(
        config=config,
        table=table,
        maker=maker,
        rows=gathered.rows,
        jobs=int((standings != Standing.LEFT_OUT).sum()),
        reasons=dict(gathered.reasons),
        examples={reason: tuple(shown) for reason, shown in gathered.examples.items()},
        standings={
            standing: int((first & (standings == standing)).sum()) for standing in _REPORTED
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
