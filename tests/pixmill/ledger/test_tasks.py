"""Tasks that work at the provider: paid for once, whoever asks what became of them."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from pixmill.ledger import (
    Attempt,
    Claim,
    ClaimDenied,
    ClaimTerms,
    Ledger,
    State,
    Task,
    open_ledger,
    queries,
)
from tests.fork_server import fork_code
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS

NEXT_RUN = TERMS._replace(run_id="run-2")
CAPPED = NEXT_RUN._replace(max_calls=0, max_cost=Decimal("0.0"), price=Decimal("0.2"))


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    for run in ("run-1", "run-2", "run-3"):
        ledger.begin_run(run, "pets")
    return ledger


def ended(state: State = State.SUCCEEDED, **changes: Any) -> Attempt:
    """What became of the task of `k`."""
    recorded = ANSWERED._replace(
        state=state,
        verdict=state.value,
        charged="yes" if state is State.SUCCEEDED else "no",
        output_urls='["https://x/1","https://x/2"]',
        task_id="task-1",
        image_count=2,
    )
    return recorded._replace(**changes)


def submit(ledger: Ledger, terms: ClaimTerms = TERMS, task: str = "task-1") -> None:
    assert isinstance(ledger.claim("k", terms), Claim)
    ledger.record_task("k", task, lease_seconds=900)


def row(ledger: Ledger, *names: str) -> tuple[Any, ...]:
    with ledger.database.reading.connect() as connection:
        query = text(f"SELECT {', '.join(names)} FROM jobs WHERE job_key = 'k'")
        return tuple(connection.execute(query).one())


def charges(ledger: Ledger) -> list[tuple[Any, ...]]:
    """The calls on record: run, task, images, whether it was charged."""
    with ledger.database.reading.connect() as connection:
        query = text(
            "SELECT run_id, task_id, images, charged FROM attempts ORDER BY id"
        )
        return [tuple(of) for of in connection.execute(query)]


def alter(ledger: Ledger, statement: str) -> None:
    with ledger.database.writing.begin() as connection:
        connection.execute(text(statement))


def lend(ledger: Ledger) -> None:
    """Let the claim be that of a process elsewhere whose lease has ended."""
    alter(ledger, "UPDATE jobs SET owner = 'elsewhere|boot|1|2', lease_until = 1")


def killed_after(ledger: Ledger, *statements: str) -> None:
    """Do something in a process that is killed after it."""
    script = "\n".join(
        (
            "import os, signal",
            "from pixmill.ledger import open_ledger",
            "from tests.pixmill.ledger.test_tasks import TERMS, ended",
            f"ledger = open_ledger({str(ledger.address)!r})",
            *statements,
            "os.kill(os.getpid(), signal.SIGKILL)",
        )
    )
    with fork_code(script) as killed:
        assert killed.wait(60) == -9


CLAIM = 'ledger.claim("k", TERMS)'
TASK = 'ledger.record_task("k", "task-1", lease_seconds=900)'
RECORD = "ledger.record(ended())"


def test_a_task_is_written_down_with_its_claim(ledger: Ledger) -> None:
    submit(ledger)
    assert row(ledger, "state", "claim_task", "task_id", "claim_run", "attempts") == (
        State.SUBMITTED,
        "task-1",
        "task-1",
        "run-1",
        1,
    )
    since, claimed, lease = row(ledger, "task_since", "claimed_at", "lease_until")
    assert claimed <= since
    assert lease == since + 900_000_000
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.SUBMITTED)


def test_the_task_of_a_killed_process_is_taken_over_and_not_in_doubt(
    ledger: Ledger,
) -> None:
    """A1: nothing is sent for it again, in whatever order processes die and come."""
    killed_after(ledger, CLAIM, TASK)
    known = ledger.known(["k"], max_runs=3)
    assert (known.states, known.unattended.tolist()) == ([State.SUBMITTED], [True])
    assert ledger.read(queries.in_doubt_calls) == []
    assert ledger.begin_run("run-4", "pets") == 0
    claim = ledger.claim("k", NEXT_RUN)
    (since,) = row(ledger, "task_since")
    task = Task("task-1", "run-1", TERMS.account, since, TERMS.price)
    assert claim == Claim(1, 0, task)
    assert not ledger.known(["k"], max_runs=3).unattended[0]
    assert charges(ledger) == []


@pytest.mark.parametrize(
    ("done", "state", "calls"),
    [
        ((CLAIM,), State.IN_DOUBT, 1),
        ((CLAIM, TASK), State.SUBMITTED, 0),
        ((CLAIM, TASK, RECORD), State.SUCCEEDED, 1),
    ],
    ids=["claimed", "submitted", "recorded"],
)
def test_a_kill_leaves_in_doubt_only_what_has_no_task(
    ledger: Ledger, done: tuple[str, ...], state: State, calls: int
) -> None:
    """A1: a submit that was not answered may have been charged; one that was is asked for."""
    killed_after(ledger, *done)
    found = ledger.begin_run("run-4", "pets")
    assert (found, len(charges(ledger))) == (int(state is State.IN_DOUBT), calls)
    assert ledger.known(["k"], max_runs=3).states == [state]
    claim = ledger.claim("k", NEXT_RUN)
    if state is State.SUBMITTED:
        assert isinstance(claim, Claim)
        assert claim.task
    else:
        assert claim == ClaimDenied(state)


def test_taking_a_task_over_needs_no_budget_and_counts_as_no_call(
    ledger: Ledger,
) -> None:
    submit(ledger)
    ledger.release_task("k")
    assert ledger.claim("other", CAPPED) == ClaimDenied(None, "max_calls")
    claim = ledger.claim("k", CAPPED)
    assert isinstance(claim, Claim)
    assert (claim.attempts, claim.task and claim.task.task_id) == (1, "task-1")
    assert ledger.read(queries.calls_of, "run-2") == 0
    assert ledger.read(queries.calls_of, "run-1") == 1


def test_a_task_counts_in_budgets_until_it_is_known_what_became_of_it(
    ledger: Ledger,
) -> None:
    """E15: also while nobody waits for it, and in the run that submitted it."""
    capped = TERMS._replace(max_cost=Decimal("0.4"), price=Decimal("0.2"))
    submit(ledger, capped)
    ledger.release_task("k")
    assert isinstance(ledger.claim("a", capped), Claim)
    assert getattr(ledger.claim("b", capped), "cap", None) == "max_cost"
    claim = ledger.claim("k", NEXT_RUN)
    assert isinstance(claim, Claim)
    assert claim.task
    assert getattr(ledger.claim("b", capped), "cap", None) == "max_cost"
    failed = ended(State.FAILED, run_id=claim.task.run_id, outcome_run="run-2")
    ledger.record(failed._replace(amount=None))
    assert isinstance(ledger.claim("b", capped), Claim)


def test_an_outcome_is_that_of_the_run_that_paid_and_news_of_the_one_that_asked(
    ledger: Ledger,
) -> None:
    submit(ledger)
    ledger.release_task("k")
    ledger.claim("k", NEXT_RUN)
    ledger.record(ended(outcome_run="run-2"))
    assert row(ledger, "state", "run_id", "outcome_run", "task_id", "image_count") == (
        State.SUCCEEDED,
        "run-1",
        "run-2",
        "task-1",
        2,
    )
    assert (
        row(ledger, "owner", "lease_until", "claim_task", "task_since") == (None,) * 4
    )
    assert charges(ledger) == [("run-1", "task-1", 2, "yes")]
    assert ledger.read(queries.spent, run_id="run-1") == {"yes": Decimal("0.2")}
    assert ledger.read(queries.spent, run_id="run-2") == {}


def test_a_task_tells_whoever_takes_it_over_which_account_pays_and_how_much_at_most(
    ledger: Ledger,
) -> None:
    paying = TERMS._replace(account="studio")
    ledger.claim("k", paying, Decimal("0.6"))
    ledger.record_task("k", "task-1", lease_seconds=900)
    ledger.release_task("k")
    for _ in range(2):  # also after a second take-over
        claim = ledger.claim("k", NEXT_RUN._replace(account="other", price=None))
        assert isinstance(claim, Claim)
        assert claim.task
        assert (claim.task.account, claim.task.amount) == ("studio", Decimal("0.6"))
        ledger.release_task("k")


@pytest.mark.parametrize("first", ["owner", "other"])
@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.PENDING])
def test_what_two_processes_learn_of_a_task_is_recorded_once(
    ledger: Ledger, state: State, first: str
) -> None:
    """H4: the lease of a process that was stopped ended, and both ask the provider."""
    submit(ledger)
    lend(ledger)
    assert ledger.doubt_calls_of_the_dead("run-2", "pets") == 0
    with closing(open_ledger(ledger.address) or ledger) as other:
        assert isinstance(other.claim("k", NEXT_RUN), Claim)
        both = [ledger, other] if first == "owner" else [other, ledger]
        for asker in both:
            asker.record(ended(state))
    assert row(ledger, "state", "owner", "claim_task") == (state, None, None)
    assert len(charges(ledger)) == 1


def test_what_is_said_of_a_task_twice_in_one_group_is_recorded_once(
    ledger: Ledger,
) -> None:
    submit(ledger)
    from pixmill.ledger import writes

    with ledger.database.writing.begin() as connection:
        ledger.database.lock(connection)
        assert writes.record(connection, [ended(), ended()]) == [None, None]
    assert len(charges(ledger)) == 1


def test_a_task_recorded_late_does_not_disturb_the_next_one(ledger: Ledger) -> None:
    """Its own outcome is on record already, and the job was submitted anew since then."""
    submit(ledger)
    ledger.record(ended(State.PENDING))
    submit(ledger, NEXT_RUN, "task-2")
    ledger.record(ended(State.SUCCEEDED))
    assert row(ledger, "state", "claim_task") == (State.SUBMITTED, "task-2")
    ledger.record(ended(State.SUCCEEDED, task_id="task-2", run_id="run-2", attempt=2))
    assert row(ledger, "state", "task_id", "run_id") == (
        State.SUCCEEDED,
        "task-2",
        "run-2",
    )
    assert [task for _, task, _, _ in charges(ledger)] == ["task-1", "task-2"]


def test_what_is_recorded_without_the_task_that_is_out_leaves_it_there(
    ledger: Ledger,
) -> None:
    """A fault of this program after the submit was answered puts nothing into doubt."""
    submit(ledger)
    ledger.record(ended(State.IN_DOUBT, task_id=None, charged="unknown"))
    assert row(ledger, "state", "claim_task") == (State.SUBMITTED, "task-1")


def test_a_submit_that_is_answered_after_its_lease_is_no_longer_in_doubt(
    ledger: Ledger,
) -> None:
    """H11: a machine that slept in the middle of a submit. The call is on the bill once."""
    ledger.claim("k", TERMS)
    lend(ledger)
    assert ledger.doubt_calls_of_the_dead("run-2", "pets") == 1
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.IN_DOUBT)
    ledger.mark_to_pay_again([("k", 1)])
    ledger.record_task("k", "task-1", lease_seconds=900)
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.SUBMITTED)
    ledger.record(ended())
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.SUCCEEDED)
    assert ledger.read(queries.spent, run_id="run-1") == {"yes": Decimal("0.2")}


def test_a_task_that_comes_too_late_takes_no_claim_away(ledger: Ledger) -> None:
    ledger.claim("k", TERMS)
    lend(ledger)
    ledger.doubt_calls_of_the_dead("run-2", "pets")
    ledger.mark_to_pay_again([("k", 1)])
    alter(ledger, "UPDATE jobs SET owner = 'elsewhere|boot|1|2', again = 2")
    ledger.record_task("k", "task-1", lease_seconds=900)
    assert row(ledger, "owner", "claim_task") == ("elsewhere|boot|1|2", None)
    ledger.record(ended())
    assert row(ledger, "state", "owner") == (State.SUCCEEDED, "elsewhere|boot|1|2")


@pytest.mark.parametrize(
    "state", [State.SUCCEEDED, State.REFUSED, State.FAILED, State.IN_DOUBT]
)
def test_a_repayment_s_task_is_paid_for_once_and_the_outcome_stays_meanwhile(
    ledger: Ledger, state: State
) -> None:
    """Neither a person who asks again nor `in_doubt: retry` submits a second time."""
    ledger.claim("k", TERMS)
    transient = state is State.FAILED
    ledger.record(ended(state, task_id=None, transient=transient))
    ledger.mark_to_pay_again([("k", 1)])
    submit(ledger, NEXT_RUN)
    assert row(ledger, "state", "run_id") == (state, "run-1")
    ledger.release_task("k")
    ledger.mark_to_pay_again([("k", 2)])
    known = ledger.known(["k"], max_runs=3, retry_doubt=True)
    assert (known.again.tolist(), known.unattended.tolist()) == ([False], [True])
    third = TERMS._replace(run_id="run-3", retry_doubt=True)
    claim = ledger.claim("k", third)
    assert isinstance(claim, Claim)
    assert claim.task
    assert claim.task.run_id == "run-2"
    ledger.record(ended(run_id="run-2", outcome_run="run-3", attempt=2))
    assert row(ledger, "state", "run_id") == (State.SUCCEEDED, "run-2")


def test_two_runs_never_pay_at_once_for_a_failure_that_is_marked(
    ledger: Ledger,
) -> None:
    """I2: it keeps its outcome while one of them has it in flight."""
    ledger.claim("k", TERMS)
    ledger.record(ended(State.FAILED, task_id=None, transient=True))
    ledger.mark_to_pay_again([("k", 1)])
    assert isinstance(ledger.claim("k", NEXT_RUN), Claim)
    third = TERMS._replace(run_id="run-3")
    assert ledger.claim("k", third) == ClaimDenied(State.FAILED)


def test_only_its_owner_lets_go_of_a_task(ledger: Ledger) -> None:
    submit(ledger)
    lend(ledger)
    ledger.release_task("k")
    assert row(ledger, "owner") == ("elsewhere|boot|1|2",)


def test_a_claim_without_a_task_is_not_let_go_of(ledger: Ledger) -> None:
    """Its call may have been sent."""
    ledger.claim("k", TERMS)
    ledger.release_task("k")
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.IN_FLIGHT)


def test_a_ledger_with_a_task_out_is_not_at_rest(ledger: Ledger) -> None:
    """What a run publishes then is not what the next one will find."""
    assert not ledger.read(queries.has_claims)
    submit(ledger)
    ledger.release_task("k")
    assert ledger.read(queries.has_claims)
    ledger.claim("k", NEXT_RUN)
    ledger.record(ended())
    assert not ledger.read(queries.has_claims)
