"""The limiter: how many calls are in flight and how fast they go out.

Calls go through one turnstile: the first in line waits for a slot, then for its turn, and only then is the next one
looked at, so that a change of either limit holds for the very next call. What the answers say moves both limits
(`pace`, `slots`); faults of the service stop their growth for a while, and an outage all calls but a probe (`breaker`).
Cached jobs never come here. Both limits are the account's: where other processes use it too, `sharing` says which part
of them is for this one. The breaker and the first call alone are each process's own.
"""

import math
import threading
import time
from collections.abc import Callable

from pixmill.limits.circuit_breaker import CircuitBreaker
from pixmill.limits.concurrency import AdaptiveConcurrencyLimit
from pixmill.limits.fair_share import (
    EVERYTHING,
    NOTHING,
    UNLIMITED,
    Allotment,
    UsageReport,
)
from pixmill.limits.rate import RATE_MARGIN, AdaptiveRateLimit, Permit
from pixmill.limits.retry_budget import RetryBudget
from pixmill.provider.error_codes import Verdict

CALM_CALLS = 20
"""Answers without a fault after which the limits grow again: a service in trouble is not asked for more."""

KEEPS_UP = 0.9
"""The part of its rate that a process has to use to be taken for one that could use more."""


class UsageWindow:
    """What a process has made of its share since it last reported: only one thread at a time writes each field."""

    __slots__ = (
        "could",
        "idle",
        "keeps_up",
        "lacked_slots",
        "lacks_slots",
        "most",
        "sent",
        "since",
        "wanted",
    )

    def __init__(self, idle: bool, now: float) -> None:
        self.idle = idle
        self.keeps_up = True
        self.lacks_slots = False
        self.lacked_slots = False
        self.most = 0
        self.wanted = 0
        self.sent = 0
        self.could = 0.0
        self.since = now


class CallLimiter:
    """Paces the calls of one process on one account, within `qps` and `concurrency`.

    `start` is the in-flight limit to begin with, by default the ceiling: who names a number knows the account, and
    doubling up to 200 calls of a second each would cost a run of 10,000 a twentieth of its time. `probe_first` lets a
    single call through until one was answered by the service itself, so that a wrong key or a missing entitlement
    costs one call. `shared`: nothing goes before `take` says what may. `wait` sleeps for seconds, or until the event is
    set.
    """

    def __init__(
        self,
        qps: float,
        concurrency: int,
        *,
        start: int | None = None,
        probe_first: bool = False,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float | None], object] = threading.Event.wait,
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._pace = AdaptiveRateLimit(qps, clock())
        self._slots = AdaptiveConcurrencyLimit(start or concurrency, concurrency)
        self._alone = probe_first
        self._breaker = CircuitBreaker()
        self._repeats = RetryBudget(clock())
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._freed = threading.Event()
        self._recalled = threading.Event()
        self.usage_changed = threading.Event()
        self._in_flight = 0
        self._sent = 0
        self._voided = 0
        self._calm = CALM_CALLS
        self._qps = qps
        self._concurrency = concurrency
        self._share, self._share_until = (
            (NOTHING, clock()) if shared else (EVERYTHING, math.inf)
        )
        self._use = UsageWindow(shared, clock())
        self._booked: float | None = None
        self._asked_until = clock()

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._in_flight

    @property
    def sent(self) -> int:
        """Calls that were let go so far."""
        return self._sent

    @property
    def limit(self) -> int:
        """The in-flight limit in force for this process."""
        return min(1, self._may_use) if self._alone else self._may_use

    @property
    def qps(self) -> float:
        """The rate limit in force for this process, in calls per second, margin included."""
        return round(self._pace.own_rate / RATE_MARGIN, 2)

    @property
    def is_open(self) -> bool:
        """Whether the service is taken to be out, so that only probes go."""
        return self._breaker.is_open

    @property
    def outage_exceeded(self) -> bool:
        """Whether the service has been out for so long that the run should end."""
        return self._breaker.outage_exceeded(self._clock())

    def acquire(self) -> Permit | None:
        """Wait for a slot and for this call's turn. None: the run stops, and no slot was taken."""
        ready = self._clock()
        with self._turnstile:
            while not self._stopped.is_set():
                if self._wait_for_slot():
                    ready = self._clock()
                if call := self._go_in_turn(ready):
                    return call
        return None

    def release(
        self, call: Permit, verdict: Verdict | None = None, *, answered: bool = False
    ) -> None:
        """Give the slot back, and learn from the verdict on the answer; None: nothing was sent.

        `answered`: the service itself answered, so the account works.
        """
        with self._lock:
            self._in_flight -= 1
            self._alone = self._alone and not answered
            if (
                pause := self._breaker.hear(call, verdict, self._sent, self._clock())
            ) is not None:
                self._hold(pause)
            if verdict:
                self._learn(call, verdict)
            else:
                self._pace.refund(self._clock(), self._booked)
                self._recall()
            self._freed.set()

    def hold(self, seconds: float) -> None:
        """Hold back every call of the account for `seconds`, the one that waits for its turn included."""
        with self._lock:
            self._asked_until = max(self._asked_until, self._clock() + seconds)
            self._hold(seconds)
        self.usage_changed.set()

    def reserve_retry(self) -> float:
        """Book the repeat of a call that met a fault; return the seconds after which it may go."""
        with self._lock:
            return self._repeats.withdraw(self._clock())

    def stop(self) -> None:
        """Let nobody through any more; calls in flight go on."""
        self._stopped.set()
        self._freed.set()
        self._recalled.set()

    # Beside other processes

    def report(self) -> UsageReport | None:
        """Say what this process holds and could use. None: no call is wanted, and the share was let go.

        Until the next `take` no more is used than was said.
        """
        with self._lock:
            now = self._clock()
            use = self._use
            if not (
                self._in_flight
                or use.lacks_slots
                or self._booked
                or self._sent > use.sent
            ):
                use.idle = True
                self._share = NOTHING
                return None
            held = max(self._in_flight, self._may_use if now < self._share_until else 0)
            self._share = self._share._replace(slots=held)
            lacks = use.lacked_slots or use.lacks_slots
            # One less at a time: what comes and goes with chance would have shares wander about.
            use.wanted = min(
                self._concurrency,
                max(use.wanted - 1, 2 * use.most + 2 if lacks else use.most + 1),
            )
            return UsageReport(
                held,
                use.wanted,
                self._wanted_rate(now),
                self._concurrency,
                self._qps,
                self._slots.learnt,
                self._pace.learnt,
                max(0.0, self._asked_until - now),
            )

    def take(self, share: Allotment, until: float) -> None:
        """Use `share` until the next one comes, or until the clock says `until`: then others may use it."""
        with self._lock:
            now = self._clock()
            use = self._use
            self._share = share
            self._share_until = until
            if share.slots and share.learnt_slots and share.learnt_rate:
                self._slots.share(
                    share.slots, share.concurrency, share.learnt_slots, self._sent
                )
                self._pace.share(
                    share.account_fraction,
                    share.qps,
                    share.learnt_rate,
                    self._sent,
                    now,
                    self._booked,
                )
            if share.hold:
                self._pace.hold(share.hold, now)
            use.most = self._in_flight
            use.sent = self._sent
            use.since = now
            use.lacked_slots = use.lacks_slots
            self._recall()
            self._freed.set()

    def _wanted_rate(self, now: float) -> float:
        """The calls per second that this process could use: more than it has where it uses up what it has."""
        if self._alone or not self._share.slots:
            return UNLIMITED  # it has not been able to show
        use = self._use
        own = self._pace.own_rate
        could = (self._sent - use.sent + 1) / max(now - use.since, 1e-3)
        kept_up = use.keeps_up
        use.keeps_up = could >= KEEPS_UP * own
        before = use.could
        use.could = could
        # Slow once may be chance: then it wants what it has, or what it could make use of the time before.
        return (
            UNLIMITED
            if use.keeps_up
            else max(could / KEEPS_UP, before / KEEPS_UP, own if kept_up else 0.0)
        )

    @property
    def _may_use(self) -> int:
        """How many calls may be in flight: after a cut at once only what the others leave."""
        return max(
            0, min(self._share.slots, self._slots.limit - self._share.held_by_others)
        )

    # Inside

    def _hold(self, seconds: float) -> None:
        self._pace.hold(seconds, self._clock())
        self._voided += 1

    def _recall(self) -> None:
        """Let the call that waits for its turn look when that is now."""
        self._voided += 1
        self._recalled.set()

    def _has_room(self) -> bool:
        return (
            self._in_flight < self.limit
            and not self._breaker.is_half_open
            and self._clock() < self._share_until
        )

    def _wait_for_slot(self) -> bool:
        """Return once a slot is free or the run stops; say whether that took a wait."""
        waited = False
        use = self._use
        while True:
            self._freed.clear()  # first: what is freed from here on sets it again
            if self._stopped.is_set() or self._has_room():
                use.lacks_slots = False
                return waited
            waited = True
            use.lacks_slots = True
            use.lacked_slots = True
            if use.idle:
                use.idle = False
                use.since = self._clock()
                self.usage_changed.set()
            self._wait(self._freed, None)

    def _go_in_turn(self, ready: float) -> Permit | None:
        """Wait for a turn and take a slot; None if meanwhile the run stopped or a limit was cut."""
        with self._lock:
            self._recalled.clear()
            now = self._clock()
            voided = self._voided
            self._booked = turn = self._pace.turn(ready, now)
        if turn > now and not self._stopped.is_set():
            self._wait(self._recalled, turn - now)
        with self._lock:
            self._booked = None
            if self._stopped.is_set() or voided != self._voided or not self._has_room():
                return None
            beside = self._in_flight + self._share.used_by_others
            self._in_flight += 1
            self._sent += 1
            self._use.most = max(self._use.most, self._in_flight)
            call = Permit(self._sent, self._clock(), beside, turn > ready)
            self._breaker.on_sent(call)
            self._repeats.deposit()
            return call

    def _learn(self, call: Permit, verdict: Verdict) -> None:
        match verdict:
            case Verdict.THROTTLE_RATE:
                if self._pace.cut(call, self._sent, self._clock()):
                    self._voided += 1
                    self.usage_changed.set()
            case Verdict.THROTTLE_CONCURRENCY:
                if self._slots.cut(call, self._sent):
                    self.usage_changed.set()
            case Verdict.RETRY | Verdict.IN_DOUBT:
                self._calm = 0
            case Verdict.SUCCEEDED | Verdict.REFUSED | Verdict.FAILED:
                self._calm += 1
                if self._calm >= CALM_CALLS:
                    self._pace.grow(call, self._clock())
                    self._slots.grow(call, self._sent)
