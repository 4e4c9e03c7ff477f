"""What a plan says of candidates: which are in the dataset, and how many more there may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmill.planning.candidates import (
    CandidateChoice,
    CandidateMasks,
    Judged,
    Judgement,
    choose,
)
from pixmill.planning.duplicates import mark_first_occurrences
from pixmill.planning.planned_state import PlannedState


@dataclass(frozen=True)
class CandidatePlan:
    """The candidates of a table, as far as outcomes and scores are known.

    Rows and points together ask for so many `pictures`. Calls are counted in job keys.
    """

    kept: NDArray[np.bool_]
    """[position]: what becomes a row of the dataset."""
    judgements: NDArray[np.int8]
    """[position]: what is known of each candidate, a `Judgement`."""
    pictures: int
    accepted: int
    """Pictures that are good."""
    not_accepted: int
    """Pictures that are not good and for which no further candidate will be paid for."""
    drawn: int
    """Candidates that have an outcome."""
    judged: int
    """Those of them of which it is known whether they are accepted, `good` of them are."""
    good: int
    later_calls: int
    """Calls beyond the pending ones that a run makes at most."""
    expected_calls: float | None
    """Calls that a run is expected to make in all, by the share that was accepted so far; `None`
    where nothing was judged yet."""
    later: NDArray[np.bool_]
    """[position]: the jobs of these calls."""

    @property
    def acceptance(self) -> float | None:
        """The share of candidates that was accepted so far, `None` before the first was judged."""
        return self.good / self.judged if self.judged else None

    def counts(self) -> dict[str, int]:
        """Return how far it is, as plain JSON values."""
        return {
            "pictures": self.pictures,
            "accepted": self.accepted,
            "not_accepted": self.not_accepted,
            "drawn": self.drawn,
        }


class _Candidates(NamedTuple):
    """What was decided of the candidates of a table. All arrays are [row, variant]."""

    kept: NDArray[np.bool_]
    later: NDArray[np.bool_]
    order: NDArray[np.int16]
    """As in `CandidateChoice`."""

    judgements: NDArray[np.int8]
    """What is known of each, a `Judgement`."""

    @property
    def is_accepted(self) -> NDArray[np.bool_]:
        """Which of them are good."""
        return np.asarray(self.judgements == Judgement.ACCEPTED)


class CandidateBuilder:
    """Gathers what is decided about candidates, batch by batch."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates
        self._choices: list[CandidateChoice] = []
        self._judgements: list[NDArray[np.int8]] = []

    def narrow(
        self,
        state: NDArray[np.int8],
        judged: Judged | None,
        *,
        busy: NDArray[np.bool_],
        requested: NDArray[np.bool_],
        with_bad_images: Sequence[int],
    ) -> None:
        """Leave out of `state` [row, variant] the pending candidates whose turn has not come.

        `judged` is what is known of the batch, `None` where no job is known; `busy` and `requested` are
        as in `CandidateMasks`. A row `with_bad_images` asks for no more: it keeps the
        picture that it has, good or not.
        """
        pending = state == PlannedState.PENDING
        if judged is None:
            nothing = np.full(state.size, Judgement.NONE, np.int8)
            judged = Judged(nothing, np.full(state.size, -np.inf))
        in_doubt = state == PlannedState.IN_DOUBT
        masks = CandidateMasks(pending, pending & busy, in_doubt, requested)
        choice = choose(judged, masks, self._candidates)
        self._choices.append(choice)
        self._judgements.append(judged.judgements)
        wanted = choice.wanted.copy()
        has_outcome = (choice.kept & ~pending).any(axis=1)
        for row in with_bad_images:
            wanted[row] &= not has_outcome[row]
        state[pending & ~wanted] = PlannedState.LEFT_OUT

    def kept(
        self, judged: Judged, state: NDArray[np.int8], requested: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Mark [row, variant] the candidates that the dataset has if none is added."""
        none = np.zeros_like(requested)
        in_doubt = state == PlannedState.IN_DOUBT
        masks = CandidateMasks(none, none, in_doubt, requested)
        return choose(judged, masks, self._candidates).kept

    def build(
        self,
        *,
        invalid: NDArray[np.bool_],
        pending: NDArray[np.bool_],
        to_pay: NDArray[np.bool_],
        first: NDArray[np.bool_],
        key_hashes: NDArray[np.uint64],
    ) -> CandidatePlan:
        """Return what follows, once the ledger was applied to every batch.

        `invalid` marks rows. Masks by position: `first` those that come first of their key among all
        that are planned, `pending` and `to_pay` those of them that are paid or asked for.
        """
        if not self._choices:
            nothing = np.zeros(0, np.bool_)
            return CandidatePlan(
                kept=nothing,
                judgements=nothing.astype(np.int8),
                pictures=0,
                accepted=0,
                not_accepted=0,
                drawn=0,
                judged=0,
                good=0,
                later_calls=0,
                expected_calls=None,
                later=nothing,
            )
        found = self._join(invalid)
        # Rows that are equal ask for the same candidates: only the first has pending ones.
        is_pending = np.isin(key_hashes, key_hashes[pending])
        outcomes = found.judgements.ravel()[first]
        has_judgement = (outcomes != Judgement.NONE) & (outcomes != Judgement.UNDECIDED)
        judged = int(has_judgement.sum())
        good = int((outcomes == Judgement.ACCEPTED).sum())
        # Of rows that are equal, the first one pays.
        is_first = mark_first_occurrences(key_hashes, first | found.later.ravel())
        later = found.later.ravel() & is_first
        expected = None
        if judged:
            refusal = 1 - good / judged
            # A candidate is drawn where all before it are not good.
            chances = refusal ** found.order.ravel()[to_pay | later].clip(0)
            expected = float(chances.sum())
        return CandidatePlan(
            kept=found.kept.ravel(),
            judgements=found.judgements.ravel(),
            pictures=int(found.kept.sum() - invalid.sum()),
            accepted=int(self._of_pictures(found.is_accepted).sum()),
            not_accepted=self._count_not_accepted(found, invalid, is_pending),
            drawn=int((outcomes != Judgement.NONE).sum()),
            judged=judged,
            good=good,
            later_calls=int(later.sum()),
            expected_calls=expected,
            later=later,
        )

    def _join(self, invalid: NDArray[np.bool_]) -> _Candidates:
        """Return what was decided of all batches; `invalid` rows ask for nothing."""
        kept = np.concatenate([choice.kept for choice in self._choices])
        later = np.concatenate([choice.later for choice in self._choices])
        order = np.concatenate([choice.order for choice in self._choices])
        judgements = np.concatenate(self._judgements).reshape(kept.shape)
        judgements[invalid] = Judgement.NONE
        later[invalid] = False
        # What an invalid row has in the dataset is at its first variant.
        kept[invalid] = False
        kept[invalid, 0] = True
        return _Candidates(kept, later, order, judgements)

    def _count_not_accepted(
        self,
        found: _Candidates,
        invalid: NDArray[np.bool_],
        is_pending: NDArray[np.bool_],
    ) -> int:
        """Return how many pictures are not good and will not be another one in this run."""
        is_asked = found.kept.copy()
        is_asked[invalid] = False
        undecided = found.judgements == Judgement.UNDECIDED
        may_change = self._of_pictures(undecided | found.later)
        may_change |= self._of_pictures(is_pending)
        is_left = ~self._of_pictures(found.is_accepted) & ~may_change
        return int((self._of_pictures(is_asked) & is_left).sum())

    def _of_pictures(self, candidates: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Mark the pictures [row and point] that have any of the `candidates` marked, which are in the order
        of positions."""
        of_picture = candidates.reshape(-1, self._candidates)
        return np.asarray(of_picture.any(axis=1))
