"""How the limits of a run changed: logged, counted, and kept for the run's report and `status`.

Every step is logged at DEBUG. An unchanged limit is met every hundred calls or so, and would
fill an operator's log: INFO and the history get the first cut of each limit, and then only what
moved by `NOTABLE_CHANGE` of what they were told last.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pixmill.tuning import CHANGES_KEPT, NOTABLE_CHANGE, RATE_MARGIN

log = logging.getLogger(__name__)

RATE = "rate"
IN_FLIGHT = "in flight"
SHARE = "share"

GROWTH = "growth"
ANOTHER_PROCESS = "another process"
OUTAGE = "outage"
RECOVERY = "the service works again"


class LimitChange(NamedTuple):
    """One change of a limit. The names are in run reports and in the ledger."""

    at: str
    """When, in ISO 8601 with a time zone."""

    what: str
    """`rate` (calls/s of the account), `in flight` (calls) or `share` (of the account, 0 to 1)."""

    before: float
    after: float

    cause: str
    """The provider's code, or one of the causes above."""

    of: str = ""
    """The `req_key` of the operation whose limit it is; empty for the limits that all synchronous
    calls share."""

    def describe(self) -> str:
        """The change in one line, without its time."""
        match self.what:
            case "rate":
                change = f"{self.before:.1f} → {self.after:.1f} calls/s"
            case "share":
                change = f"{self.before:.0%} → {self.after:.0%} of the account"
            case _:
                change = f"{self.before:g} → {self.after:g}"
        of = f"{self.of}: " if self.of else ""
        return f"{of}{self.what} {change}: {self.cause}"


def changes_of(report: Mapping[str, Any]) -> list[LimitChange]:
    """Return the changes that a run's report tells; none where it is of a version without them."""
    limits = report.get("limits") or {}
    return [LimitChange(**change) for change in limits.get("changes", [])]


class LimitHistory:
    """The changes of one process's limits: those of the operation `req_key`, or of all.

    `clock` tells seconds. The limiter locks.
    """

    def __init__(self, req_key: str, clock: Callable[[], float]) -> None:
        self._req_key = req_key
        self._clock = clock
        # For times of day: the clock says only how much later it is.
        self._began_at = datetime.now(UTC)
        self._began = clock()
        self._kept: deque[LimitChange] = deque(maxlen=CHANGES_KEPT)
        # By limit: what INFO and the history were told last.
        self._told: dict[str, float] = {}
        self._cuts: Counter[str] = Counter()
        self._lowest: dict[str, float] = {}

    @property
    def changes(self) -> tuple[LimitChange, ...]:
        """The newest notable changes, oldest first."""
        return tuple(self._kept)

    def record(self, what: str, before: float, after: float, cause: str) -> None:
        """Record that a limit was `before` and is `after`, which may be the same."""
        # Most answers change nothing.
        if before == after:
            return
        before = _as_shown(what, before)
        after = _as_shown(what, after)
        # The climb is in steps that may be too small to be told.
        if before == after:
            return
        is_first = what not in self._told
        told = self._told.setdefault(what, before)
        is_cut = after < before
        if is_cut:
            self._cuts[what] += 1
        self._lowest[what] = min(after, self._lowest.get(what, before))
        is_notable = abs(after - told) >= NOTABLE_CHANGE * told
        at = self._began_at + timedelta(seconds=self._clock() - self._began)
        when = at.isoformat(timespec="seconds")
        change = LimitChange(when, what, before, after, cause, self._req_key)
        if not is_notable and not (is_first and is_cut):
            log.debug("%s", change.describe())
            return
        # Since the last one told there may have been small steps, which a reader has not seen.
        change = change._replace(before=told)
        log.info("%s", change.describe())
        self._told[what] = after
        self._kept.append(change)

    def summary(self, limits: Mapping[str, float]) -> dict[str, Any]:
        """Return what a run's report says, with the `limits` that are in force now."""
        return {
            what.replace(" ", "_"): {
                "now": _as_shown(what, now),
                "lowest": self._lowest.get(what, _as_shown(what, now)),
                "cuts": self._cuts[what],
            }
            for what, now in limits.items()
        } | {"changes": [change._asdict() for change in self.changes]}


def as_limit(rate: float) -> float:
    """Convert the internal `rate`, which keeps a safety margin, to the limit shown to users."""
    return round(rate / RATE_MARGIN, 2)


def _as_shown(what: str, value: float) -> float:
    return as_limit(value) if what == RATE else value
