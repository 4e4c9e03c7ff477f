"""The executor of a run whose calls are made by worker processes, as its driver has it.

It says what the workers are told, counts what they answer with each chunk, and passes on
that the run stops. How chunks get there, and by what cluster, is none of its business.
"""

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pixmill.config.model import Config, Execution
from pixmill.errors import ConfigError, LedgerError, PixmillError
from pixmill.execution import worker
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts, Outcome, Progress, RunCounters
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.worker import (
    SIMULATOR_KEY,
    ChunkRequest,
    ChunkResult,
    Endpoint,
)
from pixmill.ledger import Ledger
from pixmill.ledger.underway import UnderWay, under_way
from pixmill.planning.jobs import Job, name_chunk

CHUNK_SIZE = 200
"""Jobs of one chunk: sending one out costs the driver some 80 ms, which this makes
small beside the calls.
"""

LOOK_SECONDS = 2.0
"""How often the ledger is asked how far the workers are."""

_RATE_SAMPLES = 16
"""Looks over which the rate is measured: about half a minute."""

log = logging.getLogger(__name__)


class WorkerPool:
    """The workers of one run."""

    def __init__(
        self,
        config: Config,
        run_id: str,
        *,
        ledger: Ledger,
        endpoint: Endpoint,
        downloads: Downloads,
        stop: StopSignal,
        counts: RunCounters,
    ) -> None:
        self.counts = counts
        self.workers = min(config.execution.workers, config.concurrency)
        """How many there are; a cluster that was there before may have others."""
        self._config = config
        self._run_id = run_id
        self._ledger = ledger
        self._endpoint = endpoint
        self._stop = stop
        self._limits: Mapping[str, Any] | None = None
        self._lost: set[str] = set()
        """First job keys of the chunks with which a worker was lost."""
        self._looks: deque[tuple[float, UnderWay]] = deque(maxlen=_RATE_SAMPLES)
        self._measure_from_now()
        # Those of earlier runs: this process makes no calls.
        stop.on_change(downloads.end_if_interrupted)

    # What workers are told

    def request(self, chunk: Sequence[Job]) -> ChunkRequest:
        """Return what the worker that gets `chunk` has to know."""
        return ChunkRequest(
            self._run_id,
            resolve_paths(self._config),
            with_absolute_paths(chunk),
            self._endpoint.base_url,
        )

    @contextmanager
    def key_in_environment(self) -> Iterator[None]:
        """Let worker processes inherit the key of the simulator inside this one, which
        is never pickled.
        """
        if self._endpoint.api_key is None:
            yield
            return
        os.environ[SIMULATOR_KEY] = self._endpoint.api_key
        try:
            yield
        finally:
            del os.environ[SIMULATOR_KEY]

    def workers_ready(self, workers: int, tell: Callable[[StopReason], None]) -> None:
        """Note that `workers` are there; `tell` passes on to all of them why they are to stop."""
        self.workers = workers
        # The time that they took to come up is no part of their speed.
        self._measure_from_now()

        def pass_on() -> None:
            if self._stop.reason:
                tell(self._stop.reason)
            elif self._stop.error:
                tell(StopReason(StopCode.BREAKER, str(self._stop.error)))

        self._stop.on_change(pass_on)

    # Chunks

    def chunk_size(self) -> int:
        """How many jobs the next chunk takes; with `auto` each worker gets two at least."""
        wanted = self._config.execution.jobs_per_task
        if wanted != "auto":
            return wanted
        fair = math.ceil(self.counts.to_do / self.workers / 2)
        return max(1, min(CHUNK_SIZE, fair))

    @property
    def chunks_per_worker(self) -> int:
        """How many chunks a worker has at once: the next one fills the gaps that the
        end of one leaves.
        """
        calls = 2 * self._config.concurrency / self.workers
        return max(2, math.ceil(calls / self.chunk_size()))

    def has_enough(self, chunks: Collection[Sequence[Job]]) -> bool:
        """Whether every worker has its `chunks_per_worker`."""
        return len(chunks) >= self.workers * self.chunks_per_worker

    def process(self, chunk: Sequence[Job]) -> ChunkCounts:
        """Pay for a chunk as one more worker, inside this process."""
        result = worker.process(self.request(chunk))
        self.record(result)
        return result.outcomes

    def record(self, result: ChunkResult) -> None:
        """Count what a worker made of a chunk; a worker that stopped stops all."""
        self.counts.add(
            result.outcomes, result.codes, calls=result.calls, cost=result.cost
        )
        self._limits = result.limits or self._limits
        if result.stopped:
            self._stop.stop(result.stopped)
        if result.failure:
            self._stop.fail(result.failure)

    def chunk_failed(self, chunk: Sequence[Job], error: Exception) -> bool:
        """Note that a worker was lost with `chunk`. Return whether to send it again.

        The ledger knows which of its jobs were paid for, and puts those in flight into
        doubt. Twice with the same jobs is no chance: then the run ends.
        """
        # Before anything is sent again: the worker may have paid for some of the chunk.
        in_doubt = self._ledger.doubt_calls_of_the_dead(self._run_id, self._config.name)
        log.warning(
            "a worker was lost with %s; %s calls are in doubt (%s: %s)",
            name_chunk(chunk),
            in_doubt,
            type(error).__name__,
            str(error).partition(". ")[0],
        )
        is_first_time = chunk[0].key not in self._lost
        self._lost.add(chunk[0].key)
        if is_first_time and not self._stop.is_set:
            return True
        self.counts.record_job(Outcome.SKIPPED, len(chunk))
        if not self._stop.is_set:
            self._stop.fail(
                PixmillError(
                    f"workers were lost twice with {name_chunk(chunk)}",
                    hint="their logs say why (memory?); run the same command again to continue",
                )
            )
        return False

    def progress(self) -> Progress:
        """What the run looks like now: outcomes as the workers' chunks bring them,
        calls as the ledger has them.
        """
        asked_at = time.monotonic()
        if asked_at - self._looks[-1][0] >= LOOK_SECONDS:
            try:
                found = self._ledger.read(under_way, self._run_id)
                self._looks.append((asked_at, found))
            except LedgerError as error:
                # The workers wait for it as well.
                log.debug("no look at the ledger: %s", error)
        before, earlier = self._looks[0]
        at, now = self._looks[-1]
        calls = now.calls - earlier.calls
        return self.counts.progress(
            self._stop,
            in_flight=now.in_flight,
            limit=self._config.concurrency,
            qps=self._config.limits.qps,
            calls=now.calls,
            rate=calls / (at - before) if at > before else 0.0,
        )

    def limits_summary(self) -> Mapping[str, Any] | None:
        """How the account's limits fared, as the worker saw it that answered last.

        The limits are the account's, and each worker is told what the others have learnt.
        """
        return self._limits

    def close(self) -> None:
        """Close what `process` has opened here; the workers close their own."""
        worker.close(self._run_id)

    def _measure_from_now(self) -> None:
        self._looks.clear()
        self._looks.append((time.monotonic(), UnderWay(0, 0)))


def resolve_paths(config: Config) -> Config:
    """Return `config` with absolute paths. Its limits stay: the workers share them by
    the ledger.
    """
    provider = config.provider
    if provider.api_key_file:
        key_file = Path(provider.api_key_file).expanduser().absolute()
        provider = provider.model_copy(update={"api_key_file": str(key_file)})
    store = config.store if config.bucket else str(Path(config.store).absolute())
    request = config.request
    if request.operation_file:
        file = str(Path(request.operation_file).expanduser().absolute())
        request = request.model_copy(update={"operation_file": file})
    return config.model_copy(
        update={"provider": provider, "store": store, "request": request}
    )


def with_absolute_paths(chunk: Sequence[Job]) -> list[Job]:
    """Return jobs whose local images are found from any folder."""
    return [
        job._replace(
            files=tuple(
                file._replace(path=str(Path(file.path).absolute()))
                for file in job.files
            )
        )
        for job in chunk
    ]


def check_installed(execution: Execution) -> None:
    """Raise ConfigError where the engine needs what is not installed."""
    if execution.engine == "dask" and not find_spec("prefect_dask"):
        raise ConfigError(
            "execution.engine: dask needs prefect-dask",
            hint="pip install 'pixmill[dask]'",
        )
