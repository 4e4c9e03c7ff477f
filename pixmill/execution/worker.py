"""A worker process's part of a run that is spread over several: an executor of its own,
opened by the first chunk.

All that a worker is told is a `ChunkRequest`: ledger, client and keys it opens by
itself. Its executor is closed when the driver says that the run is over, or when no
chunk comes any more: a driver that was killed says nothing.
"""

import os
import socket
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.errors import PixmillError
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts, RunCounters
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.queries import has_run
from pixmill.planning.jobs import Job
from pixmill.provider.client import Client, open_client
from pixmill.redaction import redact_logs
from pixmill.storage import Store, open_store
from pixmill.storage.image_fetcher import ImageFetcher

SIMULATOR_KEY = "PIXMILL_SIMULATOR_KEY"
"""The environment variable by which the workers of a machine are told the key of the
simulator inside their driver.
"""

IDLE_SECONDS = 60.0
"""How long an executor stays open without a chunk. Opening it anew takes a fraction of a second."""

STOPPED_RUNS = 100
"""Runs that are remembered as stopped: their last chunks may still be on their way here."""


class Endpoint(NamedTuple):
    """Where calls go and with which key; both `None`: where the config says, with the
    keys of the environment.
    """

    base_url: str | None = None
    api_key: str | None = None

    def simulator_of(self, config: Config) -> str | None:
        """The address of the simulator whose pictures may be fetched, if one answers."""
        if not config.simulated:
            return None
        return self.base_url or config.provider.base_url


class ChunkRequest:
    """A chunk of jobs, and what a worker has to know of their run; it holds no secret.

    `config` has absolute paths, `base_url` is that of the simulator inside the driver.
    """

    # No tuple and no dataclass: what distributes chunks looks for futures inside those,
    # job by job, and hands over plain tuples.
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

    @property
    def endpoint(self) -> Endpoint:
        """Where the calls go; the key is one that this process has inherited."""
        if self.base_url is None:
            return Endpoint()
        return Endpoint(self.base_url, os.environ.get(SIMULATOR_KEY))

    def open_ledger(self) -> Ledger:
        """Open the ledger of the run. Raises PixmillError where what is here is not the driver's: what it does
        not know would be paid twice.
        """
        address = self.config.ledger_address
        # Read only first: opening for writing would make an empty ledger on a machine that
        # has none.
        seen = open_ledger(address, read_only=True)
        if seen:
            known = seen.read(has_run, self.run_id)
            seen.close()
            if known:
                return open_ledger(address)
        raise PixmillError(
            f"{address} on {socket.gethostname()} is not the ledger of this run",
            hint="workers on other machines need `ledger: postgresql+psycopg://…` and a store that "
            "all of them reach",
        )


class ChunkResult(NamedTuple):
    """What became of a chunk, and what a worker has to tell besides."""

    outcomes: ChunkCounts
    calls: int = 0
    """Calls that the worker made since it last said so."""
    cost: Decimal = Decimal(0)
    codes: Mapping[str, int] = {}
    stopped: StopReason | None = None
    """Why the worker sends nothing more, if a rule of the run says so."""
    failure: PixmillError | None = None
    """What makes paying impossible there, if anything."""
    limits: Mapping[str, Any] | None = None
    """How the account's limits fared, see `Executor.limits_summary`."""


def process(request: ChunkRequest) -> ChunkResult:
    """Pay for a chunk. What makes paying impossible is returned: it ends the run, not
    the worker.
    """
    unsent = ChunkCounts(skipped=len(request.chunk))
    try:
        with _sessions.use(request) as session:
            if session is None:
                return ChunkResult(unsent)
            return session.process(request.chunk)
    except PixmillError as error:
        return ChunkResult(unsent, failure=error)


def stop(run_id: str, reason: StopReason) -> None:
    """Send nothing more for a run, in this process; calls in flight are finished and recorded."""
    _sessions.stop(run_id, reason)


def close(run_id: str) -> None:
    """Close what this process opened for a run that is over."""
    _sessions.stop(run_id, StopReason(StopCode.INTERRUPTED, "the run is over"))
    _sessions.close(run_id)


class WorkerSession:
    """What a worker has open for one run: an executor, and all that it needs."""

    def __init__(self, request: ChunkRequest) -> None:
        self.stop_signal = StopSignal()
        self._counts = RunCounters(request.config)
        with ExitStack() as stack:
            redact_logs()
            config = request.config
            ledger = request.open_ledger()
            stack.callback(ledger.close)
            client = open_client_of(config, request.endpoint)
            stack.callback(client.close)
            store = open_store(config)
            downloads = open_downloads(
                config,
                request.endpoint,
                store,
                request.run_id,
                ledger,
                self.stop_signal,
                pays=True,
            )
            stack.callback(downloads.close)
            executor = ThreadExecutor(
                config,
                request.run_id,
                ledger=ledger,
                client=client,
                downloads=downloads,
                stop=self.stop_signal,
                counts=self._counts,
            )
            stack.callback(executor.close)
            self._executor = executor
            self._resources = stack.pop_all()
        # What the driver has been told already: results say what is new since then.
        self._told_lock = threading.Lock()
        self._told_calls = 0
        self._told_cost = Decimal(0)
        self._told_codes = Counter[str]()

    def process(self, chunk: Sequence[Job]) -> ChunkResult:
        """Pay for a chunk. Raises PixmillError where nothing of it could be begun."""
        outcomes = self._executor.process(chunk)
        with self._told_lock:
            calls = self._counts.calls
            cost = self._counts.cost
            codes = self._counts.codes.copy()
            result = ChunkResult(
                outcomes,
                calls - self._told_calls,
                cost - self._told_cost,
                dict(codes - self._told_codes),
                self.stop_signal.reason,
                self.stop_signal.error,
                self._executor.limits_summary(),
            )
            self._told_calls = calls
            self._told_cost = cost
            self._told_codes = codes
            return result

    def close(self) -> None:
        """Finish what is in flight and close everything."""
        self._resources.close()


class SessionCache:
    """The sessions of a process, one a run, each open until its run is over or was idle
    for `max_idle` seconds.
    """

    def __init__(self, max_idle: float) -> None:
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._sessions: dict[str, WorkerSession] = {}
        self._chunks = Counter[str]()
        """Chunks that are inside a session now, by run."""
        self._timers: dict[str, threading.Timer] = {}
        """What closes the sessions that have no chunk, by run."""
        self._stopped: OrderedDict[str, None] = OrderedDict()
        """Runs that were stopped, the last `STOPPED_RUNS` of them."""

    @contextmanager
    def use(self, request: ChunkRequest) -> Iterator[WorkerSession | None]:
        """Yield the session of a chunk's run, opened if need be; `None` once the run was stopped.

        Raises what opening a session raises.
        """
        run_id = request.run_id
        with self._lock:
            is_stopped = run_id in self._stopped
            if not is_stopped:
                if run_id not in self._sessions:
                    self._sessions[run_id] = WorkerSession(request)
                session = self._sessions[run_id]
                self._chunks[run_id] += 1
                self._cancel_timer(run_id)
        if is_stopped:
            yield None
            return
        try:
            yield session
        finally:
            with self._lock:
                self._chunks[run_id] -= 1
                is_last = not self._chunks[run_id]
                if is_last:
                    del self._chunks[run_id]
                # Not closed yet: the next chunk of its run may be on its way.
                if is_last and run_id in self._sessions:
                    timer = threading.Timer(self._max_idle, self._close_idle, (run_id,))
                    timer.daemon = True
                    timer.start()
                    self._timers[run_id] = timer

    def stop(self, run_id: str, reason: StopReason) -> None:
        """Let the session of a run send nothing more; chunks that are still on their
        way here are skipped.
        """
        with self._lock:
            # Bounded: a worker of a cluster lives for months.
            self._stopped[run_id] = None
            if len(self._stopped) > STOPPED_RUNS:
                self._stopped.popitem(last=False)
            session = self._sessions.get(run_id)
        if session:
            session.stop_signal.stop(reason)

    def close(self, run_id: str) -> None:
        """Close the session of a run, if there is one."""
        with self._lock:
            session = self._sessions.pop(run_id, None)
            self._cancel_timer(run_id)
        # Outside of the lock: it waits for calls in flight.
        if session:
            session.close()

    def _close_idle(self, run_id: str) -> None:
        with self._lock:
            # A chunk may have come while the timer waited for the lock.
            if self._chunks[run_id]:
                return
            session = self._sessions.pop(run_id, None)
            self._timers.pop(run_id, None)
        if session:
            session.close()

    def _cancel_timer(self, run_id: str) -> None:
        timer = self._timers.pop(run_id, None)
        if timer:
            timer.cancel()


_sessions = SessionCache(max_idle=IDLE_SECONDS)


def open_client_of(config: Config, endpoint: Endpoint) -> Client:
    """Open the client of a config; see `open_client`. Raises ConfigError where an
    address or a key is missing.
    """
    return open_client(
        config.provider,
        config.limits,
        concurrency=config.concurrency,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        codes=config.retry.codes,
        operation_file=config.request.operation_file,
    )


def open_downloads(
    config: Config,
    endpoint: Endpoint,
    store: Store,
    run_id: str,
    ledger: Ledger,
    stop: StopSignal,
    *,
    pays: bool,
) -> Downloads:
    """Open what brings the images of a run into its store; whether it `pays` for more of them as well."""
    fetcher = ImageFetcher(
        allow_hosts=config.output.allow_hosts, simulator=endpoint.simulator_of(config)
    )
    most_refusals = config.stop.images if pays else None
    return Downloads(store, run_id, ledger, fetcher, stop, most_refusals)
