"""Ledgers with known calls, written as the engine writes them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from pixmill.ledger import Attempt, Claim, ClaimTerms, Ledger, State, open_ledger

TERMS = ClaimTerms(
    "run-1", "gateway", "main", "key_a", max_calls=None, max_runs=3, lease_seconds=300
)
ANSWERED = Attempt(
    job_key="k",
    run_id="run-1",
    provider="gateway",
    account="main",
    state=State.SUCCEEDED,
    transient=False,
    verdict=State.SUCCEEDED.value,
    charged="yes",
    sent_at=1,
    answered_at=2,
    http_status=200,
    code="10000",
    message="Success",
    request_id="r",
    rephraser_result="",
    output_urls=None,
    url_expires_at=None,
    images=None,
    queue_ms=1.0,
    latency_ms=2.0,
    provider_ms=3.0,
    amount=Decimal("0.2"),
    currency="CNY",
    seed=7,
    rerolls=0,
    attempt=1,
    answer=b"{}",
)
"""One call as the engine records it, for tests to change what they are about."""

_STATES = {"yes": State.SUCCEEDED, "no": State.FAILED, "unknown": State.IN_DOUBT}
_CODES = {"yes": "10000", "no": "50400", "unknown": "http_504"}


def micros(moment: str) -> int:
    """Of an ISO 8601 time; one without a zone is one of Shanghai."""
    stamp = datetime.fromisoformat(moment if "+" in moment else f"{moment}+08:00")
    return int(stamp.timestamp() * 1e6)


class Books:
    """A ledger under construction: each call is claimed and recorded under a job key of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.calls = 0

    def run(self, run_id: str, config: str) -> None:
        self.ledger.begin_run(run_id, config)

    def call(
        self,
        moment: str,
        charged: str = "yes",
        *,
        run: str = "run-1",
        price: str | None = "0.2",
        currency: str = "CNY",
        req_key: str = "key_a",
        code: str | None = None,
    ) -> str:
        """Write one call; return its request id."""
        self.calls += 1
        key = f"job-{self.calls}"
        assert isinstance(
            self.ledger.claim(key, TERMS._replace(run_id=run, req_key=req_key)), Claim
        )
        recorded = ANSWERED._replace(
            job_key=key,
            run_id=run,
            state=_STATES[charged],
            verdict=_STATES[charged].value,
            charged=charged,
            sent_at=micros(moment) - 1,
            answered_at=micros(moment),
            code=code or _CODES[charged],
            request_id=f"request-{self.calls}",
            amount=None if charged == "no" or price is None else Decimal(price),
            currency=currency,
        )
        self.ledger.record(recorded)
        return f"request-{self.calls}"


@contextmanager
def books(store: Path | str, run: str = "run-1") -> Iterator[Books]:
    """The ledger in the folder `store`, or at that address, with a new run of the config `pets`."""
    ledger = open_ledger(store / "ledger.db" if isinstance(store, Path) else store)
    assert ledger
    try:
        made = Books(ledger)
        made.run(run, "pets")
        yield made
    finally:
        ledger.close()


@contextmanager
def being_written(book: Books) -> Iterator[None]:
    """Write one call after the other until the body ends."""
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            book.call("2026-11-01T12:00")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()
