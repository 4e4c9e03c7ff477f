"""Shares of an account in the ledger: leases that are renewed, given back, and taken over from the dead."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text, update

from pixmill.ledger import Ledger
from pixmill.ledger.dialects import clock
from pixmill.ledger.schema import shares
from pixmill.limits.fair_share import Share
from pixmill.limits.lease_table import LeaseRequest, share_out
from pixmill.tuning import SHARE_LEASE_SECONDS
from tests.fork_server import fork_code
from tests.pixmill.limits.test_account_lease import report


def ask(
    ledger: Ledger,
    lease: str,
    held: int = 0,
    *,
    account: str = "main",
    pause: float = 0.0,
) -> Share:
    share = ledger.write(
        share_out,
        LeaseRequest(
            lease, account, report(held)._replace(pause_seconds=pause), first=True
        ),
    )
    assert share
    return share


def test_what_is_given_back_is_there_for_the_next_one_at_once(ledger: Ledger) -> None:
    assert ask(ledger, "a").slots == 10
    assert ask(ledger, "b").slots == 0
    assert ledger.write(share_out, LeaseRequest("a", "main", None, first=False)) is None
    assert ask(ledger, "b").slots == 10


def test_every_account_is_by_itself(ledger: Ledger) -> None:
    assert ask(ledger, "a").slots == 10
    assert ask(ledger, "b", account="other").slots == 10


def test_a_dead_process_is_recognised_at_once(ledger: Ledger) -> None:
    """H3: it is gone from this host, whatever its lease says."""
    code = "from pixmill.ledger.process_owner import this_owner; print(this_owner())"
    with fork_code(code) as child:
        owner = child.communicate(60)[0].strip()
    ask(ledger, "a")
    tell(ledger, "a", owner=owner)
    assert ask(ledger, "b").slots == 10


@pytest.mark.parametrize(
    "seconds",
    [SHARE_LEASE_SECONDS + 1, -86_400],
    ids=["it ended", "the clock was put back"],
)
def test_a_lease_elsewhere_is_believed_until_it_ends(
    ledger: Ledger, seconds: float
) -> None:
    """H4, H5: by the database's clock."""
    ask(ledger, "a")
    tell(ledger, "a", owner="elsewhere|boot|1|1")
    assert ask(ledger, "b").slots == 0
    now = ledger.read(lambda connection: clock(connection)())
    tell(ledger, "a", expires_at=now + int((SHARE_LEASE_SECONDS - seconds) * 1e6))
    assert ask(ledger, "b").slots == 10


def test_all_processes_hear_for_how_long_the_provider_wants_to_be_left_alone(
    ledger: Ledger,
) -> None:
    """D11."""
    ask(ledger, "a", pause=60)
    assert 50 < ask(ledger, "b").pause_seconds <= 60


def test_a_ledger_from_before_there_were_shares_gets_the_table(ledger: Ledger) -> None:
    """F11: no migration is needed for it."""
    with ledger.database.writing.begin() as connection:
        connection.execute(text("DROP TABLE shares"))
    assert ask(ledger, "a").slots == 10


def more(record: dict[str, Any]) -> str:
    for part in (
        record,
        record["report"],
        record["report"]["slots"],
        record["report"]["rate"],
    ):
        part["of a later version"] = {"any": "thing"}
    return json.dumps(record)


def changed(*names: str, to: Any) -> Callable[[dict[str, Any]], str]:
    """What stands in a record under a name in a name … is another thing; `None`: is not there."""

    def change(record: dict[str, Any]) -> str:
        part = record
        for name in names[:-1]:
            part = part[name]
        del part[names[-1]]
        if to is not None:
            part[names[-1]] = to
        return json.dumps(record)

    return change


def test_a_record_of_a_later_version_is_read_as_far_as_it_is_known(
    ledger: Ledger,
) -> None:
    """C18: what it holds counts."""
    ask(ledger, "a")
    ask(ledger, "a", held=10)
    tell(ledger, "a", record=more(json.loads(record_of(ledger, "a"))))
    assert ask(ledger, "b").slots == 0


def test_a_record_keeps_the_names_by_which_other_versions_find_its_values(
    ledger: Ledger,
) -> None:
    """C18."""
    ask(ledger, "a", pause=60)
    record = json.loads(record_of(ledger, "a"))
    assert set(record) == {"report", "portion", "changes"}
    names = "held wanted wanted_rate concurrency qps slots rate hold"
    assert list(record["report"]) == names.split()
    assert record["report"]["hold"] == 60


@pytest.mark.parametrize(
    "change",
    [
        lambda record: json.dumps([[*record["report"].values(), 0], record["portion"]]),
        lambda record: json.dumps([list(record["report"].values()), record["portion"]]),
        changed("report", "wanted", to=None),
        changed("report", "slots", "limit", to=None),
        changed("report", "slots", to=[0, 1, 2]),
        changed("report", "rate", to=7),
        changed("report", "held", to="ten"),
        changed("report", "qps", to=float("nan")),
        changed("portion", to=float("inf")),
        changed("portion", to={}),
        changed("report", to=None),
        lambda _: "no JSON at all",
        lambda _: "null",
        lambda _: "",
    ],
)
def test_a_record_that_can_not_be_read_keeps_its_lease_and_wants_nothing(
    ledger: Ledger, change: Callable[[dict[str, Any]], str]
) -> None:
    """C18: processes of other versions on one account; nobody's run waits for ever."""
    ask(ledger, "a", held=10, pause=60)
    tell(ledger, "a", record=change(json.loads(record_of(ledger, "a"))))
    share = ask(ledger, "b")
    assert (share.slots, share.account_fraction) == (10, 1.0)
    assert 50 < share.pause_seconds <= 60, (
        "what its provider asked for is on record apart"
    )
    assert record_of(ledger, "a") is not None
    assert ask(ledger, "a", held=0).slots == 0, (
        "in its turn it is one of the account again"
    )


def record_of(ledger: Ledger, lease: str) -> str:
    """What is on record of a process."""
    record = select(shares.c.record).where(shares.c.lease == lease)
    return ledger.read(lambda connection: connection.execute(record).scalar_one())


def tell(ledger: Ledger, lease: str, **values: object) -> None:
    """Change a row as another process would have written it."""
    with ledger.database.writing.begin() as connection:
        connection.execute(
            update(shares).where(shares.c.lease == lease).values(**values)
        )
