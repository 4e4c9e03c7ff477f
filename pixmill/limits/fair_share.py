"""Fair shares: how the processes of one account divide its two limits among themselves.

Each reports what it holds, what it could use and what it has learnt, and gets a share until it
reports again. The division is max-min fairness by water filling (Bertsekas and Gallager, "Data
Networks", 2nd ed., section 6.5.2): everybody gets the same level, whoever wants less than that
gets what it wants, and what is left raises the level of the others.

All that is held together never exceeds the limit: what others hold can't be taken from them, so
that a share grows only by what they have given back. Nothing here reads a clock.
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
    """What a process says of itself to those that share its account."""

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

    learnt_slots: ConcurrencyEstimate
    """What it has learnt of the account's limit of calls in flight."""

    learnt_rate: RateEstimate
    """What it has learnt of the account's rate."""

    pause_seconds: float = 0.0
    """For how many seconds the provider asked it to send nothing."""


class Share(NamedTuple):
    """What a process may use until it gets its next share."""

    slots: int
    """Calls in flight."""

    account_fraction: float
    """The part of the account's rate, 0 to 1."""

    held_by_others: int = 0
    """Calls that the other processes may have in flight."""

    used_by_others: int = 0
    """Calls that they probably have in flight: of what each holds, at most what it wants."""

    concurrency: int = 0
    """The account's ceiling of calls in flight: the smallest of all who share it."""

    qps: float = 0.0
    """The account's ceiling of calls per second, likewise."""

    learnt_slots: ConcurrencyEstimate | None = None
    learnt_rate: RateEstimate | None = None
    """What is known of the limits: by whoever has been refused last."""

    pause_seconds: float = 0.0
    """For how many seconds the provider asked one of the others to send nothing."""

    is_changing: bool = False
    """Whether there is more to have, or to give back, as soon as calls of somebody end."""


EVERYTHING = Share(slots=10**9, account_fraction=1.0)
"""Of a process that shares its account with nobody."""

NOTHING = Share(slots=0, account_fraction=0.0, is_changing=True)
"""Of a process that has not reported yet."""


class LeaseRecord(NamedTuple):
    """What is on record of a process: its last report and what it was given."""

    report: UsageReport

    account_fraction: float
    """The part of the rate that it was given."""


class _Account(NamedTuple):
    """What is in force for all processes together."""

    learnt_slots: ConcurrencyEstimate
    learnt_rate: RateEstimate
    concurrency: int
    qps: float

    @property
    def slot_limit(self) -> int:
        """Calls in flight of all processes together."""
        return min(self.learnt_slots.limit, self.concurrency)

    @property
    def rate_limit(self) -> float:
        """Calls per second of all processes together."""
        return min(self.learnt_rate.rate, self.qps)


def allocate(
    mine: UsageReport,
    others: Sequence[LeaseRecord],
    position: int = 0,
    rotation: int = 0,
) -> tuple[Share, LeaseRecord]:
    """Return the share of the process that reports `mine`, and what to put on record for it.

    `others` are the records of the other processes, `position` is its place among all of them in an
    order that all see alike. Where there are fewer slots than processes, `rotation`, which counts
    up with time, says at which process the slots begin.
    """
    reports = [other.report for other in others]
    reports.insert(position, mine)
    account = _agree_on_limits(reports)
    wanted = [each.wanted for each in reports]
    fair_slots = divide_slots(account.slot_limit, wanted, rotation)[position]
    # What the others hold can't be taken from them: this process grows as they give it back.
    held_by_others = sum(other.report.held for other in others)
    slots = max(0, min(fair_slots, account.slot_limit - held_by_others))
    if not others:
        # Whoever is alone may grow up to the ceiling before the next report. A newcomer finds on
        # record that all of it is held, and waits until it is given back.
        slots = account.concurrency

    # The rate is shared in proportion to slots, so those of this process are settled before it.
    on_record = mine._replace(held=max(slots, mine.held))
    reports[position] = on_record
    slots_and_wanted = [
        (each.held, each.wanted_rate / account.rate_limit) for each in reports
    ]
    fair_fraction = divide_rate(slots_and_wanted)[position]
    given = sum(other.account_fraction for other in others)
    fraction = max(0.0, min(fair_fraction, 1.0 - given)) if others else 1.0

    lacks_slots = slots < fair_slots
    lacks_rate = fraction < CONTENT_SHARE * fair_fraction
    has_slots_to_give_back = slots < on_record.held
    share = Share(
        # A slot without any rate could send nothing.
        slots=slots if fraction else 0,
        account_fraction=fraction,
        held_by_others=held_by_others,
        used_by_others=sum(
            min(other.report.held, other.report.wanted) for other in others
        ),
        concurrency=account.concurrency,
        qps=account.qps,
        learnt_slots=account.learnt_slots,
        learnt_rate=account.learnt_rate,
        is_changing=lacks_slots or lacks_rate or has_slots_to_give_back,
    )
    return share, LeaseRecord(on_record, fraction)


def _agree_on_limits(reports: Sequence[UsageReport]) -> _Account:
    """Return what is in force for all: what the newest knowledge says, below the smallest ceiling.

    Estimates compare as tuples: the larger has seen more cuts, or more since the last one.
    """
    return _Account(
        learnt_slots=max(each.learnt_slots for each in reports),
        learnt_rate=max(each.learnt_rate for each in reports),
        concurrency=min(each.concurrency for each in reports),
        qps=min(each.qps for each in reports),
    )


def divide_slots(limit: int, wanted: Sequence[int], rotation: int = 0) -> list[int]:
    """Divide `limit` whole slots among processes that want so many each.

    >>> divide_slots(10, [1, 100, 100])
    [1, 4, 5]

    Where there are too few for all, `rotation` decides who has one:

    >>> divide_slots(2, [5, 5, 5], rotation=0), divide_slots(2, [5, 5, 5], rotation=1)
    ([0, 1, 1], [1, 1, 0])
    """
    count = len(wanted)
    # Of those who want the same the first in order gets less of a rest that can't be divided. With
    # enough slots for all that is one less of several, and not worth moving slots about.
    first = rotation if limit < count else 0
    order = sorted(range(count), key=lambda at: (wanted[at], (at + first) % count))
    return water_fill(limit, wanted, [1] * count, order, floordiv, nothing=0)


def divide_rate(slots_and_wanted: Sequence[tuple[int, float]]) -> list[float]:
    """Divide a whole rate among processes, each with its slots and the part of the rate it wants.

    It goes by slots: whoever has more of them can send more.

    >>> divide_rate([(1, 0.2), (1, 9.0), (3, 9.0)])
    [0.2, 0.2, 0.6]
    """
    weights = [max(1, slots) for slots, _ in slots_and_wanted]
    wanted = [part for _, part in slots_and_wanted]
    order = sorted(range(len(wanted)), key=lambda at: wanted[at] / weights[at])
    return water_fill(1.0, wanted, weights, order, truediv, nothing=0.0)


def water_fill(
    supply: Amount,
    demands: Sequence[Amount],
    weights: Sequence[int],
    order: Sequence[int],
    divide: Callable[[Amount, int], Amount],
    nothing: Amount,
) -> list[Amount]:
    """Divide all of `supply` by max-min fairness; levels are for each unit of weight.

    `order` has the positions of the demands from the most modest one on, by demand for each unit of
    weight: what each leaves of its level is for those after it. `divide` is the division that fits
    the supply, of whole things or of a quantity, and `nothing` its zero.
    """
    shares = [nothing] * len(demands)
    left = supply
    # What nobody wants now is divided as well: somebody may want it before the next report.
    for caps in (demands, [supply] * len(demands)):
        for place, at in enumerate(order):
            level = divide(left, sum(weights[other] for other in order[place:]))
            more = min(caps[at], level * weights[at])
            shares[at] += more
            left -= more
    return shares
