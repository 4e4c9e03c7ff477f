"""Entries that are committed together: what one of them is refused for is no business of the others."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from pixmill.errors import LedgerError
from pixmill.ledger import Claim, ClaimDenied, Ledger, State, queries
from pixmill.limits.fair_share import UsageReport
from pixmill.limits.lease_table import LeaseRequest, share_out
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS
from tests.pixmill.limits.test_account_lease import report


@contextmanager
def gathering(ledger: Ledger) -> Iterator[Callable[[int], None]]:
    """Hold the writer until as many entries wait as the caller says: they are written in one group then."""
    writer = ledger._writer
    assert writer
    begun, go_on = threading.Event(), threading.Event()

    def held_up(_: Connection, entries: list[object]) -> list[None]:
        begun.set()
        go_on.wait()
        return [None] * len(entries)

    def until(waiting: int) -> None:
        while writer._queue.qsize() < waiting:
            pass

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(writer.write, held_up, None)
        begun.wait()
        try:
            yield until
        finally:
            go_on.set()
            holder.result()


def all_at_once(ledger: Ledger, *deeds: Callable[[], object]) -> list[object]:
    """Let each write an entry of one group; return in their order what they got, or the error."""

    def outcome(deed: Callable[[], object]) -> object:
        try:
            return deed()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(deeds)) as pool:
        with gathering(ledger) as until:
            asked = []
            for number, deed in enumerate(deeds, 1):
                asked.append(pool.submit(outcome, deed))
                until(number)
        return [each.result() for each in asked]


def raising(_: Connection, __: object) -> list[None]:
    raise RuntimeError("a bug")


def too_few(_: Connection, __: object) -> list[None]:
    return []


def unreadable(ledger: Ledger) -> Callable[[], object]:
    """Ask for a share with what is no report at all."""
    nonsense = UsageReport._make(["?"] * len(UsageReport._fields))
    return lambda: ledger.write(
        share_out, LeaseRequest("a", "main", nonsense, first=True)
    )


CULPRITS: dict[str, Callable[[Ledger], Callable[[], object]]] = {
    "a bug": lambda ledger: lambda: ledger.write(raising, None),
    "too few results": lambda ledger: lambda: ledger.write(too_few, None),
    "a share asked for in nonsense": unreadable,
    "a number that no column holds": lambda ledger: (
        lambda: ledger.record(ANSWERED._replace(job_key="k2", seed=2**70))
    ),
    "a type that no driver knows": lambda ledger: (
        lambda: ledger.record(ANSWERED._replace(job_key="k2", amount=object()))  # type: ignore[arg-type]
    ),
    "a lone surrogate": lambda ledger: (
        lambda: ledger.record(ANSWERED._replace(job_key="k2", message="\ud800"))
    ),
    "a value that may not be null": lambda ledger: (
        lambda: ledger.record(ANSWERED._replace(job_key="k2", charged=None))  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize(
    "first", [True, False], ids=["it comes first", "it comes last"]
)
@pytest.mark.parametrize("culprit", CULPRITS.values(), ids=CULPRITS)
def test_an_entry_that_can_not_be_written_takes_no_other_with_it(
    ledger: Ledger, culprit: Callable[[Ledger], Callable[[], object]], first: bool
) -> None:
    """C16: an answer that was paid for is kept, and so is the claim of a call that goes out."""
    ledger.begin_run("run-1", "pets")
    ledger.claim("k", TERMS)
    ledger.claim("k2", TERMS)
    others = [
        lambda: ledger.record(ANSWERED),
        lambda: ledger.claim("k3", TERMS),
        lambda: ledger.write(
            share_out, LeaseRequest("b", "other", report(1), first=True)
        ),
    ]
    bad = culprit(ledger)
    got = all_at_once(ledger, *([bad, *others] if first else [*others, bad]))
    error = got.pop(0 if first else -1)
    assert isinstance(error, Exception)
    assert got[:2] == [None, Claim(1, 0)]
    assert ledger.known(["k", "k2", "k3"], max_runs=3).states == [
        State.SUCCEEDED,
        State.IN_FLIGHT,
        State.IN_FLIGHT,
    ]
    assert ledger.read(queries.calls_of, "run-1") == 3
    assert ledger.claim("k4", TERMS) == Claim(1, 0)


def test_a_database_that_fails_refuses_the_whole_group_and_all_that_comes(
    ledger: Ledger,
) -> None:
    """B1: what the disk has of it is not known, so that nothing is tried again by itself."""
    ledger.begin_run("run-1", "pets")
    with ledger.database.writing.begin() as connection:
        connection.exec_driver_sql("DROP TABLE jobs")
    got = all_at_once(ledger, *(lambda: ledger.claim("k", TERMS) for _ in range(3)))
    assert [type(error) for error in got] == [LedgerError] * 3
    with pytest.raises(LedgerError, match="could not be written"):
        ledger.finish_run("run-1", {})


@pytest.mark.parametrize(
    ("before", "claimed"),
    [
        (None, ClaimDenied(State.IN_FLIGHT)),
        (State.SUCCEEDED, ClaimDenied(State.SUCCEEDED)),
    ],
    ids=["new", "asked for once more"],
)
def test_a_key_that_stands_twice_in_a_group_is_claimed_once(
    ledger: Ledger, before: State | None, claimed: ClaimDenied
) -> None:
    """C17: of a chunk that came twice the second one hears where the key stands, not that a budget is spent."""
    ledger.begin_run("run-1", "pets")
    if before:
        ledger.claim("k", TERMS)
        ledger.record(ANSWERED)
        ledger.mark_to_pay_again([("k", 1)])
    got = all_at_once(ledger, *(lambda: ledger.claim("k", TERMS) for _ in range(3)))
    assert got == [Claim(2 if before else 1, 0), claimed, claimed]
