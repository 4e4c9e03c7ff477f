"""Which candidate of each row is good enough, which one the dataset has, and which one comes next.

Of a config with `quality.until` the replicates of a row and point are its candidates. Nothing is
kept of what was decided: it follows from outcomes and scores of the ledger, whenever somebody asks.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.conditions import parse
from pixmill.config.model import Config
from pixmill.errors import ConfigError
from pixmill.ledger import KnownStates, Ledger, State
from pixmill.ledger.scores import picks_of, read_rejected
from pixmill.planning.jobs import RequestVariant, RowImages
from pixmill.planning.packed_keys import unpack_keys
from pixmill.provider.error_codes import code_table
from pixmill.quality.score_columns import (
    ScoreColumns,
    first_image_hashes,
    hash_in_name,
    read_image_scores,
)


class Verdict(IntEnum):
    """What is known of a candidate."""

    NONE = 0
    """It has no outcome."""
    ACCEPTED = 1
    NOT_GOOD = 2
    """Its picture does not meet `quality.until.where`."""
    REJECTED = 3
    """A person does not want its picture."""
    NO_PICTURE = 4
    """Its call failed, was refused, or its picture is lost; another seed may bring one."""
    TURNED_AWAY = 5
    """Its call was turned away before anything was drawn, as one with another seed would be."""
    UNDECIDED = 6
    """Its picture is not here or not scored yet, or nobody knows whether there is one."""


USED_UP = (Verdict.NOT_GOOD, Verdict.REJECTED, Verdict.NO_PICTURE)
"""What makes the next candidate wanted."""


class Judged(NamedTuple):
    """What is known of the candidates of a batch, by position."""

    verdicts: NDArray[np.int8]
    values: NDArray[np.float64]
    """The score by which one is kept, minus infinity where there is none."""


class CandidateJudge:
    """Judges the candidates of one config by what the ledger has when it is made.

    Raises LedgerError, and UserError where a scorer can't be found.
    """

    def __init__(
        self, config: Config, ledger: Ledger, variants: Sequence[RequestVariant]
    ) -> None:
        until = config.quality.until
        if until is None:
            raise ValueError("the config has no quality.until")
        self._ledger = ledger
        self._condition = parse(until.where)
        self._kept_by = until.kept_by
        self._names = self._condition.names | {until.kept_by or ""}
        self._scores = ScoreColumns(read_image_scores(config.quality, ledger))
        self._rejected = pa.array(
            ledger.read(read_rejected, picks_of(config.name)), pa.string()
        )
        self._keeps_inputs = config.input.images == "keep"
        self._turned_away = [
            frozenset(
                code
                for code, policy in code_table(
                    req_key, config.retry.codes, config.request.operation_file
                ).items()
                if policy.charged == "no"
            )
            for req_key in (variant.req_key for variant in variants)
        ]

    def judge(
        self, keys: NDArray[np.uint8], known: KnownStates, images: RowImages | None
    ) -> Judged:
        """Return what is known of the candidates with these `keys` [position, byte]; `images` are the
        input images of their rows, where they are at hand. Raises LedgerError."""
        count = len(keys)
        verdicts = np.full(count, Verdict.NONE, np.int8)
        values = np.full(count, -np.inf)
        states = np.array([state or "" for state in known.states], np.str_)
        verdicts[states == State.IN_DOUBT] = Verdict.UNDECIDED
        ended = np.isin(states, (State.SUCCEEDED, State.FAILED, State.REFUSED))
        positions = np.flatnonzero(ended)
        if len(positions):
            inputs = self._input_hashes(images, count // len(self._turned_away))
            asked = unpack_keys(keys[positions])
            places = known.places[positions].tolist()
            for outcomes in self._ledger.outcomes(asked, places):
                here = positions[: outcomes.num_rows]
                positions = positions[outcomes.num_rows :]
                found = self._judge_outcomes(outcomes, here, inputs)
                verdicts[here] = found.verdicts
                values[here] = found.values
        lost = known.missing & known.lost
        verdicts[known.missing] = Verdict.UNDECIDED
        verdicts[lost] = Verdict.NO_PICTURE
        return Judged(verdicts, values)

    def _judge_outcomes(
        self, outcomes: pa.Table, positions: NDArray[np.intp], inputs: pa.Array
    ) -> Judged:
        count = outcomes.num_rows
        variants = len(self._turned_away)
        hashes = first_image_hashes(outcomes)
        rows = pa.array(positions // variants)
        of_rows = inputs.take(rows) if len(inputs) else pa.nulls(count, pa.string())
        columns = self._scores.columns(hashes, of_rows)
        columns["status"] = outcomes["state"].combine_chunks()
        nothing = pa.nulls(count)
        read = {name: columns.get(name, nothing) for name in self._condition.names}
        try:
            holds = self._condition.mask(read, count)
        except ValueError as error:
            raise ConfigError(f"quality.until.where: {error}") from None
        verdicts = np.where(holds, Verdict.ACCEPTED, Verdict.NOT_GOOD).astype(np.int8)
        unscored = self._scores.unscored(hashes, of_rows, self._names)
        verdicts[unscored] = Verdict.UNDECIDED
        rejected = pc.is_in(hashes, value_set=self._rejected, skip_nulls=True)
        verdicts[rejected.to_numpy(zero_copy_only=False)] = Verdict.REJECTED
        succeeded = pc.equal(columns["status"], State.SUCCEEDED.value)
        codes = outcomes["error_code"].to_pylist()
        failed = np.flatnonzero(~succeeded.to_numpy(zero_copy_only=False))
        for at in failed.tolist():
            # Only an answer about the request itself is the same with another seed.
            is_hopeless = codes[at] in self._turned_away[positions[at] % variants]
            verdicts[at] = Verdict.TURNED_AWAY if is_hopeless else Verdict.NO_PICTURE
        values = np.full(count, -np.inf)
        if self._kept_by in columns:
            scores = pc.fill_null(columns[self._kept_by], -np.inf)
            values = np.nan_to_num(scores.to_numpy(zero_copy_only=False), nan=-np.inf)
        return Judged(verdicts, values)

    def _input_hashes(self, images: RowImages | None, rows: int) -> pa.Array:
        """Return [row] the SHA-256 of the first input image, null where it is not at hand."""
        if images is None:
            return pa.nulls(rows, pa.string())
        if any(images.files):
            hashes = [of[0].sha256 if of else None for of in images.files]
            return pa.array(hashes, pa.string())
        if not self._keeps_inputs:
            return pa.nulls(rows, pa.string())
        kept = self._ledger.kept_inputs(images.sources[0])
        hashes = [hash_in_name(name) if name else None for name in kept]
        return pa.array(hashes, pa.string())


class Choice(NamedTuple):
    """What follows from the candidates of a batch. All arrays are [row, variant]."""

    wanted: NDArray[np.bool_]
    """Of the pending ones: those to pay for now."""
    later: NDArray[np.bool_]
    """Those that may be paid for in the same run, where the ones before them are not good."""
    order: NDArray[np.int16]
    """How many candidates of its row would have to be not good before this one is paid for."""
    kept: NDArray[np.bool_]
    """The one of each row and point that the dataset has."""


def choose(
    judged: Judged,
    *,
    pending: NDArray[np.bool_],
    busy: NDArray[np.bool_],
    in_doubt: NDArray[np.bool_],
    taken: NDArray[np.bool_],
    candidates: int,
) -> Choice:
    """Decide about the candidates of rows by what is known of them; masks are [row, variant].

    `pending` would be paid for as replicates. `busy` are those of them that a person asked for once
    more, or that have a task at the provider: the next ones wait for them. `taken` are those that
    the conditions of the sweep leave.
    """
    shape = (*pending.shape[:1], -1, candidates)
    verdicts = judged.verdicts.reshape(shape)
    values = judged.values.reshape(shape)
    waiting = (pending & ~busy).reshape(shape)
    in_work = busy.reshape(shape)
    undecided = verdicts == Verdict.UNDECIDED
    doubtful = in_doubt.reshape(shape).any(axis=2)
    is_done = (verdicts == Verdict.ACCEPTED) | (verdicts == Verdict.TURNED_AWAY)
    is_open = ~is_done.any(axis=2) & ~doubtful
    is_held = (undecided | in_work).any(axis=2)
    number = np.cumsum(waiting, axis=2)
    goes_on = is_open & ~is_held
    following = waiting & (number == 1) & goes_on[:, :, None]
    wanted = in_work | following
    later = waiting & is_open[:, :, None] & ~following
    # One that waits for a verdict is one more that would have to be not good.
    order = number - 1 + is_held[:, :, None]

    rank = np.full(verdicts.shape, 5, np.int8)
    rank[wanted] = 4
    rank[in_work] = 3
    has_outcome = verdicts != Verdict.NONE
    rank[has_outcome] = 3
    rank[verdicts == Verdict.REJECTED] = 2
    rank[(verdicts == Verdict.NOT_GOOD) | (undecided & ~in_doubt.reshape(shape))] = 1
    rank[verdicts == Verdict.ACCEPTED] = 0
    there = taken.reshape(shape)
    rank[~there] = 6
    best = rank.min(axis=2, keepdims=True)
    # Of equals the first: `argmax` returns that one.
    ranked = np.where(rank == best, np.maximum(values, -np.finfo(float).max), -np.inf)
    at = ranked.argmax(axis=2)
    kept = np.asarray(np.arange(candidates) == at[:, :, None])
    kept &= np.asarray(there.any(axis=2))[:, :, None]
    flat = pending.shape
    return Choice(
        wanted.reshape(flat),
        later.reshape(flat),
        order.astype(np.int16).reshape(flat),
        kept.reshape(flat),
    )
