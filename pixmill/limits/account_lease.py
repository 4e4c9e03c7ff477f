"""One account, many processes: a thread that keeps the governor's share of the account's limits up to date.

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
from pixmill.limits.fair_share import Report, Share
from pixmill.limits.lease_table import LEASE_SECONDS, Ask, share_out
from pixmill.limits.limiter import Governor
from pixmill.redaction import without_keys

log = logging.getLogger(__name__)

CALLS = 10
"""Calls that go out between two reports, unless these would be further apart than `LONGEST`."""
SHORTEST, LONGEST = 1.0, 5.0
"""Seconds between two reports."""
SOON = 0.5
"""Seconds between two reports while shares are on the move."""


class Sharing:
    """Leases shares of `account` for `governor`. `failed` hears of what makes that impossible."""

    def __init__(
        self,
        governor: Governor,
        ledger: Ledger,
        account: str,
        failed: Callable[[PixmillError], None],
    ) -> None:
        self._governor, self._ledger, self._account, self._failed = (
            governor,
            ledger,
            account,
            failed,
        )
        self._lease = secrets.token_hex(8)
        self._first, self._ending = True, False
        self._sent, self._begun = 0, time.monotonic()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start the thread, if it has not been started."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="pixmill-shares", daemon=True)
            thread.start()
            self._thread = thread

    def close(self) -> None:
        """Give the share back and wait for the thread to end; calls in flight have ended before."""
        self._ending = True
        self._governor.news.set()
        if self._thread:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._ending:
                pause = self._renew()
                self._governor.news.wait(pause)
                self._governor.news.clear()
            self._ask(None)
        except PixmillError as error:
            self._failed(error)
        except Exception as error:
            # Without a share every call would wait for one, and nobody would say why.
            log.exception("the thread that shares the account's limits ended by an internal error")
            reason = f"internal error while sharing the account: {type(error).__name__}: {error}"
            self._failed(PixmillError(without_keys(reason)))

    def _renew(self) -> float | None:
        """Report, take what comes back, and return after how many seconds to report again; None: when asked to."""
        begun, sent = time.monotonic(), self._governor.sent
        made, passed = sent - self._sent, begun - self._begun
        self._sent, self._begun = sent, begun
        report = self._governor.report()
        share = self._ask(report)
        if share is None:
            return None
        self._governor.take(share, begun + LEASE_SECONDS)
        if share.is_short:
            return SOON
        return min(LONGEST, max(SHORTEST, CALLS * passed / max(made, 1)))

    def _ask(self, report: Report | None) -> Share | None:
        ask = Ask(self._lease, self._account, report, self._first)
        self._first = False
        share: Share | None = self._ledger.write(share_out, ask)
        return share
