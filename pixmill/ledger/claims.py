"""Claims: the one statement that lets a call be sent, granted within what states and budgets allow.

A claim is one conditional upsert. Who may claim a job depends on its row in `jobs`:

| the job                                          | who may claim it | rule                |
|--------------------------------------------------|------------------|---------------------|
| has no row                                       | any run          | the insert          |
| has a running task that no process polls         | any run          | `tasks.take_over`   |
| has an owner                                     | nobody           |                     |
| is `pending`                                     | any run          | `is_pending`        |
| failed transiently in fewer than `max_runs` runs | another run      | `failed_elsewhere`  |
| has an outcome, and a mark for one more payment  | any run          | `is_marked`         |
| is in doubt, and the config retries that         | another run      | `doubted_elsewhere` |
| is anything else                                 | nobody           |                     |

Taking over a task costs nothing, so it comes first, even with the budget used up. The rules from
`is_pending` on are for a job that is unclaimed. Those of paying again, `is_marked` and
`doubted_elsewhere`, hold as long as fewer than `max_runs` runs tried in vain
(`pixmill.ledger.payment_marks`); the job keeps its outcome until the call brings another one.
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
from pixmill.ledger.dialects import clock, execute, json_values, upsert
from pixmill.ledger.job_conditions import (
    is_retryable_failure,
    is_state,
    is_unclaimed,
)
from pixmill.ledger.payment_marks import (
    MARK_IN_USE,
    NO_MARK,
    has_mark,
    may_be_paid_again,
)
from pixmill.ledger.process_owner import this_owner
from pixmill.ledger.records import Claim, ClaimDenied, ClaimTerms, State, Task
from pixmill.ledger.schema import jobs, runs
from pixmill.ledger.tasks import take_over
from pixmill.money import from_units, to_units

_CLAIM_COLUMNS = (
    "owner",
    "lease_until",
    "claim_run",
    "claim_account",
    "claimed_at",
    "claim_amount",
)
"""What a claim always writes: who holds it and what its call may cost."""

_OUTCOME_COLUMNS = ("state", "run_id", "provider", "account", "req_key")
"""What a claim writes too, unless the job is paid again: then these are about the outcome that it
has, and stay until the call brings a new one."""

_MAX_RUNS: BindParameter[int] = bindparam("max_runs")
_RETRY_DOUBT: BindParameter[bool] = bindparam("retry_doubt", type_=Boolean)


def _build_upsert(insert: Any) -> Any:
    """Return the conditional upsert of a JSON list of keys; the same key may not be in it twice."""
    keys = json_values(bindparam("keys")).table_valued("value")
    names = (*_OUTCOME_COLUMNS, *_CLAIM_COLUMNS)
    # By position: the columns of the select are those that `from_select` names, in this order.
    columns = ("job_key", "attempts", *names)
    values = (
        keys.c.value,
        literal_column("1"),
        *(bindparam(name) for name in names),
    )
    # SQLite needs a WHERE here: without one it reads ON CONFLICT as the ON of a join
    # (https://sqlite.org/lang_upsert.html, "Parsing Ambiguity").
    source = select(*values).where(true())
    new = insert(jobs).from_select(columns, source, include_defaults=False)

    in_another_run = jobs.c.run_id != new.excluded.run_id
    is_paid_again = may_be_paid_again(_MAX_RUNS, _RETRY_DOUBT)
    is_pending = is_state(State.PENDING)
    failed_elsewhere = and_(is_retryable_failure(_MAX_RUNS), in_another_run)
    is_marked = and_(is_paid_again, has_mark())
    doubted_elsewhere = and_(is_paid_again, is_state(State.IN_DOUBT), in_another_run)

    unless_paid_again = {
        name: case((is_paid_again, jobs.c[name]), else_=new.excluded[name])
        for name in _OUTCOME_COLUMNS
    }
    of_the_claim = {name: new.excluded[name] for name in _CLAIM_COLUMNS}
    in_use = literal_column(str(MARK_IN_USE), Integer)
    no_mark = literal_column(str(NO_MARK), Integer)
    return new.on_conflict_do_update(
        index_elements=[jobs.c.job_key],
        set_=unless_paid_again
        | of_the_claim
        | {
            # Noted so that the answer can give back a mark that this claim used up.
            "again": case((has_mark(), in_use), else_=no_mark),
            "attempts": jobs.c.attempts + literal_column("1"),
        },
        where=and_(
            is_unclaimed(),
            or_(is_pending, failed_elsewhere, is_marked, doubted_elsewhere),
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
    terms: ClaimTerms
    amount: Decimal | None = None

    @property
    def units(self) -> int | None:
        """What the call costs at most, in billionths of the currency, as budgets count; the price
        of the run where the call has none of its own."""
        amount = self.terms.price if self.amount is None else self.amount
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
        exceeded_cap: dict[tuple[str, str], str] = {}
        for terms in dict.fromkeys(entry.terms for entry in entries):
            asked: dict[str, int | None] = {}
            for entry in entries:
                if entry.terms == terms:
                    asked.setdefault(entry.job_key, entry.units)
            claims, over = self._claim_within_budgets(connection, terms, asked)
            granted |= {(key, terms.run_id): claim for key, claim in claims.items()}
            exceeded_cap |= {(key, terms.run_id): cap for key, cap in over.items()}
        answers: list[Claim | ClaimDenied] = []
        for entry in entries:
            asked_by = (entry.job_key, entry.terms.run_id)
            # If a key is listed twice, the first entry gets the claim, and the second is told the
            # resulting state.
            claim = granted.pop(asked_by, None)
            cap = exceeded_cap.get(asked_by, "")
            answers.append(claim or _deny(connection, entry, cap))
        return answers

    def _claim_within_budgets(
        self,
        connection: Connection,
        terms: ClaimTerms,
        asked: Mapping[str, int | None],
    ) -> tuple[dict[str, Claim], Mapping[str, str]]:
        """Claim as many of the `asked` keys (key to highest cost in billionths) as budgets allow.

        Return the claims, and for each key that does not fit the cap that it would exceed.
        """
        values = terms.claim_columns(this_owner(), clock(connection)())
        claims = {}
        for row in take_over(connection, list(asked), values):
            amount = row.claim_amount
            task = Task(
                task_id=row.claim_task,
                run_id=row.claim_run,
                account=row.claim_account,
                since=row.task_since,
                amount=None if amount is None else from_units(amount),
            )
            claims[row.job_key] = Claim(row.attempts, row.rerolls, task)
        to_claim = {key: units for key, units in asked.items() if key not in claims}
        over: Mapping[str, str] = {}
        while to_claim:
            room = self._budgets.room(connection, terms)
            fitting, over = room.split_by_fit(to_claim)
            new = _upsert_claims(connection, terms, values, fitting)
            claims |= new
            if len(new) == len(fitting):
                # Every key that fitted has used its room, so the others do not fit.
                break
            # A refused key frees its room: those that did not fit are tried again, without the
            # refused ones, so that each round is smaller.
            to_claim = {key: to_claim[key] for key in over}
        return claims, over


def _upsert_claims(
    connection: Connection,
    terms: ClaimTerms,
    values: Mapping[str, Any],
    asked: Mapping[str, int | None],
) -> dict[str, Claim]:
    """Claim those of the `asked` keys whose rows allow it, and count their calls."""
    statement = upsert(connection.dialect.name, _build_upsert)
    claims = {}
    # One statement for all that may cost the same.
    for units in dict.fromkeys(asked.values()):
        keys = [key for key, amount in asked.items() if amount == units]
        parameters = {
            **values,
            "claim_amount": units,
            "keys": json.dumps(keys, allow_nan=False),
            **_rule_parameters(terms),
        }
        for key, attempts, rerolls in execute(connection, statement, [parameters]):
            claims[key] = Claim(attempts, rerolls)
    # Counted in the transaction of the claims: a cap holds however many processes claim.
    execute(connection, _COUNT_CALLS, [{"run": terms.run_id, "number": len(claims)}])
    return claims


_STATE = select(jobs.c.state, may_be_paid_again(_MAX_RUNS, _RETRY_DOUBT)).where(
    jobs.c.job_key == bindparam("key")
)


def _deny(connection: Connection, entry: ClaimRequest, cap: str) -> ClaimDenied:
    """Say why a key was not claimed: the budget's `cap`, if its state alone would have allowed it,
    otherwise that state."""
    asked = {"key": entry.job_key, **_rule_parameters(entry.terms)}
    found = connection.execute(_STATE, asked).first()
    if found is None:
        # The insert of a new key has no other condition, so it was never tried: it did not fit.
        return _deny_over_budget(connection, cap)
    state, is_paid_again = found
    # A failed job counts as one to claim: a plan asks only for those that may be. Where another run
    # has just failed it for good, the reason given is the cap, and nothing is paid.
    could_be_claimed = is_paid_again or state in (State.PENDING, State.FAILED)
    if cap and could_be_claimed:
        return _deny_over_budget(connection, cap)
    return ClaimDenied(State(state))


_WITH_RESERVED_MONEY = (
    select(jobs.c.job_key)
    .where(jobs.c.owner == bindparam("own"), jobs.c.claim_amount.is_not(None))
    .limit(1)
)


def _deny_over_budget(connection: Connection, cap: str) -> ClaimDenied:
    # A call counts once it is claimed, and ends as one call: no room comes back. Money does, as a
    # call may cost less than was reserved for it.
    if cap == "max_calls":
        return ClaimDenied(None, cap)
    ours = connection.execute(_WITH_RESERVED_MONEY, {"own": this_owner()}).first()
    return ClaimDenied(None, cap, may_get_room=ours is not None)


def _rule_parameters(terms: ClaimTerms) -> dict[str, Any]:
    """Return the parameters of the rules of paying again, and of retrying failures."""
    return {"max_runs": terms.max_runs, "retry_doubt": terms.retry_doubt}
