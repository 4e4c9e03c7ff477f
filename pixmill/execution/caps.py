"""What the caps of `budget` leave of a run, before it begins: how many of its calls fit."""

from decimal import Decimal
from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.execution.spending_rules import claim_terms
from pixmill.ledger import Ledger
from pixmill.ledger.budgets import Budgets, Room
from pixmill.money import from_units, to_units
from pixmill.planning.jobs import JobPrice
from pixmill.planning.plan import Plan


class CallsWithinCaps(NamedTuple):
    """How many calls of a run fit under its caps."""

    planned: int
    """The calls that it would pay for without caps, and without further candidates."""
    calls: int
    """How many of them are sure to fit."""
    cost: Decimal | None
    """What these cost at most, `None` where a price is not known."""
    most_calls: int
    """How many may fit, with the candidates that may have to be paid for later."""
    most_cost: Decimal | None
    cap: str | None = None
    """The key of `budget` that ends it before all planned calls, `None` where all fit."""
    ends_at_once: bool = False
    """Whether there are calls to pay for, of which none fits."""

    @property
    def is_exact(self) -> bool:
        """Whether it is known how many of the planned calls fit. Under a cap on money it depends on
        the images of each answer where these are paid for, and on which job comes first where
        prices differ."""
        return self.cap is None or self.calls == min(self.most_calls, self.planned)


def fit_into_caps(
    plan: Plan, limit: int | None, ledger: Ledger | None
) -> CallsWithinCaps:
    """Return how many calls fit of a run that begins now and pays for at most `limit` keys."""
    planned = plan.to_pay if limit is None else min(limit, plan.to_pay)
    most = plan.most_calls_within(limit)
    room = _find_room(plan.config, ledger)
    fitting = planned
    cap = None
    left = None
    if room.units:
        by_money = min(room.units, key=room.units.__getitem__)
        left = max(0, room.units[by_money])
        fitting = _count_fitting(plan, planned, left)
        if fitting < planned:
            cap = by_money
        prices = (*plan.costs.to_pay_at, *plan.costs.later_at)
        least = [to_units(price.least) if price else 0 for price, n in prices if n]
        cheapest = min(least, default=0)
        if cheapest:
            most = min(most, left // cheapest)
    if room.calls is not None:
        if room.calls < fitting:
            cap = "max_calls"
        fitting = min(fitting, room.calls)
        most = min(most, room.calls)
    most = max(most, fitting)
    cost = plan.cost_of(fitting)
    most_cost = plan.most_cost_within(most)
    if left is not None and most_cost is not None:
        most_cost = min(most_cost, max(cost or Decimal(0), from_units(left)))
    return CallsWithinCaps(
        planned,
        fitting,
        cost,
        most,
        most_cost,
        cap,
        ends_at_once=planned > 0
        and fitting == 0
        and _fits_none(plan, room.calls, left),
    )


def _find_room(config: Config, ledger: Ledger | None) -> Room:
    """Return what the caps leave a run that begins now."""
    terms = claim_terms(config, run_id="")
    if ledger is not None:
        return ledger.read(Budgets().room, terms)
    caps = ("max_cost", "max_cost_per_month")
    amounts = {cap: getattr(terms, cap) for cap in caps}
    units = {
        cap: to_units(amount) for cap, amount in amounts.items() if amount is not None
    }
    return Room(terms.max_calls, units)


def _count_fitting(plan: Plan, planned: int, left: int) -> int:
    """Return how many of the first `planned` jobs fit into `left` billionths, up to the first that
    does not."""
    prices = {price for price, count in plan.costs.to_pay_at if count}
    if len(prices) == 1:
        units = _most_units(prices.pop())
        return min(planned, left // units) if units else planned
    everything = sum(_most_units(price) * n for price, n in plan.costs.to_pay_at)
    if everything <= left:
        return planned
    fitting = 0
    for job in plan.jobs_to_pay(planned):
        left -= _most_units(job.price)
        if left < 0:
            break
        fitting += 1
    return fitting


def _fits_none(plan: Plan, calls: int | None, left: int | None) -> bool:
    """Whether no call fits: neither the first one, nor a cheaper one that is claimed beside it."""
    if calls == 0:
        return True
    if left is None:
        return False
    return all(_most_units(price) > left for price, n in plan.costs.to_pay_at if n)


def _most_units(price: JobPrice | None) -> int:
    """Return in billionths what a call costs at most; without a known price it fits under every
    cap on money."""
    return 0 if price is None else to_units(price.most)
