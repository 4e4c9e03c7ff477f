"""The limiter: how many calls of one process are in flight, and how fast they go out.

All calls pass one turnstile. The first in line waits for a slot, then for its turn, and only then
is the next one looked at, so that a change of either limit holds for the very next call. What the
answers say moves both limits (`rate`, `concurrency`); an outage holds back all calls but a probe
(`circuit_breaker`). Both limits are the account's: where other processes use it too, the shares
say which part of them is for this one. Cached jobs never come here. `phases` says what may go when.

| phase      | event                                 | new phase                     | is logged   |
|------------|---------------------------------------|-------------------------------|-------------|
| NO_SHARE   | a share comes (`use_share`)           | FIRST_CALL or NORMAL          | a new share |
| FIRST_CALL | an answer that rejects no account     | NORMAL                        |             |
| NORMAL     | five faults in a row                  | OUTAGE                        | `outage`    |
| OUTAGE     | the probe goes out                    | PROBING                       |             |
| PROBING    | the probe is answered without a fault | NORMAL                        | recovery    |
| PROBING    | the probe meets a fault               | OUTAGE, longer pause          |             |
| any        | the share expires, or is given back   | NO_SHARE                      |             |
| any        | Retry-After                           | unchanged, no calls meanwhile | how long    |
| any        | `stop`                                | nothing goes any more         |             |

Within NORMAL both limits move; `rate` and `concurrency` say how, and `history` logs it.

Two locks: callers queue on the turnstile; the state is under `_lock`, which nobody holds while
waiting. Three events wake waiters: `_slot_freed` the one at the turnstile that waits for a slot,
`_turn_moved` the same one while it waits for its turn, `usage_changed` the thread that renews this
process's share (`LeaseRenewer`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from pixmill.limits.circuit_breaker import BreakerState, CircuitBreaker
from pixmill.limits.concurrency import AdaptiveConcurrencyLimit
from pixmill.limits.fair_share import (
    EVERYTHING,
    NOTHING,
    UNLIMITED,
    Share,
    UsageReport,
)
from pixmill.limits.feedback import Feedback, Permit
from pixmill.limits.history import (
    ANOTHER_PROCESS,
    GROWTH,
    IN_FLIGHT,
    OUTAGE,
    RATE,
    RECOVERY,
    SHARE,
    LimitChange,
    LimitHistory,
    as_limit,
)
from pixmill.limits.phases import LimiterPhase
from pixmill.limits.rate import AdaptiveRateLimit
from pixmill.limits.retry_budget import RetryBudget
from pixmill.limits.usage_window import UsageWindow
from pixmill.tuning import CALM_CALLS

log = logging.getLogger(__name__)


class CallLimiter:
    """Paces the calls of one process on one account, within `qps` and `concurrency`.

    `start` is the initial limit of calls in flight, by default the ceiling: a user who sets a
    number is trusted to know the account, and climbing to 200 by doubling would make a run of
    10,000 calls of one second 5 % longer. `first_call_alone` lets a single call through until one
    was answered by the service itself, so that a wrong key or a missing entitlement costs one call.
    `shared`: nothing goes before `use_share` says what may. `req_key` is the operation that these
    limits are for; empty for those that all synchronous calls share. `wait` sleeps for seconds, or
    until the event is set.
    """

    def __init__(
        self,
        qps: float,
        concurrency: int,
        *,
        start: int | None = None,
        first_call_alone: bool = False,
        shared: bool = False,
        req_key: str = "",
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float | None], object] = threading.Event.wait,
    ) -> None:
        self._clock = clock
        self._wait = wait
        # The config's ceilings, as other processes are told them.
        self._qps_ceiling = qps
        self._concurrency_ceiling = concurrency
        self._rate = AdaptiveRateLimit(qps, clock())
        start = start or concurrency
        self._concurrency_limit = AdaptiveConcurrencyLimit(start, concurrency)
        self._breaker = CircuitBreaker()
        self._repeats = RetryBudget(clock())
        # The service itself has not answered yet, so that one call at a time goes.
        self._awaits_first_answer = first_call_alone
        # Answers without a fault in a row; the limits grow from `CALM_CALLS` on.
        self._answers_without_fault = CALM_CALLS
        self._in_flight = 0
        # Calls that were sent; also the number of the last one.
        self._sent = 0
        # Counts the moves of the reserved turn: by it the waiting call knows to reserve again.
        self._schedule_version = 0
        # What this process may use of the account, and until when by the clock.
        self._share = NOTHING if shared else EVERYTHING
        self._share_until = clock() if shared else math.inf
        self._usage = UsageWindow(is_idle=shared, now=clock())
        # Until when the provider asked for a pause, which other processes are told.
        self._pause_asked_until = clock()
        self._history = LimitHistory(req_key, clock)
        self._turnstile = threading.Lock()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._slot_freed = threading.Event()
        self._turn_moved = threading.Event()
        self.usage_changed = threading.Event()

    @property
    def in_flight(self) -> int:
        """Calls that hold a slot now."""
        return self._in_flight

    @property
    def sent(self) -> int:
        """Calls that were sent so far."""
        return self._sent

    @property
    def in_flight_limit(self) -> int:
        """How many calls this process may have in flight now."""
        return min(1, self._may_use) if self._awaits_first_answer else self._may_use

    @property
    def rate_limit(self) -> float:
        """The calls per second that this process may make now, without the safety margin."""
        return as_limit(self._rate.own_rate)

    @property
    def service_is_down(self) -> bool:
        """Whether the service is taken to be down, so that only probes go."""
        return self._breaker.is_open

    @property
    def outage_exceeded(self) -> bool:
        """Whether the service has been down for so long that the run should end."""
        return self._breaker.outage_exceeded(self._clock())

    @property
    def changes(self) -> tuple[LimitChange, ...]:
        """The newest notable changes of the limits, oldest first."""
        with self._lock:
            return self._history.changes

    def summary(self) -> dict[str, Any]:
        """Return how the account's limits fared, as plain JSON values for a run's report."""
        with self._lock:
            slots = self._concurrency_limit.limit
            return self._history.summary({RATE: self._rate.rate, IN_FLIGHT: slots})

    # A call

    def acquire(self) -> Permit | None:
        """Wait for a slot and for this call's turn. None: the run stops, and no slot was taken."""
        ready = self._clock()
        with self._turnstile:
            while not self._stopped.is_set():
                if self._wait_for_slot():
                    ready = self._clock()
                if permit := self._go_in_turn(ready):
                    return permit
        return None

    def occupy(self) -> Permit:
        """Take a slot for a task that is out already, whatever the limits say: nothing is sent."""
        with self._lock:
            others_in_flight = self._in_flight + self._share.used_by_others
            self._in_flight += 1
            self._usage.record_departure(self._in_flight)
            return Permit(self._sent, self._clock(), others_in_flight, paced=False)

    def confirm(self) -> None:
        """Learn that the service has answered, so that the account works."""
        if self._awaits_first_answer:
            with self._lock:
                self._awaits_first_answer = False
                self._slot_freed.set()

    def accept(self, permit: Permit) -> None:
        """Learn that the service has taken on a task: its slot is held until `release`."""
        self.confirm()
        with self._lock:
            self._tell_breaker(permit, Feedback.OK)
            self._learn(permit, Feedback.ACCEPTED)

    def release(
        self,
        permit: Permit,
        feedback: Feedback | None = None,
        *,
        answered: bool = False,
        code: str | None = None,
    ) -> None:
        """Give the slot back, and learn from the answer; without `feedback` nothing was sent.

        `answered`: the answer neither rejects the account nor leaves the call in doubt. `code` is
        the provider's name for it, for the log.
        """
        with self._lock:
            self._in_flight -= 1
            self._awaits_first_answer &= not answered
            # Of a task the breaker heard when its submit was accepted; that it has ended says
            # nothing more about the service.
            if feedback is not Feedback.ENDED:
                self._tell_breaker(permit, feedback)
            if feedback is None:
                # Hand the unused turn to the next call, which may have reserved a later one.
                self._rate.take_back(self._clock())
                self._move_turn()
            else:
                self._learn(permit, feedback, code or "")
            self._slot_freed.set()

    def pause_all(self, seconds: float) -> None:
        """Let no call of the account go for `seconds`, not even the one that has a turn."""
        with self._lock:
            until = self._clock() + seconds
            # The answers to a burst of calls ask for about the same pause: one line is enough for
            # ends within a second.
            is_longer = until > self._pause_asked_until + 1
            log.log(
                logging.INFO if is_longer else logging.DEBUG,
                "all calls wait for %.0f s, as the provider asks for it (Retry-After)",
                seconds,
            )
            self._pause_asked_until = max(self._pause_asked_until, until)
            self._pause_turns(seconds)
        self.usage_changed.set()

    def reserve_retry(self) -> float:
        """Book the repeat of a call that met a fault; return the seconds after which it may go."""
        with self._lock:
            return self._repeats.book_repeat(self._clock())

    def stop(self) -> None:
        """Let nobody through any more; calls in flight are not affected."""
        self._stopped.set()
        self._slot_freed.set()
        self._turn_moved.set()

    # Beside other processes

    def report_usage(self) -> UsageReport | None:
        """Report what this process holds and could use, and keep to that: until the next
        `use_share` it uses no more slots than it reported.

        None: nothing is wanted, and the share is given back.
        """
        with self._lock:
            now = self._clock()
            is_busy = self._in_flight or self._rate.has_reserved_turn
            if self._usage.wants_nothing(self._sent) and not is_busy:
                self._usage.is_idle = True
                self._share = NOTHING
                return None
            may_use = self._may_use if now < self._share_until else 0
            held = max(self._in_flight, may_use)
            self._share = self._share._replace(slots=held)
            # Without slots, or with the one of FIRST_CALL, it can't have shown its demand yet.
            wanted_rate = UNLIMITED
            if not self._awaits_first_answer and self._share.slots:
                wanted_rate = self._usage.measure_rate_demand(
                    self._rate.own_rate, self._sent, now
                )
            return UsageReport(
                held=held,
                wanted=self._usage.measure_slot_demand(self._concurrency_ceiling),
                wanted_rate=wanted_rate,
                concurrency=self._concurrency_ceiling,
                qps=self._qps_ceiling,
                learnt_slots=self._concurrency_limit.learnt,
                learnt_rate=self._rate.learnt,
                pause_seconds=max(0.0, self._pause_asked_until - now),
            )

    def use_share(self, share: Share, until: float) -> None:
        """Use `share` until the next one comes, or until the clock says `until`."""
        with self._lock:
            now = self._clock()
            rate_before = self._rate.rate
            slots_before = self._concurrency_limit.limit
            fraction_before = self._rate.account_fraction
            self._share = share
            self._share_until = until
            if share.slots and share.learnt_slots and share.learnt_rate:
                self._concurrency_limit.use_share(
                    share.slots, share.concurrency, share.learnt_slots, self._sent
                )
                self._rate.use_share(
                    share.account_fraction,
                    share.qps,
                    share.learnt_rate,
                    self._sent,
                    now,
                )
                for what, before, after in (
                    (RATE, rate_before, self._rate.rate),
                    (IN_FLIGHT, slots_before, self._concurrency_limit.limit),
                    (SHARE, fraction_before, share.account_fraction),
                ):
                    self._history.record(what, before, after, ANOTHER_PROCESS)
            if share.pause_seconds:
                self._rate.pause(share.pause_seconds, now)
            self._usage.begin(self._in_flight, self._sent, now)
            self._move_turn()
            self._slot_freed.set()

    # Inside

    @property
    def _phase(self) -> LimiterPhase:
        if not self._share.slots or self._clock() >= self._share_until:
            return LimiterPhase.NO_SHARE
        match self._breaker.state:
            case BreakerState.OPEN:
                return LimiterPhase.OUTAGE
            case BreakerState.HALF_OPEN:
                return LimiterPhase.PROBING
        is_first = self._awaits_first_answer
        return LimiterPhase.FIRST_CALL if is_first else LimiterPhase.NORMAL

    @property
    def _may_use(self) -> int:
        """The slots of this process, but no more than the others leave of the account's limit: a
        cut holds at once."""
        left = self._concurrency_limit.limit - self._share.held_by_others
        return max(0, min(self._share.slots, left))

    def _has_room(self) -> bool:
        match self._phase:
            case LimiterPhase.NO_SHARE | LimiterPhase.PROBING:
                return False
            case LimiterPhase.FIRST_CALL | LimiterPhase.NORMAL | LimiterPhase.OUTAGE:
                return self._in_flight < self.in_flight_limit

    def _wait_for_slot(self) -> bool:
        """Return once a slot is free or the run stops; say whether that took a wait."""
        waited = False
        while True:
            # Cleared before the look: what is freed from here on sets it again.
            self._slot_freed.clear()
            if self._stopped.is_set() or self._has_room():
                self._usage.record_slot_found()
                return waited
            waited = True
            self._usage.record_slot_missing()
            if self._usage.end_idleness(self._clock()):
                self.usage_changed.set()
            self._wait(self._slot_freed, None)

    def _go_in_turn(self, ready: float) -> Permit | None:
        """Wait for a turn and take a slot; None if meanwhile the run stopped or a limit was cut."""
        with self._lock:
            self._turn_moved.clear()
            now = self._clock()
            version = self._schedule_version
            turn = self._rate.reserve(ready, now)
        if turn > now and not self._stopped.is_set():
            self._wait(self._turn_moved, turn - now)
        with self._lock:
            self._rate.clear_reservation()
            if (
                self._stopped.is_set()
                or version != self._schedule_version
                or not self._has_room()
            ):
                return None
            others_in_flight = self._in_flight + self._share.used_by_others
            self._in_flight += 1
            self._sent += 1
            self._usage.record_departure(self._in_flight)
            now = self._clock()
            permit = Permit(self._sent, now, others_in_flight, paced=turn > ready)
            self._breaker.record_departure(permit)
            self._repeats.record_call()
            return permit

    def _pause_turns(self, seconds: float) -> None:
        """Give no turn for `seconds`; the call that waits for one will reserve another."""
        self._rate.pause(seconds, self._clock())
        # That call need not be woken, as no turn is earlier now.
        self._schedule_version += 1

    def _move_turn(self) -> None:
        """Wake the call that waits for its turn to reserve again; it may be earlier now."""
        self._schedule_version += 1
        self._turn_moved.set()

    def _tell_breaker(self, permit: Permit, feedback: Feedback | None) -> None:
        was_down = self.service_is_down
        pause = self._breaker.record_answer(permit, feedback, self._sent, self._clock())
        if pause is not None:
            self._pause_turns(pause)
        if self.service_is_down == was_down:
            return
        # As an operator sees it: one call at a time, or as many as before.
        if was_down:
            self._history.record(IN_FLIGHT, 1, self._concurrency_limit.limit, RECOVERY)
        else:
            self._history.record(IN_FLIGHT, self._concurrency_limit.limit, 1, OUTAGE)

    def _learn(self, permit: Permit, feedback: Feedback, code: str = "") -> None:
        """Move the limits by what an answer says; `code` is its name for the log."""
        rate_before = self._rate.rate
        slots_before = self._concurrency_limit.limit
        cause = code or feedback.name.lower()
        match feedback:
            case Feedback.RATE_LIMITED:
                if self._rate.cut(permit, self._sent, self._clock()):
                    # A turn after a cut is later: the waiting call wakes by itself, and reserves
                    # again.
                    self._schedule_version += 1
                    self.usage_changed.set()
            case Feedback.CONCURRENCY_LIMITED:
                if self._concurrency_limit.cut(permit, self._sent):
                    self.usage_changed.set()
            case Feedback.FAULT:
                # A service in trouble is not asked for more.
                self._answers_without_fault = 0
            case Feedback.OK | Feedback.ACCEPTED | Feedback.ENDED:
                cause = GROWTH
                self._answers_without_fault += feedback is not Feedback.ENDED
                is_calm = self._answers_without_fault >= CALM_CALLS
                # An accepted task shows that the rate was right; one that has ended shows that the
                # number of slots was.
                if is_calm and feedback is not Feedback.ENDED:
                    self._rate.grow(permit, self._clock())
                if is_calm and feedback is not Feedback.ACCEPTED:
                    self._concurrency_limit.grow(permit, self._sent)
            case Feedback.TURNED_AWAY:
                return
        self._history.record(RATE, rate_before, self._rate.rate, cause)
        self._history.record(
            IN_FLIGHT, slots_before, self._concurrency_limit.limit, cause
        )
