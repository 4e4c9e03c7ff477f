"""What a plan says of candidates: which are in the dataset, and how many more there may be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixmill.planning.candidates import (
    CandidateChoice,
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
        taken: NDArray[np.bool_],
        with_bad_images: Sequence[int],
    ) -> None:
        """Leave out of `state` [row, variant] the pending candidates whose turn has not come.

        `judged` is what is known of the batch, `None` where no job is known; `busy` and `taken` are as
        in `pixmill.planning.candidates.choose`. A row `with_bad_images` asks for no more: it keeps the
        picture that it has, good or not.
        """
        pending = state == PlannedState.PENDING
        if judged is None:
            nothing = np.full(state.size, Judgement.NONE, np.int8)
            judged = Judged(nothing, np.full(state.size, -np.inf))
        choice = choose(
            judged,
            pending=pending,
            busy=pending & busy,
            in_doubt=state == PlannedState.IN_DOUBT,
            taken=taken,
            candidates=self._candidates,
        )
        self._choices.append(choice)
        self._judgements.append(judged.judgements)
        wanted = choice.wanted.copy()
        has_outcome = (choice.kept & ~pending).any(axis=1)
        for row in with_bad_images:
            wanted[row] &= not has_outcome[row]
        state[pending & ~wanted] = PlannedState.LEFT_OUT

    def kept(
        self, judged: Judged, state: NDArray[np.int8], taken: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Mark [row, variant] the candidates that the dataset has if none is added."""
        none = np.zeros_like(taken)
        in_doubt = state == PlannedState.IN_DOUBT
        return choose(
            judged,
            pending=none,
            busy=none,
            in_doubt=in_doubt,
            taken=taken,
            candidates=self._candidates,
        ).kept

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
                nothing, nothing.astype(np.int8), 0, 0, 0, 0, 0, 0, 0, None, nothing
            )
        kept = np.concatenate([choice.kept for choice in self._choices])
        later = np.concatenate([choice.later for choice in self._choices])
        order = np.concatenate([choice.order for choice in self._choices]).ravel()
        judgements = np.concatenate(self._judgements)
        judgements[np.repeat(invalid, kept.shape[1])] = Judgement.NONE
        later[invalid] = False
        # What an invalid row has in the dataset is at its first variant.
        kept[invalid] = False
        kept[invalid, 0] = True
        pictures = int(kept.sum() - invalid.sum())

        def any_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return np.asarray(mask.reshape(len(kept), -1, self._candidates).any(axis=2))

        accepted = any_of(judgements == Judgement.ACCEPTED)
        may_change = any_of(judgements == Judgement.UNDECIDED) | any_of(later)
        # Rows that are equal ask for the same candidates: only the first has pending ones.
        may_change |= any_of(np.isin(key_hashes, key_hashes[pending]))
        is_asked = kept.copy()
        is_asked[invalid] = False
        not_accepted = any_of(is_asked) & ~accepted & ~may_change
        outcomes = judgements[first]
        has_verdict = (outcomes != Judgement.NONE) & (outcomes != Judgement.UNDECIDED)
        judged = int(has_verdict.sum())
        good = int((outcomes == Judgement.ACCEPTED).sum())
        later = later.ravel()
        later &= mark_first_occurrences(key_hashes, first | later)
        expected = None
        if judged:
            refusal = 1 - good / judged
            expected = float((refusal ** order[to_pay | later].clip(0)).sum())
        return CandidatePlan(
            kept=kept.ravel(),
            judgements=judgements,
            pictures=pictures,
            accepted=int(accepted.sum()),
            not_accepted=int(not_accepted.sum()),
            drawn=int((outcomes != Judgement.NONE).sum()),
            judged=judged,
            good=good,
            later_calls=int(later.sum()),
            expected_calls=expected,
            later=later,
        )
