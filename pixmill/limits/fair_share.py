"""Fair shares: how the processes of one account divide its two limits among themselves.

Each tells what it holds, what it could use and what it has learnt, and hears what it may use until it asks again. What
is held by all together never exceeds the limit that is thought to stand, so a share grows only by what others have
let go. The limits in force are those of whoever has met the provider's refusals last. Pure arithmetic, no clocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pixmill.limits.concurrency import ConcurrencyEstimate
from pixmill.limits.rate import RateEstimate

UNLIMITED = 1e9
"""Calls per second of a process that would use whatever it gets."""
ENOUGH = 0.5
"""The part of its fair share of the rate that a process is content with until others have noticed it."""


class UsageReport(NamedTuple):
    """What a process has to say: the most calls it may have in flight until it hears back, and what it could use.

    `wanted` are calls in flight, `wanted_rate` is in calls per second; `concurrency` and `qps` are its config's
    ceilings, `slots` and `rate` what it has learnt. `hold` is for how many seconds the provider asked to be left alone.
    """

    held: int
    wanted: int
    wanted_rate: float
    concurrency: int
    qps: float
    slots: ConcurrencyEstimate
    rate: RateEstimate
    hold: float = 0.0


class Allotment(NamedTuple):
    """What a process may use: `slots` calls in flight, and the part `account_fraction` (0 to 1) of the account's rate.

    `held_by_others` are calls in flight that the other processes may have, `used_by_others` those they can use.
    `concurrency` and `qps` are the account's ceilings: the smallest of all who share it. `is_short`: there is more to
    have, or to let go, as soon as calls of somebody end.
    """

    slots: int
    account_fraction: float
    held_by_others: int = 0
    used_by_others: int = 0
    concurrency: int = 0
    qps: float = 0.0
    learnt_slots: ConcurrencyEstimate | None = None
    learnt_rate: RateEstimate | None = None
    hold: float = 0.0
    is_short: bool = False


EVERYTHING = Allotment(slots=10**9, account_fraction=1.0)
NOTHING = Allotment(slots=0, account_fraction=0.0, is_short=True)


class LeaseRecord(NamedTuple):
    """What is on record of a process: its last report, and the part of the rate that it was given."""

    report: UsageReport
    account_fraction: float


def allocate(
    mine: UsageReport, others: Sequence[LeaseRecord], position: int = 0, turn: int = 0
) -> tuple[Allotment, LeaseRecord]:
    """Return the share of the process that reports `mine` beside `others`, and what to put on record for it.

    `position` is its place among all of them in an order that all see alike. Where there are fewer slots than processes
    these take turns: `turn` counts them.
    """
    reports = [other.report for other in others]
    reports.insert(position, mine)
    slots = max(each.slots for each in reports)
    rate = max(each.rate for each in reports)
    concurrency = min(each.concurrency for each in reports)
    qps = min(each.qps for each in reports)
    limit = min(slots.limit, concurrency)
    fair = fair_slots(limit, [each.wanted for each in reports], turn)[position]
    held = sum(other.report.held for other in others)
    # Whoever is alone may grow at once; others notice by what is on record that they have to wait.
    may_use = max(0, min(fair, limit - held)) if others else concurrency
    on_record = mine._replace(held=max(may_use, mine.held))
    reports[position] = on_record
    fair_portion = fair_portions(
        [(each.held, each.wanted_rate / min(rate.rate, qps)) for each in reports]
    )[position]
    account_fraction = (
        max(
            0.0,
            min(fair_portion, 1.0 - sum(other.account_fraction for other in others)),
        )
        if others
        else 1.0
    )
    share = Allotment(
        slots=may_use if account_fraction else 0,
        account_fraction=account_fraction,
        held_by_others=held,
        used_by_others=sum(
            min(other.report.held, other.report.wanted) for other in others
        ),
        concurrency=concurrency,
        qps=qps,
        learnt_slots=slots,
        learnt_rate=rate,
        is_short=may_use < max(fair, on_record.held)
        or account_fraction < ENOUGH * fair_portion,
    )
    return share, LeaseRecord(on_record, account_fraction)


def fair_slots(limit: int, wanted: Sequence[int], turn: int = 0) -> list[int]:
    """Divide `limit` whole slots: what one has no use for is for the others, and what is left then is for all."""
    count = len(wanted)
    shift = turn if limit < count else 0
    order = sorted(range(count), key=lambda at: (wanted[at], (at + shift) % count))
    shares = [0] * count
    left = limit
    for already, at in enumerate(order):
        shares[at] = min(wanted[at], left // (count - already))
        left -= shares[at]
    for already, at in enumerate(order):
        more = left // (count - already)
        shares[at] += more
        left -= more
    return shares


def fair_portions(claims: Sequence[tuple[int, float]]) -> list[float]:
    """Divide a whole rate among processes that each have slots and want a part of it, in the same way.

    It goes by slots: whoever has more of them can send more.
    """
    weights = [max(1, slots) for slots, _ in claims]
    portions = [0.0] * len(claims)
    left = 1.0
    hungry = sorted(range(len(claims)), key=lambda at: claims[at][1] / weights[at])
    for already, at in enumerate(hungry):
        level = left / sum(weights[other] for other in hungry[already:])
        portions[at] = min(claims[at][1], level * weights[at])
        left -= portions[at]
    return [
        account_fraction + left * weight / sum(weights)
        for account_fraction, weight in zip(portions, weights, strict=True)
    ]
