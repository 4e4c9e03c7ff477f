"""A worker process's part of a run that is spread over several: an executor of its own, opened by the first chunk.

All that a worker is told is a `ChunkRequest`: ledger, client and keys it opens by
itself. Its executor is closed when the driver says that the run is over, or when no
chunk comes any more: a driver that was killed says nothing.
"""

import os
import socket
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.errors import PixmillError
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.queries import has_run
from pixmill.planning.jobs import Job
from pixmill.provider.client import Client, open_client
from pixmill.redaction import redact_logs
from pixmill.storage import open_store
from pixmill.storage.image_fetcher import ImageFetcher

SIMULATOR_KEY = "PIXMILL_SIMULATOR_KEY"
"""The environment variable by which the workers of a machine are told the key of the simulator inside their driver."""

IDLE_SECONDS = 60.0
"""How long an executor stays open without a chunk. Opening it anew takes a fraction of a second."""


class ChunkRequest:
    """A chunk of jobs, and what a worker has to know of their run; it holds no secret.

    `config` has absolute paths, `base_url` is that of the simulator inside the driver.
    No tuple and no dataclass: engines look for futures inside those, job by job, and hand over plain tuples.
    """

    def __init__(
        self,
        run_id: str,
        config: Config,
        chunk: Sequence[Job],
        base_url: str | None = None,
    ) -> None:
        self.run_id = run_id
        self.config = config
        self.chunk = chunk
        self.base_url = base_url


class ChunkResult(NamedTuple):
    """What became of a chunk, the calls that a worker made since it last said so, and why it sends nothing more.

    `limits` says how the account's limits fared, see `ThreadExecutor.limits_summary`.
    """

    outcomes: ChunkCounts
    calls: int = 0
    charged: int = 0
    codes: Mapping[str, int] = {}
    stopped: StopReason | None = None
    failure: PixmillError | None = None
    limits: Mapping[str, Any] | None = None


def process(order: ChunkRequest) -> ChunkResult:
    """Pay for a chunk. What makes paying impossible is returned: it ends the run, not the worker."""
    try:
        part = _joined(order)
    except PixmillError as error:
        return ChunkResult(ChunkCounts(skipped=len(order.chunk)), failure=error)
    if part is None:
        return ChunkResult(ChunkCounts(skipped=len(order.chunk)))
    try:
        return part.process(order.chunk)
    finally:
        part.leave()


def stop(run_id: str, stopped: StopReason) -> None:
    """Send nothing more for a run, in this process; calls in flight are finished and recorded."""
    with _lock:
        _over.add(run_id)  # chunks that are still on their way here are skipped
        if run_id in _parts:
            _parts[run_id].executor.stop(*stopped)


def close(run_id: str) -> None:
    """End this process's part of a run that is over."""
    stop(run_id, StopReason(StopCode.INTERRUPTED, "the run is over"))
    with _lock:
        part = _parts.pop(run_id, None)
    if part:
        part.close()


class WorkerSession:
    """An open executor and what it needs; `busy` counts the chunks that are in it."""

    def __init__(self, order: ChunkRequest) -> None:
        self._run_id = order.run_id
        self._told = Counter[str]()
        self._told_calls = 0
        self._told_charged = 0
        self.busy = 0
        self._lock = threading.Lock()
        self._idle: threading.Timer | None = None
        with ExitStack() as stack:
            self.executor = _opened(order, stack)
            self._open = stack.pop_all()

    def join(self) -> None:
        """Take a chunk in."""
        self.busy += 1
        if self._idle:
            self._idle.cancel()

    def leave(self) -> None:
        """Let a chunk go, and close after a while if it was the last one."""
        with _lock:
            self.busy -= 1
            if not self.busy:
                self._idle = threading.Timer(IDLE_SECONDS, _close_idle, (self._run_id,))
                self._idle.daemon = True
                self._idle.start()

    def process(self, chunk: Sequence[Job]) -> ChunkResult:
        """Run a chunk through the executor."""
        try:
            return self._news(self.executor.process(chunk), None)
        except PixmillError as error:
            return self._news(ChunkCounts(skipped=len(chunk)), error)

    def close(self) -> None:
        """Finish what is in flight and close everything."""
        if self._idle:
            self._idle.cancel()
        self._open.close()

    def _news(self, outcomes: ChunkCounts, failure: PixmillError | None) -> ChunkResult:
        """What `outcomes` and the calls since the last time come to."""
        with self._lock:
            counts = self.executor.counts
            calls = counts.calls
            charged = counts.charged
            codes = counts.codes.copy()
            news = ChunkResult(
                outcomes,
                calls - self._told_calls,
                charged - self._told_charged,
                dict(codes - self._told),
                self.executor.stopped,
                failure,
                self.executor.limits_summary(),
            )
            self._told_calls = calls
            self._told_charged = charged
            self._told = codes
            return news


_lock = threading.Lock()
_parts: dict[str, WorkerSession] = {}
_over: set[str] = set()


def _joined(order: ChunkRequest) -> WorkerSession | None:
    """Return this process's part of a run with one more chunk in it, `None` where nothing is sent any more."""
    with _lock:
        if order.run_id in _over:
            return None
        if order.run_id not in _parts:
            _parts[order.run_id] = WorkerSession(order)
        part = _parts[order.run_id]
        part.join()
        return part


def _close_idle(run_id: str) -> None:
    with _lock:
        part = _parts.get(run_id)
        if part is None or part.busy:
            return
        del _parts[run_id]
    part.close()


def _opened(order: ChunkRequest, stack: ExitStack) -> ThreadExecutor:
    redact_logs()
    config = order.config
    ledger = _same_ledger(order)
    stack.callback(ledger.close)
    client = client_of(
        config,
        order.base_url,
        os.environ.get(SIMULATOR_KEY) if order.base_url else None,
    )
    stack.callback(client.close)
    simulator = (
        (order.base_url or config.provider.base_url) if config.simulated else None
    )
    fetcher = ImageFetcher(allow_hosts=config.output.allow_hosts, simulator=simulator)
    downloads = Downloads(open_store(config), order.run_id, ledger, fetcher)
    stack.callback(downloads.close)
    executor = ThreadExecutor(
        config, order.run_id, ledger=ledger, client=client, downloads=downloads
    )
    stack.callback(executor.close)
    return executor


def client_of(config: Config, base_url: str | None, api_key: str | None) -> Client:
    """Open the client of a config; see `open_client`. Raises ConfigError where an address or a key is missing."""
    return open_client(
        config.provider,
        config.limits,
        config.request,
        concurrency=config.concurrency,
        base_url=base_url,
        api_key=api_key,
        codes=config.retry.codes,
    )


def _same_ledger(order: ChunkRequest) -> Ledger:
    """Open the ledger. Raises PixmillError where it is not the driver's: what it does not know would be paid twice."""
    address = order.config.ledger_address
    seen = open_ledger(address, read_only=True)
    if seen:
        known = seen.ask(has_run, order.run_id)
        seen.close()
        ledger = open_ledger(address) if known else None
        if ledger:
            return ledger
    raise PixmillError(
        f"{address} on {socket.gethostname()} is not the ledger of this run",
        hint="workers on other machines need `ledger: postgresql+psycopg://…` and a store that all of them reach",
    )
