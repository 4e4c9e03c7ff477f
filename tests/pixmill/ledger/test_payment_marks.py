"""One more payment for what has an outcome: the claim lets one call go for one mark, whoever asks and whenever."""

import subprocess
import sys
from typing import Any

import pytest

from pixmill.ledger import Attempt, Claim, ClaimDenied, Ledger, State
from tests.conftest import ROOT
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS


def ended(state: State, run: str = "run-1", **changes: object) -> Attempt:
    success = state is State.SUCCEEDED
    recorded = ANSWERED._replace(
        run_id=run,
        state=state,
        verdict=state.value,
        charged="yes" if success else "no",
        request_id=f"of {run}",
        output_urls=f'["https://x/{run}"]' if success else None,
        url_expires_at=3 if success else None,
    )
    return recorded._replace(**changes)  # type: ignore[arg-type]


def outcome(records: Ledger) -> tuple[Any, ...]:
    """State, run and images of the job as a dataset would have them."""
    row = next(records.outcomes(["k"])).to_pylist()[0]
    return row["state"], row["run_id"], row["images"] and row["images"][0]["file_name"]


def image(run: str) -> str:
    return f'[{{"file_name": "{run}.jpg"}}]'


def succeed(records: Ledger, run: str = "run-1") -> None:
    assert isinstance(records.claim("k", TERMS._replace(run_id=run)), Claim)
    records.record(ended(State.SUCCEEDED, run))
    records.record_image(
        "k", run, [f"https://x/{run}"], images=image(run), error=None, download_ms=1.0
    )


@pytest.mark.parametrize(
    "state", [State.SUCCEEDED, State.REFUSED, State.FAILED, State.IN_DOUBT]
)
def test_one_mark_lets_one_call_go_and_keeps_the_outcome_meanwhile(
    records: Ledger, state: State
) -> None:
    records.claim("k", TERMS)
    records.record(ended(state))
    assert records.claim("k", TERMS._replace(run_id="run-2")) == ClaimDenied(state)
    records.mark_to_pay_again([("k", 1)])
    assert bool(records.known(["k"], max_runs=3).again[0])
    second, third = (TERMS._replace(run_id=run) for run in ("run-2", "run-3"))
    assert records.claim("k", second) == Claim(2, 0)
    assert outcome(records)[:2] == (state, "run-1")
    assert records.claim("k", third) == ClaimDenied(state)
    assert not records.known(["k"], max_runs=3).again[0]
    records.mark_to_pay_again([("k", 2)])  # while it is in flight
    records.record(ended(State.SUCCEEDED, "run-2"))
    assert outcome(records)[:2] == (State.SUCCEEDED, "run-2")
    assert records.claim("k", third) == ClaimDenied(State.SUCCEEDED)


def test_marking_twice_is_one_payment_and_marking_too_late_is_none(
    records: Ledger,
) -> None:
    succeed(records)
    for _ in range(2):
        records.mark_to_pay_again([("k", 1)])
    succeed(records, "run-2")
    records.mark_to_pay_again(
        [("k", 1)]
    )  # agreed to when there was one attempt; there are two
    assert records.claim("k", TERMS._replace(run_id="run-3")) == ClaimDenied(
        State.SUCCEEDED
    )


def test_a_marked_job_that_the_budget_has_no_room_for_is_refused_for_the_budgets_sake(
    records: Ledger,
) -> None:
    succeed(records)
    records.mark_to_pay_again([("k", 1)])
    assert records.claim(
        "k", TERMS._replace(run_id="run-2", max_calls=0)
    ) == ClaimDenied(None, "max_calls")
    assert records.known(["k"], max_runs=3).again[0]


def test_images_of_an_earlier_call_do_not_get_among_those_of_a_later_one(
    records: Ledger,
) -> None:
    """A slow fetch of the old URL ends after the new image is there."""
    succeed(records)
    records.mark_to_pay_again([("k", 1)])
    succeed(records, "run-2")
    records.record_image(
        "k",
        "run-3",
        ["https://x/run-1"],
        images=None,
        error="image_lost",
        download_ms=1.0,
    )
    assert outcome(records) == (State.SUCCEEDED, "run-2", "run-2.jpg")


def test_a_late_success_is_kept_and_takes_an_unused_mark_away(records: Ledger) -> None:
    """H4: in doubt, marked by a person, and then the answer comes after all: nothing is left to pay for."""
    records.claim("k", TERMS)
    records.record(ended(State.IN_DOUBT))
    records.mark_to_pay_again([("k", 1)])
    records.record(ended(State.SUCCEEDED))
    assert outcome(records)[0] == State.SUCCEEDED
    assert records.claim("k", TERMS._replace(run_id="run-2")) == ClaimDenied(
        State.SUCCEEDED
    )


def test_a_mark_whose_call_died_with_its_process_is_used_up(records: Ledger) -> None:
    """A1: it may have been charged, so the person who agreed to one more payment is asked anew."""
    succeed(records)
    records.mark_to_pay_again([("k", 1)])
    script = f"""
import os
from pixmill.ledger import open_ledger
from tests.pixmill.ledger.test_payment_marks import TERMS
ledger = open_ledger({str(records.address)!r})
ledger.claim("k", TERMS._replace(run_id="run-2"))
os._exit(9)
"""
    assert (
        subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode
        == 9
    )
    assert records.begin_run("run-4", "pets") == 1
    assert records.claim("k", TERMS._replace(run_id="run-3")) == ClaimDenied(
        State.SUCCEEDED
    )
    assert outcome(records)[:2] == (State.SUCCEEDED, "run-1")


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "not marked"])
@pytest.mark.parametrize("verdict", ["stop", "throttle_rate", "retry"])
def test_what_retry_tried_in_vain_is_held_again_unless_a_person_has_marked_it(
    records: Ledger, verdict: str, marked: bool
) -> None:
    """H12: `in_doubt: retry` asks for no mark, and leaves none that `hold` would pay for."""
    records.claim("k", TERMS)
    records.record(ended(State.IN_DOUBT))
    if marked:
        records.mark_to_pay_again([("k", 1)])
    retrying = TERMS._replace(run_id="run-2", retry_doubt=True)
    for attempt in (2, 3):  # within one run, as after a pause
        assert records.claim("k", retrying) == Claim(attempt, 0)
        records.record(ended(State.PENDING, "run-2", verdict=verdict, attempt=attempt))
    assert outcome(records)[:2] == (State.IN_DOUBT, "run-1")
    assert bool(records.known(["k"], max_runs=3).again[0]) == marked
    assert records.known(["k"], max_runs=3, retry_doubt=True).again[0]
    held = TERMS._replace(run_id="run-3")
    assert records.claim("k", held) == (
        Claim(4, 0) if marked else ClaimDenied(State.IN_DOUBT)
    )


def test_a_mark_on_a_success_comes_back_after_a_transient_failure(
    records: Ledger,
) -> None:
    """The service brought nothing for it."""
    succeed(records)
    records.mark_to_pay_again([("k", 1)])
    assert records.claim("k", TERMS._replace(run_id="run-2")) == Claim(2, 0)
    assert not records.known(["k"], max_runs=3).again[0]
    records.record(ended(State.FAILED, "run-2", transient=True, attempt=2))
    assert records.claim("k", TERMS._replace(run_id="run-3")) == Claim(3, 0)
