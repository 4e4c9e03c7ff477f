"""What goes into the ledger and what comes out, as small frozen values."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class State(StrEnum):
    """The state of a job in the ledger. `claims` has the table of who may claim it in which."""

    PENDING = "pending"
    """Its last call brought no outcome, and it is to be called again, as it was throttled for
    example. A job that was never claimed has no row and so no state."""

    IN_FLIGHT = "in_flight"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    SUBMITTED = "submitted"
    """Claimed, and its task works at the provider, whether or not a process waits for it."""


SETTLED = (State.SUCCEEDED, State.FAILED, State.REFUSED, State.IN_DOUBT)
"""The states that are outcomes of a call."""

PROBLEMS = SETTLED[1:]
"""Those of them that leave no image."""

OUTCOMES = (*map(str, SETTLED), "invalid", "skipped")
"""What can become of a job, as reports and the dataset's `status` have it: a call's outcome, or why
there was none."""


class ClaimTerms(NamedTuple):
    """The terms of a run's claims: what each is checked against, and what it writes down of the
    run."""

    run_id: str
    provider: str
    account: str
    req_key: str
    max_calls: int | None
    """Cap on the HTTP calls of the run; `None`: no cap."""
    max_runs: int
    """How many runs may try in vain: a job that fails transiently, or that is paid for again."""
    lease_seconds: float
    """How long a claim is honoured whose owner nobody can check."""
    retry_doubt: bool = False
    """Whether jobs in doubt may be paid for again."""
    max_cost: Decimal | None = None
    """Cap on the money of the run; `None`: no cap."""
    max_cost_per_month: Decimal | None = None
    """Cap on the money of `account` in a month of `timezone`; `None`: no cap."""
    price: Decimal | None = None
    """What a call counts as whose cost the ledger does not know."""
    timezone: str = "UTC"

    def claim_columns(self, owner: str, now: int) -> dict[str, Any]:
        """Return what a claim of `owner` sets in the row of a job; `now` is in microseconds."""
        return {
            "state": State.IN_FLIGHT.value,
            "owner": owner,
            "lease_until": now + int(self.lease_seconds * 1e6),
            "run_id": self.run_id,
            "provider": self.provider,
            "account": self.account,
            "req_key": self.req_key,
            "claim_run": self.run_id,
            "claim_account": self.account,
            "claimed_at": now,
        }


class Task(NamedTuple):
    """A task that works at the provider, as the run that submitted it has left it."""

    task_id: str
    run_id: str
    """The run that submitted it."""
    account: str
    """The account that pays for it, whatever the config of who polls it says."""
    since: int
    """When the submit was answered, in microseconds since 1970 UTC."""
    amount: Decimal | None
    """What it costs at most by the prices of its submit; `None`: those were not known."""


class Claim(NamedTuple):
    """A granted claim: the intent to send is on disk."""

    attempts: int
    """The calls for this key, this one included."""
    rerolls: int
    """The seeds that moderation used up before."""
    task: Task | None = None
    """What an earlier process has submitted: nothing is to be sent, but what became of it is to be
    asked for."""


class ClaimDenied(NamedTuple):
    """A claim that was not granted."""

    state: State | None
    """The state of the job; `None` where a cap prevented the claim."""
    cap: str = ""
    """The key of the config's `budget` whose cap is reached."""
    may_get_room: bool = False
    """Whether there may be room once calls of this process have ended: they may cost less than is
    reserved for them."""


class KnownStates(NamedTuple):
    """What the ledger knows of a batch of keys when a plan is made, by position."""

    states: list[str | None]
    """`None` where the key was never claimed."""
    missing: NDArray[np.bool_]
    """Paid jobs without their images."""
    nowhere: NDArray[np.bool_]
    """Those of them that have no URL either."""
    lost: NDArray[np.bool_]
    """Those of them whose images can't be had any more."""
    again: NDArray[np.bool_]
    """Jobs that a run pays for again, although they have an outcome."""
    places: NDArray[np.uint32]
    """Where outcomes are found sooner than by their keys (see `scan.ROW`), 0 where that is not
    known."""
    unattended: NDArray[np.bool_]
    """Jobs with a task that works at the provider and that no living process polls: a run asks what
    became of it, and pays nothing."""


class MissingImages(NamedTuple):
    """The images of a paid job that are not in the store, and where they may be had.

    `files` are image files as `jobs.images` names them, where the machine that paid may have them:
    the store did not take them then. `expires_at` is when the first of `urls` dies, in microseconds
    since 1970 UTC, 0 without URLs.
    """

    job_key: str
    urls: Sequence[str]
    expires_at: int
    files: Sequence[Mapping[str, Any]] = ()
    label: str | None = None
    """What people call the job, `None` where whoever asks for its images has not said it."""


class DoubtfulCall(NamedTuple):
    """A job in doubt, as a person looks for it on the provider's console. Instants are microseconds
    since 1970 UTC.

    `sent_at` is when it was sent, or claimed where the process died; `ended_at` when that was given
    up.
    """

    job_key: str
    sent_at: int | None
    ended_at: int | None
    code: str | None
    request_id: str | None


class Attempt(NamedTuple):
    """One ended call and what it means for its key: a row of `attempts` and the new columns of
    `jobs`.

    Instants are microseconds since 1970 UTC. `images` is a JSON list of the stored image files, for
    `jobs`; the number for `attempts` is `image_count`.
    """

    job_key: str
    run_id: str
    provider: str
    account: str
    state: State
    transient: bool
    verdict: str
    charged: str
    sent_at: int
    answered_at: int
    http_status: int | None
    code: str | None
    message: str | None
    request_id: str | None
    rephraser_result: str | None
    output_urls: str | None
    url_expires_at: int | None
    images: str | None
    queue_ms: float
    latency_ms: float
    provider_ms: float | None
    amount: Decimal | None
    """What the call cost, or costs at most where nobody knows; `None` where it cost nothing or no
    price is known."""
    currency: str | None
    seed: int | None
    rerolls: int
    attempt: int
    """Which call for its key it was: `Claim.attempts` of its claim."""
    answer: bytes
    task_id: str | None = None
    image_count: int | None = None
    """How many images the answer has."""
    outcome_run: str | None = None
    """The run for which the outcome is news, where that is another one than sent the call."""

    @property
    def is_repeated(self) -> bool:
        """Whether this run sends the job once more, as far as it has not stopped."""
        return self.state is State.PENDING and self.verdict != "stop"
