"""Claims: the one statement that lets a call be sent, granted within what states and budgets allow.

A claim is one conditional upsert. Who may claim a job depends on its row in `jobs`:

| the job                                          | who may claim it | rule                |
|--------------------------------------------------|------------------|---------------------|
| has no row                                       | any run          | the insert          |
| has an owner                                     | nobody           | not `nobody_has_it` |
| has a running task that no process polls         | any run          | `tasks.take_over`   |
| is `pending`                                     | any run          | `never_ended`       |
| failed transiently in fewer than `max_runs` runs | another run      | `failed_elsewhere`  |
| has an outcome, and a mark for one more payment  | any run          | `marked`            |
| is in doubt, and the config retries that         | another run      | `doubted_elsewhere` |
| is anything else                                 | nobody           |                     |

Taking over a task costs nothing, so it comes first, even with the budget used up. The rules `marked` and
`doubted_elsewhere` hold for a job that fewer than `max_runs` runs tried in vain (`pixmill.ledger.payment_marks`).
Its outcome stays until the call brings another one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Boolean,
    Connection,
    Integer,
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
from pixmill.ledger.payment_marks import (
    MARK_IN_USE,
    MARKED,
    NO_MARK,
    is_state,
    retryable_failure,
    wanted_again,
)
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.records import Claim, ClaimDenied, RunLimits, State, Task
from pixmill.ledger.schema import jobs, runs
from pixmill.ledger.tasks import take_over
from pixmill.money import from_units, to_units

_CLAIMED = (
    "owner",
    "lease_until",
    "claim_run",
    "claim_account",
    "claimed_at",
    "claim_amount",
)
_OVERWRITTEN = ("state", "run_id", "provider", "account", "req_key")
"""What a claim overwrites where there is no outcome to keep."""

_MAX_RUNS: BindParameter[int] = bindparam("max_runs")
_RETRY_DOUBT: BindParameter[bool] = bindparam("retry_doubt", type_=Boolean)


def _claim_statement(insert: Any) -> Any:
    """The conditional upsert of a JSON list of keys; the same key may not be in it twice."""
    keys = json_values(bindparam("keys")).table_valued("value")
    names = (*_OVERWRITTEN, *_CLAIMED)
    source = select(
        keys.c.value, literal_column("1"), *(bindparam(name) for name in names)
    ).where(true())
    new = insert(jobs).from_select(
        ["job_key", "attempts", *names], source, include_defaults=False
    )
    nobody_has_it = and_(jobs.c.owner.is_(None), jobs.c.claim_task.is_(None))
    in_another_run = jobs.c.run_id != new.excluded.run_id
    may_pay_again = wanted_again(_MAX_RUNS, _RETRY_DOUBT)
    has_mark = jobs.c.again == literal_column(str(MARKED))
    never_ended = is_state(State.PENDING)
    failed_elsewhere = and_(retryable_failure(_MAX_RUNS), in_another_run)
    marked = and_(may_pay_again, has_mark)
    doubted_elsewhere = and_(may_pay_again, in_another_run)
    # An outcome and its `run_id` are kept until a call brings a new outcome.
    kept = {
        name: case((may_pay_again, jobs.c[name]), else_=new.excluded[name])
        for name in _OVERWRITTEN
    }
    claimed = {name: new.excluded[name] for name in _CLAIMED}
    in_use = literal_column(str(MARK_IN_USE), Integer)
    no_mark = literal_column(str(NO_MARK), Integer)
    return new.on_conflict_do_update(
        index_elements=[jobs.c.job_key],
        set_=kept
        | claimed
        | {
            # Noted so that the answer can give back a mark that this claim used up.
            "again": case((has_mark, in_use), else_=no_mark),
            "attempts": jobs.c.attempts + literal_column("1"),
        },
        where=and_(
            nobody_has_it,
            or_(never_ended, failed_elsewhere, marked, doubted_elsewhere),
        ),
    ).returning(jobs.c.job_key, jobs.c.attempts, jobs.c.rerolls)


_COUNT_CALLS = (
    update(runs)
    .where(runs.c.run_id == bindparam("run"))
    .values(calls=runs.c.calls + bindparam("number"))
)


class ClaimRequest(NamedTuple):
    """A job to claim for a run, and what its call costs at most; `None`: no price is known."""

    job_key: str
    limits: RunLimits
    amount: Decimal | None = None

    @property
    def units(self) -> int | None:
        """The amount in billionths, that of the run where it has none."""
        amount = self.limits.price if self.amount is None else self.amount
        return None if amount is None else to_units(amount)


class Claims:
    """Grants claims through one open ledger; `check_not_moved` raises LedgerError if the ledger was
    moved or replaced."""

    def __init__(self, check_not_moved: Callable[[], None]) -> None:
        self._budgets = Budgets()
        self._check_not_moved = check_not_moved

    def forget(self) -> None:
        """Forget cached spending sums: their transaction may have been rolled back."""
        self._budgets = Budgets()

    def claim(
        self, connection: Connection, entries: Sequence[ClaimRequest]
    ) -> list[Claim | ClaimDenied]:
        """Grant what the states and the budgets allow. Raises LedgerError if the ledger was
        moved or replaced."""
        self._check_not_moved()
        granted: dict[tuple[str, str], Claim] = {}
        over_budget: dict[str, str] = {}
        for limits in dict.fromkeys(entry.limits for entry in entries):
            asked: dict[str, int | None] = {}
            for entry in entries:
                if entry.limits == limits:
                    asked.setdefault(entry.job_key, entry.units)
            claims, over = self._claim_for(connection, limits, asked)
            granted |= {(key, limits.run_id): claim for key, claim in claims.items()}
            over_budget |= over
        # If a key is listed twice, the first entry gets the claim, and the second is told the
        # resulting state.
        claimed = [
            granted.pop((entry.job_key, entry.limits.run_id), None) for entry in entries
        ]
        return [
            claim or _deny(connection, entry, over_budget.get(entry.job_key, ""))
            for entry, claim in zip(entries, claimed, strict=True)
        ]

    def _claim_for(
        self,
        connection: Connection,
        limits: RunLimits,
        asked: Mapping[str, int | None],
    ) -> tuple[dict[str, Claim], Mapping[str, str]]:
        """Claim as many of the `asked` keys (key to highest cost in billionths) as budgets allow.

        Return the claims, and for each key that does not fit the cap that it would exceed.
        """
        values = _claim_values(limits, clock(connection)())
        keys = list(asked)
        claims = {}
        for row in take_over(connection, keys, values):
            amount = row.claim_amount
            task = Task(
                task_id=row.claim_task,
                run_id=row.claim_run,
                account=row.claim_account,
                since=row.task_since,
                amount=None if amount is None else from_units(amount),
            )
            claims[row.job_key] = Claim(row.attempts, row.rerolls, task)
        left = {key: units for key, units in asked.items() if key not in claims}
        over: Mapping[str, str] = {}
        while left:
            fitting, over = self._budgets.room(connection, limits).divide(left)
            new = _claim(connection, limits, values, fitting)
            claims |= new
            # A key that could not be claimed frees its room: try those that did not fit again.
            left = {key: left[key] for key in over} if len(new) < len(fitting) else {}
        return claims, over


def _claim(
    connection: Connection,
    limits: RunLimits,
    values: Mapping[str, Any],
    asked: Mapping[str, int | None],
) -> dict[str, Claim]:
    statement = upsert(connection.dialect.name, _claim_statement)
    claims = {}
    # One statement for all that may cost the same.
    for units in dict.fromkeys(asked.values()):
        keys = [key for key, amount in asked.items() if amount == units]
        bound = {
            **values,
            "claim_amount": units,
            "keys": json.dumps(keys, allow_nan=False),
            **_rules(limits),
        }
        for key, attempts, rerolls in run(connection, statement, [bound]):
            claims[key] = Claim(attempts, rerolls)
    # Counted in the transaction of the claims: a cap holds however many processes claim.
    run(connection, _COUNT_CALLS, [{"run": limits.run_id, "number": len(claims)}])
    return claims


_STATE = select(jobs.c.state, wanted_again(_MAX_RUNS, _RETRY_DOUBT)).where(
    jobs.c.job_key == bindparam("key")
)


def _deny(connection: Connection, entry: ClaimRequest, cap: str) -> ClaimDenied:
    """Say why a key was not claimed: the budget's `cap`, if its state alone would have allowed it,
    otherwise that state."""
    asked = {"key": entry.job_key, **_rules(entry.limits)}
    found = connection.execute(_STATE, asked).first()
    if found is None:
        return _over_budget(connection, cap)
    state, may_pay_again = found
    # A failed job is planned only if its failure is retryable, so any failed job counts as claimable
    # here. Even if another run has just failed it for good, the cap is why this run ends.
    could_be_claimed = may_pay_again or state in (State.PENDING, State.FAILED)
    if cap and could_be_claimed:
        return _over_budget(connection, cap)
    return ClaimDenied(State(state))


_RESERVED = (
    select(jobs.c.job_key)
    .where(jobs.c.owner == bindparam("own"), jobs.c.claim_amount.is_not(None))
    .limit(1)
)


def _over_budget(connection: Connection, cap: str) -> ClaimDenied:
    # A call counts once it is claimed; what it costs is known when it has ended.
    if cap == "max_calls":
        return ClaimDenied(None, cap)
    held = connection.execute(_RESERVED, {"own": this_owner()}).first()
    return ClaimDenied(None, cap, is_reserved=held is not None)


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
