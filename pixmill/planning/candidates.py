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
from pixmill.planning.source_images import find_source_images
from pixmill.provider.error_codes import code_table
from pixmill.quality.score_columns import (
    ScoreColumns,
    first_image_hashes,
    open_image_scores,
)
from pixmill.quality.scored_images import open_scored_images


class Judgement(IntEnum):
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


class Judged(NamedTuple):
    """What is known of the candidates of a batch, by position."""

    judgements: NDArray[np.int8]
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
        self._config = config
        self._ledger = ledger
        self._condition = parse(until.where)
        self._kept_by = until.kept_by
        self._names = self._condition.names | {until.kept_by or ""}
        self._scores = ScoreColumns(open_image_scores(config.quality, ledger))
        self._scored = open_scored_images(config.quality, ledger)
        self._rejected = pa.array(
            ledger.read(read_rejected, picks_of(config.name)), pa.string()
        )
        by_req_key = {}
        for req_key in {variant.req_key for variant in variants}:
            table = code_table(
                req_key, config.retry.codes, config.request.operation_file
            )
            # Of calls that are not charged, as nothing was drawn: what is wrong with such a request
            # is wrong with any seed.
            codes = (code for code, policy in table.items() if policy.charged == "no")
            by_req_key[req_key] = frozenset(codes)
        self._turned_away = [by_req_key[variant.req_key] for variant in variants]

    def judge(
        self, keys: NDArray[np.uint8], known: KnownStates, images: RowImages | None
    ) -> Judged:
        """Return what is known of the candidates with these `keys` [position, byte]; `images` are the
        input images of their rows, where they are at hand. Raises LedgerError."""
        count = len(keys)
        judgements = np.full(count, Judgement.NONE, np.int8)
        values = np.full(count, -np.inf)
        states = np.array([state or "" for state in known.states], np.str_)
        judgements[states == State.IN_DOUBT] = Judgement.UNDECIDED
        ended = np.isin(states, (State.SUCCEEDED, State.FAILED, State.REFUSED))
        positions = np.flatnonzero(ended)
        if len(positions):
            inputs = pa.nulls(count // len(self._turned_away), pa.string())
            if images is not None:
                sources = find_source_images(
                    self._config, self._ledger, images.files, images.sources
                )
                inputs = pa.array([source.sha256 for source in sources], pa.string())
            asked = unpack_keys(keys[positions])
            places = known.places[positions].tolist()
            for outcomes in self._ledger.outcomes(asked, places):
                here = positions[: outcomes.num_rows]
                positions = positions[outcomes.num_rows :]
                found = self._judge_outcomes(outcomes, here, inputs)
                judgements[here] = found.judgements
                values[here] = found.values
        lost = known.missing & known.lost
        judgements[known.missing] = Judgement.UNDECIDED
        judgements[lost] = Judgement.NO_PICTURE
        return Judged(judgements, values)

    def _judge_outcomes(
        self, outcomes: pa.Table, positions: NDArray[np.intp], inputs: pa.Array
    ) -> Judged:
        count = outcomes.num_rows
        variants = len(self._turned_away)
        hashes = first_image_hashes(outcomes)
        rows = pa.array(positions // variants)
        of_rows = inputs.take(rows) if len(inputs) else pa.nulls(count, pa.string())
        # Before the scores: one that comes meanwhile must not be missing where it counts as had.
        unscored = self._scored.unscored(hashes, of_rows, self._names)
        columns = self._scores.columns(hashes, of_rows)
        columns["status"] = outcomes["state"].combine_chunks()
        nothing = pa.nulls(count)
        read = {name: columns.get(name, nothing) for name in self._condition.names}
        try:
            holds = self._condition.mask(read, count)
        except ValueError as error:
            raise ConfigError(f"quality.until.where: {error}") from None
        judgements = np.where(holds, Judgement.ACCEPTED, Judgement.NOT_GOOD).astype(
            np.int8
        )
        judgements[unscored] = Judgement.UNDECIDED
        rejected = pc.is_in(hashes, value_set=self._rejected, skip_nulls=True)
        judgements[rejected.to_numpy(zero_copy_only=False)] = Judgement.REJECTED
        # Another run may have taken what had ended when its state was read.
        succeeded = pc.fill_null(
            pc.equal(columns["status"], State.SUCCEEDED.value), False
        )
        codes = outcomes["error_code"].to_pylist()
        failed = np.flatnonzero(~succeeded.to_numpy(zero_copy_only=False))
        for at in failed.tolist():
            # Only an answer about the request itself is the same with another seed.
            is_hopeless = codes[at] in self._turned_away[positions[at] % variants]
            judgements[at] = (
                Judgement.TURNED_AWAY if is_hopeless else Judgement.NO_PICTURE
            )
        values = np.full(count, -np.inf)
        if self._kept_by in columns:
            scores = pc.fill_null(columns[self._kept_by], -np.inf)
            values = np.nan_to_num(scores.to_numpy(zero_copy_only=False), nan=-np.inf)
        return Judged(judgements, values)


class CandidateMasks(NamedTuple):
    """What table and ledger say of the candidates of a batch, beside their judgements. All arrays are
    [row, variant]."""

    pending: NDArray[np.bool_]
    """Those that would be paid for if they were replicates."""
    busy: NDArray[np.bool_]
    """Those of them that a person asked for once more, or that have a task at the provider: the next
    ones wait for them."""
    in_doubt: NDArray[np.bool_]
    requested: NDArray[np.bool_]
    """Those that the conditions of the sweep leave."""


class CandidateChoice(NamedTuple):
    """What follows from the candidates of a batch. All arrays are [row, variant]."""

    wanted: NDArray[np.bool_]
    """Of the pending ones: those to pay for now."""
    later: NDArray[np.bool_]
    """Those that may be paid for in the same run, where the ones before them are not good."""
    order: NDArray[np.int16]
    """How many candidates of its row would have to be not good before this one is paid for."""
    kept: NDArray[np.bool_]
    """The one of each row and point that the dataset has."""


def choose(judged: Judged, masks: CandidateMasks, candidates: int) -> CandidateChoice:
    """Decide about the candidates of rows, so many `candidates` of each row and point, by what is known
    of them."""
    flat = masks.pending.shape
    # The candidates of a point are one after the other, so that all arrays are [row, point, candidate].
    shape = (*flat[:1], -1, candidates)
    judgements = judged.judgements.reshape(shape)
    waiting = (masks.pending & ~masks.busy).reshape(shape)
    busy = masks.busy.reshape(shape)
    in_doubt = masks.in_doubt.reshape(shape)
    undecided = judgements == Judgement.UNDECIDED
    ends = (judgements == Judgement.ACCEPTED) | (judgements == Judgement.TURNED_AWAY)
    # What was sent without an answer may have been paid for: another one is a person's to decide.
    is_open = ~(ends | in_doubt).any(axis=2)
    is_held = (undecided | busy).any(axis=2)
    number = np.cumsum(waiting, axis=2)
    has_turn = is_open & ~is_held
    is_next = waiting & (number == 1) & has_turn[:, :, None]
    wanted = busy | is_next
    later = waiting & is_open[:, :, None] & ~is_next
    # One that waits for a judgement is one more that would have to be not good.
    order = number - 1 + is_held[:, :, None]
    kept = _keep_one(
        judgements,
        judged.values.reshape(shape),
        wanted=wanted,
        has_picture=undecided & ~in_doubt,
        requested=masks.requested.reshape(shape),
    )
    return CandidateChoice(
        wanted.reshape(flat),
        later.reshape(flat),
        order.astype(np.int16).reshape(flat),
        kept.reshape(flat),
    )


class _Rank(IntEnum):
    """How much a candidate has to say, the most first: the dataset has the first one of a row and
    point."""

    ACCEPTED = 0
    PICTURE = 1
    """One that is not good, or not judged yet."""
    REJECTED = 2
    """What a person has seen and rejected comes after what no person has looked at."""
    OUTCOME = 3
    """An outcome, whatever it is, says more than that a candidate is still to come."""
    WANTED = 4
    WAITING = 5
    NOT_REQUESTED = 6


def _keep_one(
    judgements: NDArray[np.int8],
    values: NDArray[np.float64],
    *,
    wanted: NDArray[np.bool_],
    has_picture: NDArray[np.bool_],
    requested: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Mark the candidate that each row and point keeps: the first by `_Rank`, of equals the one with the
    highest value, of these the first. All arrays are [row, point, candidate]."""
    # Of the rules that hold for a candidate, the last one counts.
    rank = np.full(judgements.shape, _Rank.WAITING, np.int8)
    rank[wanted] = _Rank.WANTED
    rank[judgements != Judgement.NONE] = _Rank.OUTCOME
    rank[judgements == Judgement.REJECTED] = _Rank.REJECTED
    rank[(judgements == Judgement.NOT_GOOD) | has_picture] = _Rank.PICTURE
    rank[judgements == Judgement.ACCEPTED] = _Rank.ACCEPTED
    rank[~requested] = _Rank.NOT_REQUESTED
    best = rank.min(axis=2, keepdims=True)
    # Without a score it is still among the best.
    lowest = -np.finfo(float).max
    at = np.where(rank == best, np.maximum(values, lowest), -np.inf).argmax(axis=2)
    is_kept = np.arange(values.shape[2]) == at[:, :, None]
    return np.asarray(is_kept & (best != _Rank.NOT_REQUESTED))
