"""An answer that comes after its claim was given up: one call, which counts once, as what the answer says."""

from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from pixmill.ledger import Attempt, Claim, Ledger, State, open_ledger, queries
from pixmill.ledger.billing.bill import BY, make_bill, month_period
from pixmill.ledger.schema import now_micros
from pixmill.ledger.stats import row_counts
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS
from tests.pixmill.ledger.billing.test_bill import NOW, SHANGHAI

ENDINGS = {
    "yes": {"state": State.SUCCEEDED, "amount": Decimal("0.2")},
    "no": {"state": State.PENDING, "amount": None},
    "unknown": {"state": State.IN_DOUBT, "amount": Decimal("0.2")},
}
RICH = TERMS._replace(
    run_id="run-2",
    price=Decimal("0.2"),
    max_cost_per_month=Decimal("2.0"),
    account="main",
)


def give_up(ledger: Ledger, number: int = 1) -> None:
    """Let the leases of all claims end, as of a machine that sleeps, and begin a run that finds them."""
    with ledger.database.writing.begin() as connection:
        connection.execute(
            text(
                "UPDATE jobs SET owner = 'elsewhere|boot|1|2', lease_until = 1 WHERE owner <> ''"
            )
        )
    assert ledger.doubt_calls_of_the_dead("run-3", "pets") == number


def answer(charged: str, **changes: Any) -> Attempt:
    ending = ENDINGS[charged]
    return ANSWERED._replace(
        charged=charged,
        verdict=ending["state"].value,
        answered_at=now_micros(),
        **{**ending, **changes},
    )


def counted(ledger: Ledger, by: tuple[str, ...] = ()) -> dict[str, int]:
    """Calls on the bill by whether they were charged."""
    totals = make_bill(ledger, month_period("all", SHANGHAI, NOW), by).totals
    return {name: sum(getattr(line, name).calls for line in totals) for name in ENDINGS}


def room(ledger: Ledger, most: int = 20) -> int:
    """How many more calls the month allows; it is used up then."""
    granted = [ledger.claim(f"room {at}", RICH) for at in range(most)]
    assert getattr(granted[-1], "cap", None) == "max_cost_per_month"
    return sum(isinstance(claim, Claim) for claim in granted)


@pytest.mark.parametrize("by", [(), BY], ids=["in all", "by everything"])
@pytest.mark.parametrize("charged", ENDINGS)
def test_a_call_whose_answer_comes_late_is_on_the_bill_once(
    records: Ledger, charged: str, by: tuple[str, ...]
) -> None:
    """H11: until then it may have been charged; after that it is what the answer says."""
    records.claim("k", TERMS)
    give_up(records)
    assert counted(records, by) == {"yes": 0, "no": 0, "unknown": 1}
    records.record(answer(charged))
    assert counted(records, by) == {**dict.fromkeys(ENDINGS, 0), charged: 1}
    assert records.read(queries.spent, run_id="run-1").get(charged, 0) == (
        ENDINGS[charged]["amount"] or 0
    )
    assert (
        records.read(queries.calls_of, "run-1"),
        records.read(row_counts)["attempts"],
    ) == (1, 1)


@pytest.mark.parametrize("opened", ["before", "meanwhile", "after"])
@pytest.mark.parametrize(("charged", "left"), [("yes", 9), ("no", 10), ("unknown", 9)])
def test_a_budget_counts_it_once_whenever_it_begins_to_count(
    records: Ledger, charged: str, left: int, opened: str
) -> None:
    """H11: a run that goes on has summed up what was given up, and adds what came since."""
    look = RICH._replace(max_cost_per_month=Decimal("0.0"))
    if opened == "before":
        assert (
            getattr(records.claim("other", look), "cap", None) == "max_cost_per_month"
        )
    records.claim("k", TERMS)
    give_up(records)
    if opened == "meanwhile":
        assert (
            getattr(records.claim("other", look), "cap", None) == "max_cost_per_month"
        )
    records.record(answer(charged))
    assert room(records) == left


def test_of_two_that_were_given_up_each_answer_takes_its_own_place(
    records: Ledger,
) -> None:
    """A person asked for one more payment meanwhile."""
    records.claim("k", TERMS)
    give_up(records)
    records.mark_to_pay_again([("k", 1)])
    assert records.claim("k", TERMS._replace(run_id="run-2")) == Claim(2, 0)
    give_up(records)
    assert counted(records) == {"yes": 0, "no": 0, "unknown": 2}
    records.record(answer("no", run_id="run-2", attempt=2))
    assert counted(records) == {"yes": 0, "no": 1, "unknown": 1}
    records.record(answer("yes", attempt=1))
    assert counted(records) == {"yes": 1, "no": 1, "unknown": 0}


def test_an_answer_in_time_takes_no_place_but_its_own(records: Ledger) -> None:
    """A call that was lost stays on the bill when another one for its job is answered."""
    records.claim("k", TERMS)
    give_up(records)
    records.mark_to_pay_again([("k", 1)])
    records.claim("k", TERMS._replace(run_id="run-2"))
    records.record(answer("yes", run_id="run-2", attempt=2))
    assert counted(records) == {"yes": 1, "no": 0, "unknown": 1}
    with closing(open_ledger(records.address) or records) as again:
        assert counted(again) == {"yes": 1, "no": 0, "unknown": 1}
