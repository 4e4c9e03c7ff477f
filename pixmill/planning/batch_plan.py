"""What each job of a batch is planned as, by what the table and the ledger say of it.

Of the rules that hold for a job, the last one counts:

| rule                                                                   | planned as |
|---|---|
| the ledger has no outcome of it: new, pending, in flight, submitted     | pending |
| the ledger has one                                                      | cached, refused, failed, in doubt |
| its task works at the provider, or somebody asks for it once more       | pending |
| the table has no job there: a condition, an excluded point              | left out |
| its row is invalid                                                      | invalid, once a row |
| it is a candidate whose turn has not come (`quality.until`)             | left out |
| a job of its row would be paid for, and an input image of it is bad     | invalid, once a row |
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.ledger import State
from pixmill.planning.candidate_plan import CandidateBuilder
from pixmill.planning.input_identity import damaged_files
from pixmill.planning.ledger_lookup import BatchLookup, BatchSummary
from pixmill.planning.packed_keys import unpack_keys
from pixmill.planning.planned_state import PlannedState
from pixmill.planning.row_checks import RowProblem

_PLANNED: Mapping[str | None, int] = {
    None: PlannedState.PENDING.value,
    State.PENDING: PlannedState.PENDING.value,
    # Another run has it. Whoever that is may die before there is an outcome: whether the job may be
    # paid for is for its claim to decide.
    State.IN_FLIGHT: PlannedState.PENDING.value,
    State.SUBMITTED: PlannedState.PENDING.value,
    State.SUCCEEDED: PlannedState.CACHED.value,
    State.REFUSED: PlannedState.REFUSED.value,
    State.FAILED: PlannedState.FAILED.value,
    State.IN_DOUBT: PlannedState.IN_DOUBT.value,
}
"""What a state of the ledger is planned as. Plain numbers, which numpy takes in a third of the time."""


class BatchPlan(NamedTuple):
    """What was decided about a batch. A position counts the jobs of the batch from 0."""

    states: NDArray[np.int8]
    """[row, variant]: a `PlannedState`."""

    submitted: NDArray[np.bool_]
    """[position]: paid for already, with a task that has to be asked for."""

    again: NDArray[np.bool_]
    """[position]: paid for although it has an outcome."""

    asked: Mapping[int, tuple[str, int]]
    """Those of them that a person asks for, by position: the key, and how many calls were made for it."""

    bad_images: Mapping[int, RowProblem]
    """The rows that are invalid for an input image, from 0."""

    missing: NDArray[np.bool_]
    """[position]: paid for, and its images are not there."""

    lost: NDArray[np.bool_]
    """[position]: those of them whose images can't be had any more."""

    places: NDArray[np.uint32]
    """[position]: where the ledger has the outcome, 0 where that is not known."""


def plan_batch(
    config: Config,
    batch: BatchSummary,
    found: BatchLookup,
    candidates: CandidateBuilder | None,
) -> BatchPlan:
    """Decide what each job of a batch is planned as.

    `candidates` gathers what is decided about them, and is `None` where a job makes one picture.
    """
    # Up to the end masks are [row, variant], as rules are about rows; `asked` is by position.
    shape = batch.in_dataset.shape
    known = found.known
    state = np.full(shape, PlannedState.PENDING, np.int8)
    submitted = np.zeros(shape, np.bool_)
    if known:
        state.flat[:] = [_PLANNED[each] for each in known.states]
        submitted = known.unattended.reshape(shape)
    asked = found.asked
    if candidates and found.judged and asked:
        # Of the candidates of a row, a person means the one that the dataset has.
        kept = candidates.kept(found.judged, state, batch.in_dataset)
        asked = {at: calls for at, calls in asked.items() if kept.flat[at]}
    again = found.mark_again(shape, asked) & ~submitted
    state[submitted | again] = PlannedState.PENDING
    state[~batch.in_dataset] = PlannedState.LEFT_OUT
    state[batch.invalid, 0] = PlannedState.INVALID
    if candidates:
        # Before input images are looked at: those of a row that has its picture do not matter.
        candidates.narrow(
            state,
            found.judged,
            busy=submitted | again,
            requested=batch.in_dataset,
            with_bad_images=list(found.bad_images),
        )
    would_pay = (state == PlannedState.PENDING) & ~submitted
    bad_images = _find_bad_images(config, batch, found, would_pay)
    mark_invalid(state, list(bad_images))
    missing = np.zeros(state.size, np.bool_)
    lost = missing
    if known:
        # With `url` a URL is all of an image, so that only what has no URL lacks it.
        missing = known.nowhere if config.output.images == "url" else known.missing
        lost = missing & known.lost
    return BatchPlan(
        states=state,
        submitted=submitted.ravel(),
        again=again.ravel(),
        asked=_keys_asked_for(batch, again, asked),
        bad_images=bad_images,
        missing=missing,
        lost=lost,
        places=known.places if known else np.zeros(state.size, np.uint32),
    )


def join_batches(batches: Sequence[BatchPlan], variants: int) -> BatchPlan:
    """Return the plans of all batches of a table, in its order, as one."""
    none = np.zeros(0, np.bool_)
    # A table may have no batch.
    empty = BatchPlan(
        states=np.zeros((0, variants), np.int8),
        submitted=none,
        again=none,
        asked={},
        bad_images={},
        missing=none,
        lost=none,
        places=np.zeros(0, np.uint32),
    )
    parts = [empty, *batches]
    asked: dict[int, tuple[str, int]] = {}
    bad_images: dict[int, RowProblem] = {}
    first_row = 0
    for part in parts:
        start = first_row * variants
        asked |= {start + at: job for at, job in part.asked.items()}
        bad_images |= {first_row + row: bad for row, bad in part.bad_images.items()}
        first_row += len(part.states)
    return BatchPlan(
        states=np.concatenate([part.states for part in parts]),
        submitted=np.concatenate([part.submitted for part in parts]),
        again=np.concatenate([part.again for part in parts]),
        asked=asked,
        bad_images=bad_images,
        missing=np.concatenate([part.missing for part in parts]),
        lost=np.concatenate([part.lost for part in parts]),
        places=np.concatenate([part.places for part in parts]),
    )


def mark_invalid(
    state: NDArray[np.int8], rows: Sequence[int] | NDArray[np.intp]
) -> None:
    """Plan `rows` of `state` [row, variant] as invalid: the first variant has the entry of the row."""
    state[rows] = PlannedState.LEFT_OUT
    state[rows, 0] = PlannedState.INVALID


def _keys_asked_for(
    batch: BatchSummary,
    again: NDArray[np.bool_],
    asked: Mapping[int, int],
) -> dict[int, tuple[str, int]]:
    found = {}
    for at, calls in asked.items():
        key = unpack_keys(batch.keys[at : at + 1])[0]
        # An invalid row has none.
        if again.flat[at] and key:
            found[at] = (key, calls)
    return found


def _find_bad_images(
    config: Config,
    batch: BatchSummary,
    found: BatchLookup,
    would_pay: NDArray[np.bool_],
) -> dict[int, RowProblem]:
    """Return what is wrong with the input images of the rows of which any job `would_pay` [row, variant].

    Where nothing would be paid for, what was paid stays in the dataset.
    """
    rows = np.flatnonzero(would_pay.any(axis=1)).tolist()
    bad = dict(found.bad_images)
    source = config.input
    if source.local_images and batch.images:
        bad |= damaged_files(batch.images, source.image_columns, rows)
    return {row: bad[row] for row in rows if row in bad}
