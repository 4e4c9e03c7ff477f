"""Claims: the one statement that lets a call be sent, granted within what states and budgets allow.

A claim is one conditional upsert. Who may claim a job, whose row says what is known of it:

| the job                                          | who may claim it | rule                |
|--------------------------------------------------|------------------|---------------------|
| has no row                                       | any run          | the insert          |
| is `pending`                                     | any run          | `never_ended`       |
| failed transiently in fewer than `max_runs` runs | another run      | `failed_elsewhere`  |
| has an outcome, and a mark for one more payment  | any run          | `marked`            |
| is in doubt, and the config retries that         | another run      | `doubted_elsewhere` |
| is anything else                                 | nobody           |                     |

The rules `marked` and `doubted_elsewhere` hold for a job that nobody has in flight, and that fewer than `max_runs` runs
tried in vain (`pixmill.ledger.payment_marks`). Its outcome stays until the call brings another one.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Connection,
    TextClause,
    and_,
    bindparam,
    case,
    literal_column,
    or_,
    select,
    true,
    update,
)

from pixmill.ledger.budgets import Budgets
from pixmill.ledger.dialects import clock, json_values, run, upsert
from pixmill.ledger.payment_marks import is_state, retryable_failure, wanted_again
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.records import Claim, Refused, RunLimits, State
from pixmill.ledger.schema import jobs, runs

_CLAIMED = ("owner", "lease_until", "claim_run", "claim_account", "claimed_at")
_OVERWRITTEN = ("state", "run_id", "provider", "account", "req_key")
"""What a claim overwrites where there is no outcome to keep."""

_MAX_RUNS: BindParameter[int] = bindparam("max_runs")
_RETRY_DOUBT: BindParameter[bool] = bindparam("retry_doubt", type_=Boolean)


@cache
def _claim_of(dialect: str) -> TextClause:
    """The conditional upsert of a JSON list of keys; the same key may not be in it twice."""
    return upsert(dialect, _claim_statement)


def _claim_statement(insert: Any) -> Any:
    keys = json_values(bindparam("keys")).table_valued("value")
    names = (*_OVERWRITTEN, *_CLAIMED)
    source = select(
        keys.c.value, literal_column("1"), *(bindparam(name) for name in names)
    ).where(true())
    new = insert(jobs).from_select(
        ["job_key", "attempts", *names], source, include_defaults=False
    )
    in_another_run = jobs.c.run_id != new.excluded.run_id
    again = wanted_again(_MAX_RUNS, _RETRY_DOUBT)
    has_mark = jobs.c.again == literal_column("1")
    never_ended = is_state(State.PENDING)
    failed_elsewhere = and_(retryable_failure(_MAX_RUNS), in_another_run)
    marked = and_(again, has_mark)
    doubted_elsewhere = and_(again, in_another_run)
    # An outcome is kept, and the run that it came from: a call that brings nothing leaves both.
    kept = {
        name: case((again, jobs.c[name]), else_=new.excluded[name])
        for name in _OVERWRITTEN
    }
    claimed = {name: new.excluded[name] for name in _CLAIMED}
    return new.on_conflict_do_update(
        index_elements=[jobs.c.job_key],
        set_=kept
        | claimed
        | {
            # 2 says that this claim used a mark up, so that the answer can give it back.
            "again": case((has_mark, literal_column("2")), else_=literal_column("0")),
            "attempts": jobs.c.attempts + literal_column("1"),
        },
        where=or_(never_ended, failed_elsewhere, marked, doubted_elsewhere),
    ).returning(jobs.c.job_key, jobs.c.attempts, jobs.c.rerolls)


_SPEND = (
    update(runs)
    .where(runs.c.run_id == bindparam("run"))
    .values(calls=runs.c.calls + bindparam("number"))
)


class Claims:
    """Grants claims through one open ledger; `check_place` raises LedgerError where that is not in
    its place."""

    def __init__(self, check_place: Callable[[], None]) -> None:
        self._budgets = Budgets()
        self._check_place = check_place

    def forget(self) -> None:
        """Forget what was summed up, as some of it may have been undone."""
        self._budgets = Budgets()

    def claim(
        self, connection: Connection, entries: Sequence[tuple[str, RunLimits]]
    ) -> list[Claim | Refused]:
        """Grant what the states and the budgets allow. Raises LedgerError where the ledger was
        taken away."""
        self._check_place()
        granted: dict[tuple[str, str], Claim] = {}
        over_budget: dict[str, str] = {}
        for limits in dict.fromkeys(limits for _, limits in entries):
            keys = list(dict.fromkeys(key for key, of in entries if of == limits))
            while keys and (room := self._budgets.room(connection, limits)).calls != 0:
                # A key that can't be claimed leaves its room to the next ones.
                for key, claim in _claim(connection, keys[: room.calls], limits):
                    granted[key, limits.run_id] = claim
                keys = [] if room.calls is None else keys[room.calls :]
            over_budget.update(dict.fromkeys(keys, room.cap))
        # Of a key that is listed twice the first one gets the claim, the second hears in which
        # state that left it.
        claims = [granted.pop((key, limits.run_id), None) for key, limits in entries]
        return [
            claim or _refuse(connection, key, limits, over_budget.get(key, ""))
            for (key, limits), claim in zip(entries, claims, strict=True)
        ]


def _claim(
    connection: Connection, keys: Sequence[str], limits: RunLimits
) -> Iterator[tuple[str, Claim]]:
    values = {
        **_claim_values(limits, clock(connection)()),
        "keys": json.dumps(keys, allow_nan=False),
        **_rules(limits),
    }
    rows = run(connection, _claim_of(connection.dialect.name), [values]).all()
    # Counted in the transaction of the claims: a cap holds however many processes claim.
    run(connection, _SPEND, [{"run": limits.run_id, "number": len(rows)}])
    for key, attempts, rerolls in rows:
        yield key, Claim(attempts, rerolls)


_STATE = select(jobs.c.state, wanted_again(_MAX_RUNS, _RETRY_DOUBT)).where(
    jobs.c.job_key == bindparam("key")
)


def _refuse(connection: Connection, key: str, limits: RunLimits, cap: str) -> Refused:
    """Say why a key was not claimed: a key that could have been was refused because of the budget's
    `cap`."""
    found = connection.execute(_STATE, {"key": key, **_rules(limits)}).first()
    if found is None:
        return Refused(None, cap)
    state, again = found
    could_be_claimed = again or state in (State.PENDING, State.FAILED)
    if cap and could_be_claimed:
        return Refused(None, cap)
    return Refused(State(state))


def _claim_values(limits: RunLimits, now: int) -> dict[str, Any]:
    return {
        "state": State.IN_FLIGHT.value,
        "owner": this_owner(),
        "lease_until": now + int(limits.lease_seconds * 1e6),
        "run_id": limits.run_id,
        "provider": limits.provider,
        "account": limits.account,
        "req_key": limits.req_key,
        "claim_run": limits.run_id,
        "claim_account": limits.account,
        "claimed_at": now,
    }


def _rules(limits: RunLimits) -> dict[str, Any]:
    return {"max_runs": limits.max_runs, "retry_doubt": limits.retry_doubt}
