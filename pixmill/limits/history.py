"""How the limits of a run changed: logged, counted, and kept for the run's report and `status`.

Every step is logged at DEBUG. A limit that stands is met every hundred calls or so, and would
fill an operator's log: INFO and the history get the first cut of each limit, and then only what
moved by `NOTABLE_CHANGE` of what they were told last.
"""

import logging
from collections import Counter, deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pixmill.tuning import CHANGES_KEPT, NOTABLE_CHANGE

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

    def describe(self) -> str:
        """The change in one line, without its time."""
        match self.what:
            case "rate":
                change = f"{self.before:.1f} → {self.after:.1f} calls/s"
            case "share":
                change = f"{self.before:.0%} → {self.after:.0%} of the account"
            case _:
                change = f"{self.before:g} → {self.after:g}"
        return f"{self.what} {change}: {self.cause}"


def changes_of(report: Mapping[str, Any]) -> list[LimitChange]:
    """Return the changes that a run's report tells; none where it is of a version without them."""
    limits = report.get("limits") or {}
    return [LimitChange(**change) for change in limits.get("changes", [])]


class LimitHistory:
    """The changes of one process's limits. The limiter locks."""

    def __init__(self) -> None:
        self._kept: deque[LimitChange] = deque(maxlen=CHANGES_KEPT)
        # By limit: what INFO and the history were told last.
        self._told: dict[str, float] = {}
        self._cuts: Counter[str] = Counter()
        self._lowest: dict[str, float] = {}

    @property
    def changes(self) -> tuple[LimitChange, ...]:
        """The newest notable changes, oldest first."""
        return tuple(self._kept)

    def record(
        self, at: datetime, what: str, before: float, after: float, cause: str
    ) -> None:
        """Record that a limit was `before` and is now `after`, which is another value."""
        is_first = what not in self._told
        told = self._told.setdefault(what, before)
        is_cut = after < before
        if is_cut:
            self._cuts[what] += 1
        self._lowest[what] = min(after, self._lowest.get(what, before))
        is_notable = abs(after - told) >= NOTABLE_CHANGE * told
        change = LimitChange(
            at.isoformat(timespec="seconds"), what, before, after, cause
        )
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
                "now": now,
                "lowest": self._lowest.get(what, now),
                "cuts": self._cuts[what],
            }
            for what, now in limits.items()
        } | {"changes": [change._asdict() for change in self.changes]}
