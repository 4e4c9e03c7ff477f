"""Whether a run may spend: the rules that stand between a plan and the first paid call."""

from contextlib import suppress
from decimal import Decimal

import yaml
from pydantic import ValidationError

from pixmill.config.loading import config_changes
from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CONFIG
from pixmill.datasets.publishing import last_manifest, published_folder
from pixmill.errors import SpendingRefused, TableError
from pixmill.execution.known_ledger import RESTORE, KnownLedger
from pixmill.ledger import ClaimTerms, Ledger, queries
from pixmill.ledger.budgets import month_begins
from pixmill.planning.plan import Plan
from pixmill.tuning import CLAIM_LEASE_TIMEOUTS


def check_spending(plan: Plan, *, new_store: bool, known: KnownLedger) -> None:
    """Compare a run that nobody watches with its rules. Raises SpendingRefused where
    one is broken.
    """
    config = plan.config
    if not plan.most_to_pay or config.simulated:
        return
    # Nobody watches, so that a mistake in a table could cost any sum.
    if not config.budget.has_cap:
        raise SpendingRefused(
            f"this run would pay for {plan.most_to_pay:,} calls without a cap, and unattended runs "
            "need one",
            hint="set budget.max_calls, or budget.max_cost with budget.price_per_call",
        )
    if known.is_new and not new_store:
        raise _refuse_new_ledger(config, known, "--new-store")


def check_consent(
    plan: Plan, to_pay: int, *, yes: bool, new_store: bool, known: KnownLedger
) -> None:
    """Compare a run that a Python program starts, and that pays for `to_pay` jobs, with its rules.
    Raises SpendingRefused where one is broken.
    """
    config = plan.config
    if not to_pay or config.simulated:
        return
    # Whoever runs a cell or a script has not seen what it costs, unless they say so.
    if not yes and not config.budget.has_cap:
        raise SpendingRefused(
            f"this run would pay for {to_pay:,} calls without a cap",
            hint="max_calls=N caps it, yes=True agrees to all of them; `pixmill.plan` shows what "
            "it would cost",
        )
    if known.is_new and not new_store:
        raise _refuse_new_ledger(config, known, "new_store=True")


def _refuse_new_ledger(
    config: Config, known: KnownLedger, agreement: str
) -> SpendingRefused:
    """A nightly job that lost its disk must not pay for everything again."""
    if known.lost_images:
        return SpendingRefused(
            known.describe_loss(config.name),
            hint=f"{RESTORE}; to pay for them once more, pass {agreement} once",
        )
    # Planning has opened the file by now, which has no run in it.
    return SpendingRefused(
        f"there is no ledger with runs at {known.place}, so everything would be paid for again",
        hint=f"if this store is new, pass {agreement} once; if not, restore its ledger first",
    )


def check_invalid(plan: Plan) -> None:
    """Stop before paying where more rows are invalid than `input.max_invalid` allows.
    Raises TableError.
    """
    allowed = plan.config.input.max_invalid
    if plan.rows and plan.invalid / plan.rows > allowed:
        reasons = ", ".join(
            f"{count:,} {reason}" for reason, count in sorted(plan.reasons.items())
        )
        verb = "is" if plan.invalid == 1 else "are"
        hint = "`pixmill validate` lists the rows; fix them, or raise input.max_invalid"
        if plan.invalid > plan.config.accept.invalid * plan.rows:
            # Else the next thing to meet is a run that pays, publishes and ends with 3.
            hint += ", and accept.invalid as well, or the run ends with exit code 3"
        raise TableError(
            f"{plan.invalid:,} of {plan.rows:,} rows {verb} invalid ({reasons}), more than "
            "input.max_invalid allows "
            f"({allowed:.0%}); nothing was sent",
            hint=hint,
        )


def claim_terms(config: Config, run_id: str) -> ClaimTerms:
    """Return what the ledger compares every claim of a run with, before a call is made."""
    return ClaimTerms(
        run_id=run_id,
        provider=config.provider.kind,
        account=config.account,
        req_key=config.request.req_key,
        max_calls=config.budget.max_calls,
        max_runs=config.retry.max_runs,
        lease_seconds=CLAIM_LEASE_TIMEOUTS * config.limits.timeout_seconds,
        retry_doubt=config.in_doubt == "retry",
        max_cost=config.budget.max_cost,
        max_cost_per_month=config.budget.max_cost_per_month,
        price=config.budget.highest_price,
        timezone=config.budget.timezone,
    )


def month_to_date(config: Config, ledger: Ledger | None) -> Decimal:
    """The money that calls of this account were charged since the month began in
    `budget.timezone`.
    """
    if ledger is None:
        return Decimal(0)
    spent = ledger.read(
        queries.spent,
        account=config.account,
        since=month_begins(config.budget.timezone),
    )
    return spent.get("yes", Decimal(0))


def changes_since_last_run(plan: Plan) -> list[str]:
    """What differs from the last run of this config, one line each; empty for the first run."""
    try:
        before = yaml.safe_load(
            (published_folder(plan.config) / CONFIG).read_text(encoding="utf-8")
        )
    except (OSError, yaml.YAMLError):
        # A first run; or a file that somebody edits, which is no reason not to pay.
        return []
    # An earlier version wrote fewer keys: those that came since had their defaults.
    with suppress(ValidationError):
        before = Config.model_validate(before).model_dump(mode="json")
    changes = config_changes(before, plan.config.model_dump(mode="json"))
    rows = last_manifest(plan.config).get("input", {}).get("rows")
    if rows is not None and rows != plan.rows:
        changes.append(f"rows: {rows:,} → {plan.rows:,}")
    return changes
