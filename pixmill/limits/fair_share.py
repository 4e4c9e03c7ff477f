"""Fair shares: how the processes of one account divide its two limits among themselves.

Each reports what it holds, what it could use and what it has learnt, and gets a share until it
reports again. The division is max-min fairness by water filling (Bertsekas and Gallager, "Data
Networks", 2nd ed., section 6.5.2): everybody gets the same level, whoever wants less than that
gets what it wants, and what is left raises the level of the others.

All that is held together never exceeds the limit: what others hold can't be taken from them, so
that a share grows only by what they have let go. Nothing here reads a clock.
"""

from collections.abc import Callable, Sequence
from operator import floordiv, truediv
from typing import NamedTuple, TypeVar

from pixmill.limits.concurrency import ConcurrencyEstimate
from pixmill.limits.rate import RateEstimate
from pixmill.tuning import CONTENT_SHARE

UNLIMITED = 1e9
"""Calls per second of a process that would use whatever it gets."""

Amount = TypeVar("Amount", int, float)


class UsageReport(NamedTuple):
    """What a process says of itself.

    The names are in the ledger, where other versions read them.
    """

    held: int
    """The most calls that it may have in flight until it gets its next share."""

    wanted: int
    """Calls in flight that it could use."""

    wanted_rate: float
    """Calls per second that it could use."""

    concurrency: int
    """Its config's ceiling of calls in flight."""

    qps: float
    """Its config's ceiling of calls per second."""

    slots: ConcurrencyEstimate
    """What it has learnt of the account's limit of calls in flight."""

    rate: RateEstimate
    """What it has learnt of the account's rate."""

    hold: float = 0.0
    """For how many seconds the provider asked it to send nothing."""


class Allotment(NamedTuple):
    """What a process may use until it gets its next share."""

    slots: int
    """Calls in flight."""

    account_fraction: float
    """The part of the account's rate, 0 to 1."""

    held_by_others: int = 0
    """Calls that the other processes may have in flight."""

    used_by_others: int = 0
    """Calls in flight of those that they have a use for."""

    concurrency: int = 0
    """The account's ceiling of calls in flight: the smallest of all who share it."""

    qps: float = 0.0
    """The account's ceiling of calls per second, likewise."""

    learnt_slots: ConcurrencyEstimate | None = None
    learnt_rate: RateEstimate | None = None
    """What is known of the limits: by whoever has been refused last."""

    hold: float = 0.0
    """For how many seconds the provider asked one of the others to send nothing."""

    is_short: bool = False
    """Whether there is more to have, or to let go, as soon as calls of somebody end."""


EVERYTHING = Allotment(slots=10**9, account_fraction=1.0)
"""Of a process that shares its account with nobody."""

NOTHING = Allotment(slots=0, account_fraction=0.0, is_short=True)
"""Of a process that has not reported yet."""


class LeaseRecord(NamedTuple):
    """What is on record of a process."""

    report: UsageReport

    account_fraction: float
    """The part of the rate that it was given."""


class _Account(NamedTuple):
    """What is in force for all processes together."""

    slots: ConcurrencyEstimate
    rate: RateEstimate
    concurrency: int
    qps: float

    @property
    def limit(self) -> int:
        """Calls in flight of all processes together."""
        return min(self.slots.limit, self.concurrency)

    @property
    def rate_limit(self) -> float:
        """Calls per second of all processes together."""
        return min(self.rate.rate, self.qps)


def allocate(
    mine: UsageReport, others: Sequence[LeaseRecord], position: int = 0, turn: int = 0
) -> tuple[Allotment, LeaseRecord]:
    """Return the share of the process that reports `mine`, and what to put on record for it.

    `others` are the records of the other processes, `position` is its place among all of them in
    an order that all see alike. Where there are fewer slots than processes these take turns:
    `turn` counts them.
    """
    reports = [other.report for other in others]
    reports.insert(position, mine)
    # Step 1: what is in force is what is known best, below the smallest ceiling of all.
    account = _Account(
        slots=max(each.slots for each in reports),
        rate=max(each.rate for each in reports),
        concurrency=min(each.concurrency for each in reports),
        qps=min(each.qps for each in reports),
    )
    held_by_others = sum(other.report.held for other in others)
    given = sum(other.account_fraction for other in others)

    fair_slots = divide_slots(account.limit, [each.wanted for each in reports], turn)
    fair = fair_slots[position]
    # Whoever is alone may grow at once: a newcomer sees by the record that it has to wait.
    may_use = max(0, min(fair, account.limit - held_by_others))
    if not others:
        may_use = account.concurrency

    on_record = mine._replace(held=max(may_use, mine.held))
    reports[position] = on_record
    claims = [(each.held, each.wanted_rate / account.rate_limit) for each in reports]
    fair_fraction = divide_rate(claims)[position]
    fraction = max(0.0, min(fair_fraction, 1.0 - given))
    if not others:
        fraction = 1.0

    has_less_than_fair = may_use < fair or fraction < CONTENT_SHARE * fair_fraction
    share = Allotment(
        slots=may_use if fraction else 0,
        account_fraction=fraction,
        held_by_others=held_by_others,
        used_by_others=sum(
            min(other.report.held, other.report.wanted) for other in others
        ),
        concurrency=account.concurrency,
        qps=account.qps,
        learnt_slots=account.slots,
        learnt_rate=account.rate,
        is_short=has_less_than_fair or may_use < on_record.held,
    )
    return share, LeaseRecord(on_record, fraction)


def divide_slots(limit: int, wanted: Sequence[int], turn: int = 0) -> list[int]:
    """Step 2: divide `limit` whole slots among processes that want so many each.

    >>> divide_slots(10, [1, 100, 100])
    [1, 4, 5]
    """
    is_scarce = limit < len(wanted)
    weights = [1] * len(wanted)
    return water_fill(limit, wanted, weights, floordiv, first=turn if is_scarce else 0)


def divide_rate(claims: Sequence[tuple[int, float]]) -> list[float]:
    """Step 3: divide a whole rate among processes that have so many slots and want such a part.

    It goes by slots: whoever has more of them can send more.

    >>> divide_rate([(1, 0.2), (1, 9.0), (3, 9.0)])
    [0.2, 0.2, 0.6]
    """
    weights = [max(1, slots) for slots, _ in claims]
    return water_fill(1.0, [wanted for _, wanted in claims], weights, truediv)


def water_fill(
    supply: Amount,
    demands: Sequence[Amount],
    weights: Sequence[int],
    divide: Callable[[Amount, int], Amount],
    first: int = 0,
) -> list[Amount]:
    """Divide all of `supply` by max-min fairness; levels are for each unit of weight.

    `divide` is the division that fits the supply, of whole things or of a quantity. Of those who
    want the same the one at `-first` (modulo their number) comes first, and gets less of a rest.
    """
    count = len(demands)

    def level_that_satisfies(at: int) -> tuple[float, int]:
        return demands[at] / weights[at], (at + first) % count

    # From the most modest one on: what each leaves of its level is for those after it.
    order = sorted(range(count), key=level_that_satisfies)
    nothing = supply - supply
    shares = [nothing] * count
    left = supply
    # What nobody wants now is divided as well: somebody may want it before the next report.
    for caps in (demands, [supply] * count):
        for place, at in enumerate(order):
            level = divide(left, sum(weights[other] for other in order[place:]))
            more = min(caps[at], level * weights[at])
            shares[at] += more
            left -= more
    return shares
