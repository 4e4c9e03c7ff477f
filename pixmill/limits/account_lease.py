"""One account, many processes: a thread that keeps the limiter's share of the account up to date.

Slots and a fraction of the rate are leased in bulk from the ledger, for a few calls or seconds at a
time while calls are wanted, at once after a cut or a Retry-After, never per call. They are given
back at the end, and what a dead process had is taken over. A process that can't reach its ledger
keeps its share until the lease ends, and then waits.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable

from pixmill.errors import PixmillError
from pixmill.ledger import Ledger
from pixmill.limits.fair_share import Share, UsageReport
from pixmill.limits.lease_table import LeaseRequest, share_out
from pixmill.limits.limiter import CallLimiter
from pixmill.redaction import mask_secrets
from pixmill.tuning import (
    RENEW_CALLS,
    RENEW_SECONDS_LEAST,
    RENEW_SECONDS_MOST,
    RENEW_SECONDS_SHORT,
    SHARE_LEASE_SECONDS,
)

log = logging.getLogger(__name__)


class LeaseRenewer:
    """Leases shares of `account` for `limiter`.

    `failed` is called once with what makes that impossible; calls in flight are not affected.
    """

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
        # The name of this process's row; also its place among those that share the account.
        self._lease = secrets.token_hex(8)
        # The first request creates the table in ledgers that are older than it.
        self._is_first = True
        self._is_ending = False
        # Of the last report: calls sent until then, and when it was.
        self._reported_sent = 0
        self._reported_at = time.monotonic()
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
        """Give the share back and wait for the thread to end; no call may be in flight."""
        self._is_ending = True
        self._limiter.usage_changed.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._is_ending:
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
        """Report, use the share that comes back, and return the seconds until the next report.

        None: nothing is wanted, so that the next report is when `usage_changed` is set.
        """
        now = time.monotonic()
        sent = self._limiter.sent
        calls = sent - self._reported_sent
        seconds = now - self._reported_at
        self._reported_sent = sent
        self._reported_at = now
        share = self._ask(self._limiter.report_usage())
        if share is None:
            return None
        # Counted from before the request: the ledger counts from when it was written.
        self._limiter.use_share(share, now + SHARE_LEASE_SECONDS)
        if share.is_changing:
            return RENEW_SECONDS_SHORT
        pause = RENEW_CALLS * seconds / max(calls, 1)
        return min(RENEW_SECONDS_MOST, max(RENEW_SECONDS_LEAST, pause))

    def _ask(self, report: UsageReport | None) -> Share | None:
        request = LeaseRequest(
            self._lease, self._account, report, self._is_first, self._limiter.changes
        )
        self._is_first = False
        return self._ledger.write(share_out, request)
