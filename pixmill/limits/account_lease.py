"""One account, many processes: a thread that keeps the limiter's share of the account's limits up to date.

Slots and a portion of the rate are leased in bulk from the ledger, for a few calls or seconds at a time while calls are
wanted, at once after a cut or a Retry-After, never per call. They are given back at the end, and what a dead process
had is taken over. A process that can't reach its ledger goes on with its share until the lease ends, and then waits.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable

from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.limits.fair_share import Allotment, UsageReport
from pixmill.limits.lease_table import LEASE_SECONDS, LeaseRequest, share_out
from pixmill.limits.limiter import CallLimiter
from pixmill.redaction import mask_secrets

log = logging.getLogger(__name__)

CALLS = 10
"""Calls that go out between two reports, unless these would be further apart than `LONGEST`."""
SHORTEST = 1.0
LONGEST = 5.0
"""Seconds between two reports."""
SOON = 0.5
"""Seconds between two reports while shares are on the move."""


class LeaseRenewer:
    """Leases shares of `account` for `limiter`. `failed` hears of what makes that impossible."""

    def __init__(
        self,
        limiter: CallLimiter,
        ledger: Ledger,
        account: str,
        failed: Callable[[PixmillError], None],
    ) -> None:
        self._limiter = limiter
        self._ledger = ledger
        self._account = account
        self._failed = failed
        self._lease = secrets.token_hex(8)
        self._first = True
        self._ending = False
        self._sent = 0
        self._begun = time.monotonic()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread, if it has not been started."""
        if self._thread is None:
            thread = threading.Thread(
                target=self._work, name="pixmill-shares", daemon=True
            )
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """Give the share back and wait for the thread to end; calls in flight have ended before."""
        self._ending = True
        self._limiter.usage_changed.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ending:
                pause = self._renew()
                self._limiter.usage_changed.wait(pause)
                self._limiter.usage_changed.clear()
            self._ask(None)
        except PixmillError as error:
            self._failed(error)
        except Exception as error:
            # Without a share every call would wait for one, and nobody would say why.
            log.exception(
                "the thread that shares the account's limits ended by an internal error"
            )
            reason = f"internal error while sharing the account: {type(error).__name__}: {error}"
            self._failed(PixmillError(mask_secrets(reason)))

    def _renew(self) -> float | None:
        """Report, take what comes back, and return after how many seconds to report again; None: when asked to."""
        begun = time.monotonic()
        sent = self._limiter.sent
        made = sent - self._sent
        passed = begun - self._begun
        self._sent = sent
        self._begun = begun
        report = self._limiter.report()
        share = self._ask(report)
        if share is None:
            return None
        self._limiter.take(share, begun + LEASE_SECONDS)
        if share.is_short:
            return SOON
        return min(LONGEST, max(SHORTEST, CALLS * passed / max(made, 1)))

    def _ask(self, report: UsageReport | None) -> Allotment | None:
        ask = LeaseRequest(self._lease, self._account, report, self._first)
        self._first = False
        share: Allotment | None = self._ledger.write(share_out, ask)
        return share
