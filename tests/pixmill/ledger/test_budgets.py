"""Caps on money are held in the transaction that claims a call, against all that the ledger knows."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import insert

from pixmill.ledger import Claim, ClaimDenied, ClaimTerms, Ledger, queries
from pixmill.ledger import budgets as budgets_module
from pixmill.ledger.budgets import month_begins
from pixmill.ledger.schema import attempts
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS, Books, books

MONTHLY = TERMS._replace(
    max_cost_per_month=Decimal("1.0"), price=Decimal("0.2"), timezone="Asia/Shanghai"
)
FULL = ClaimDenied(None, "max_cost_per_month", may_get_room=True)


@pytest.fixture
def shop(address: str) -> Iterator[Books]:
    with books(address) as open_books:
        yield open_books


def now() -> str:
    return datetime.now(UTC).isoformat()


def claims(ledger: Ledger, terms: ClaimTerms, most: int = 20) -> int:
    """How many calls are granted in a row."""
    return sum(
        isinstance(ledger.claim(f"new {terms.run_id} {at}", terms), Claim)
        for at in range(most)
    )


def test_a_month_counts_what_was_and_what_may_have_been_charged(shop: Books) -> None:
    for charged in ("yes", "unknown", "no", "no"):
        shop.call(now(), charged)
    assert claims(shop.ledger, MONTHLY) == 3
    assert shop.ledger.claim("one more", MONTHLY) == FULL


def test_a_month_is_that_of_the_account_and_of_the_time_zone(shop: Books) -> None:
    last_month = datetime.fromtimestamp(
        month_begins("Asia/Shanghai") / 1e6 - 1, UTC
    ).isoformat()
    for _ in range(9):
        shop.call(last_month)
    assert claims(shop.ledger, MONTHLY) == 5
    assert claims(shop.ledger, MONTHLY._replace(run_id="run-2", account="other")) == 5
    assert claims(shop.ledger, MONTHLY._replace(run_id="run-3")) == 0


def test_a_call_without_a_price_counts_at_the_price_of_the_run(shop: Books) -> None:
    """A config that names no price, or a process that died, must not make room."""
    for _ in range(4):
        shop.call(now(), price=None)
    assert claims(shop.ledger, MONTHLY) == 1


def test_calls_in_flight_count_as_charged_until_their_answer_says_otherwise(
    shop: Books,
) -> None:
    assert claims(shop.ledger, MONTHLY) == 5
    assert claims(shop.ledger, MONTHLY._replace(run_id="run-2")) == 0


def test_a_cap_on_a_run_s_money_lets_calls_that_cost_nothing_through(
    shop: Books,
) -> None:
    capped = TERMS._replace(max_cost=Decimal("0.6"), price=Decimal("0.2"))
    for charged in ("no", "yes", "no"):
        shop.call(now(), charged)
    assert claims(shop.ledger, capped) == 2
    assert shop.ledger.claim("one more", capped) == ClaimDenied(
        None, "max_cost", may_get_room=True
    )


def test_the_tightest_cap_decides_and_is_named(shop: Books) -> None:
    capped = MONTHLY._replace(max_calls=2, max_cost=Decimal("0.6"))
    assert claims(shop.ledger, capped) == 2
    assert shop.ledger.claim("one more", capped) == ClaimDenied(None, "max_calls")


def test_a_new_month_makes_room_in_a_run_that_goes_on(
    shop: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        shop.call(now())
    assert claims(shop.ledger, MONTHLY) == 0
    begins = int(datetime.now(UTC).timestamp() * 1e6) + 1
    monkeypatch.setattr(budgets_module, "month_begins", lambda _: begins)
    assert claims(shop.ledger, MONTHLY) == 5


def test_sixty_four_threads_never_pass_a_cap_on_money(shop: Books) -> None:
    """E15: a cap of 100 calls' worth, used by several runs of one account at once."""
    granted: list[str] = []
    terms = MONTHLY._replace(max_cost_per_month=Decimal("20.0"))

    def claim_all(number: int) -> None:
        mine = terms._replace(run_id=f"run-{number % 3}")
        granted.extend(
            key
            for at in range(5)
            if isinstance(shop.ledger.claim(key := f"{number} {at}", mine), Claim)
        )

    threads = [
        threading.Thread(target=claim_all, args=(number,)) for number in range(64)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == len(set(granted)) == 100


def test_two_processes_share_a_month(shop: Books) -> None:
    """E15, H1: what the other one claims and records counts here at once."""
    script = f"""
from decimal import Decimal
from tests.pixmill.ledger.billing.billing import books
from tests.pixmill.ledger.test_budgets import MONTHLY, claims
with books({str(shop.ledger.address)!r}, "run-9") as other:
    print(claims(other.ledger, MONTHLY._replace(run_id="run-9", max_cost_per_month=Decimal("6.0")), 100))
"""
    command = [sys.executable, "-c", script]
    other = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    ours = claims(shop.ledger, MONTHLY._replace(max_cost_per_month=Decimal("6.0")), 100)
    theirs = int(other.communicate(timeout=60)[0])
    assert ours + theirs == 30


SIX_PRICES = [Decimal(price) for price in ("0.1", "0.2", "0.0155", "0.22", "0.4", "1")]


def test_a_cap_counts_each_call_in_flight_at_its_own_price(shop: Books) -> None:
    """0.1 + 0.2 is not 0.3 in binary, and a call that is too dear leaves its room to a cheaper one."""
    capped = TERMS._replace(max_cost=Decimal("0.3"), price=Decimal(1))
    claim = shop.ledger.claim
    assert isinstance(claim("a", capped, Decimal("0.1")), Claim)
    assert claim("b", capped, Decimal("0.21")) == ClaimDenied(
        None, "max_cost", may_get_room=True
    )
    assert isinstance(claim("c", capped, Decimal("0.2")), Claim)
    assert claim("d", capped, Decimal("0.000000001")) == ClaimDenied(
        None, "max_cost", may_get_room=True
    )
    assert isinstance(claim("e", capped, Decimal(0)), Claim)


def test_an_answer_with_fewer_images_than_there_might_be_makes_room(
    shop: Books,
) -> None:
    capped = TERMS._replace(max_cost=Decimal("0.8"), price=Decimal("0.2"))
    assert isinstance(shop.ledger.claim("k", capped, Decimal("0.8")), Claim)
    assert shop.ledger.claim("next", capped) == ClaimDenied(
        None, "max_cost", may_get_room=True
    )
    shop.ledger.record(ANSWERED._replace(amount=Decimal("0.6"), image_count=3))
    assert isinstance(shop.ledger.claim("next", capped), Claim)
    assert shop.ledger.claim("last", capped) == ClaimDenied(
        None, "max_cost", may_get_room=True
    )


def test_sixty_four_threads_with_six_prices_never_pass_a_cap_by_a_cent(
    shop: Books,
) -> None:
    """E15: what is reserved is the most that a call may cost; answers bring less, and some nothing."""
    cap = Decimal("7.77")
    terms = TERMS._replace(max_cost=cap, price=max(SIX_PRICES))
    over = []
    charged: list[Decimal] = []

    def pay(number: int) -> None:
        price = SIX_PRICES[number % 6]
        for at in range(4):
            key = f"{number} {at}"
            claim = shop.ledger.claim(key, terms, 4 * price)
            if not isinstance(claim, Claim):
                continue
            images = (number + at) % 5
            amount = images * price if images else None
            charged.append(amount or Decimal(0))
            shop.ledger.record(
                ANSWERED._replace(
                    job_key=key, amount=amount, charged="yes" if images else "no"
                )
            )
            if sum(charged) > cap:
                over.append(key)

    threads = [threading.Thread(target=pay, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = shop.ledger.read(queries.spent, run_id="run-1")["yes"]
    assert over == []
    assert cap - 4 < spent == sum(charged) <= cap


def test_ten_thousand_prices_are_summed_to_the_last_digit(shop: Books) -> None:
    """In floats 0.1 ten thousand times is 1,000.0000000001588."""
    with shop.ledger.database.writing.begin() as connection:
        row = {"job_key": "k", "run_id": "run-1", "verdict": "succeeded"}
        paid = {**row, "charged": "yes", "amount": 100_000_000, "answered_at": 1}
        connection.execute(insert(attempts), [paid] * 10_000)
    assert shop.ledger.read(queries.spent)["yes"] == 1_000
