"""The engines of a run's worker processes, as its driver sees them: one `WorkerPool` in place of a `ThreadExecutor`.

It says what the workers are told, takes in what they answer with each chunk, and passes on that the run stops. How
chunks get there, and by what cluster, is none of its business.
"""

import logging
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixmill.config.model import Config, Execution
from pixmill.errors import ConfigError, LedgerError, PixmillError
from pixmill.execution.progress import Progress, RunCounters
from pixmill.execution.stop_reasons import StopCode, StopReason, most_severe
from pixmill.execution.worker import SIMULATOR_KEY, ChunkRequest, ChunkResult
from pixmill.ledger import Ledger
from pixmill.ledger.underway import UnderWay, under_way
from pixmill.planning.jobs import Job
from pixmill.redaction import mask_secrets, single_line

if TYPE_CHECKING:
    from pixmill.simulator import Simulator

JOBS_PER_TASK = 200
"""Jobs of one task run: sending one out costs the driver some 80 ms, which this makes small beside the calls."""

LOOK_SECONDS = 2.0
"""How often the ledger is asked how far the workers are."""

_RATE_SAMPLES = 16

log = logging.getLogger(__name__)


class WorkerPool:
    """The workers of one run. `workers` is how many there are; a cluster that was there before may have others."""

    def __init__(
        self,
        config: Config,
        run_id: str,
        ledger: Ledger,
        *,
        to_pay: int,
        cached: int,
        simulator: "Simulator | None" = None,
    ) -> None:
        self._config = config
        self._run_id = run_id
        self._ledger = ledger
        self._to_pay = to_pay
        self._cached = cached
        self._simulator = simulator
        self.workers = min(config.execution.workers, config.concurrency)
        self.counts = RunCounters(config.stop)
        self.stopped: StopReason | None = None
        self._tell: Callable[[StopReason], None] | None = None
        self._stop_lock = threading.Lock()
        self._lost: set[str] = set()
        self._limits: Mapping[str, Any] | None = None
        self._looks = deque([(time.monotonic(), UnderWay(0, 0))], maxlen=_RATE_SAMPLES)

    def order(self, chunk: Sequence[Job]) -> ChunkRequest:
        """Return what the worker that gets `chunk` has to know."""
        base_url = self._simulator.base_url if self._simulator else None
        return ChunkRequest(
            self._run_id,
            resolve_paths(self._config),
            with_absolute_paths(chunk),
            base_url,
        )

    @property
    def jobs_per_task(self) -> int:
        """How many jobs one task run takes; each worker gets two at least."""
        wanted = self._config.execution.jobs_per_task
        return (
            max(1, min(JOBS_PER_TASK, math.ceil(self._to_pay / self.workers / 2)))
            if wanted == "auto"
            else wanted
        )

    @property
    def chunks_per_worker(self) -> int:
        """How many chunks a worker has at once: the next one fills the gaps that the end of one leaves."""
        return max(
            2,
            math.ceil(2 * self._config.concurrency / self.workers / self.jobs_per_task),
        )

    @contextmanager
    def key_in_environment(self) -> Iterator[None]:
        """Let worker processes inherit the key of the simulator inside this one, which is never pickled."""
        if self._simulator is None:
            yield
            return
        os.environ[SIMULATOR_KEY] = self._simulator.bearer_key
        try:
            yield
        finally:
            del os.environ[SIMULATOR_KEY]

    def workers_ready(self, workers: int, tell: Callable[[StopReason], None]) -> None:
        """Take in that `workers` are there; `tell` passes on to all of them why they are to stop."""
        self.workers = workers
        self._looks.clear()  # the time that they took to come up is no part of their speed
        self._looks.append((time.monotonic(), UnderWay(0, 0)))
        with self._stop_lock:
            self._tell = tell
            stopped = self.stopped
        if stopped:
            tell(stopped)

    def hear(self, done: ChunkResult) -> None:
        """Take in what a worker made of a chunk; a worker that stopped stops all."""
        counts = self.counts
        counts.done += Counter(done.outcomes._asdict())
        counts.codes.update(done.codes)
        counts.calls += done.calls
        counts.charged += done.charged
        self._limits = done.limits or self._limits
        if done.stopped:
            self.stop(*done.stopped)
        if done.failure:
            self.stop(StopCode.BREAKER, str(done.failure))

    def lost(self, chunk: Sequence[Job], error: Exception) -> bool:
        """Take in that a worker was lost with `chunk` by `error`, and say whether to send it out once more.

        The ledger knows which of its jobs were paid for, and puts those in flight into doubt.
        """
        recovered = self._ledger.recover(self._run_id, self._config.name)
        lost = f"a worker was lost with {chunk[0].label} and the {len(chunk) - 1:,} jobs after it"
        log.warning(
            "%s; %s calls are in doubt (%s: %s)",
            lost,
            recovered,
            type(error).__name__,
            str(error).partition(". ")[0],
        )
        again = chunk[0].key not in self._lost and not self.stopped
        self._lost.add(chunk[0].key)
        return again

    def stop(self, code: StopCode, reason: str) -> None:
        """Let all workers send nothing more. Calls in flight are finished and recorded, all other jobs are skipped."""
        with self._stop_lock:
            before = self.stopped
            self.stopped = most_severe(self.stopped, StopReason(code, reason))
            tell = self._tell if self.stopped is not before else None
        if tell:
            tell(self.stopped)

    def progress(self) -> Progress:
        """What the run looks like now: outcomes as the workers' chunks bring them, calls as the ledger has them."""
        self._look()
        (before, earlier), (at, now) = self._looks[0], self._looks[-1]
        rate = (now.calls - earlier.calls) / (at - before) if at > before else 0.0
        budget = self._config.budget
        return Progress(
            to_pay=self._to_pay,
            cached=self._cached,
            done=self.counts.done.copy(),
            in_flight=now.in_flight,
            limit=self._config.concurrency,
            qps=self._config.limits.qps,
            calls=now.calls,
            rate=rate,
            cost=None
            if budget.price_per_call is None
            else self.counts.charged * budget.price_per_call,
            currency=budget.currency,
            images_waiting=0,
            codes=self.counts.codes.most_common(3),
            stopping=self.stopped.reason if self.stopped else None,
        )

    def limits_summary(self) -> Mapping[str, Any] | None:
        """How the account's limits fared, as the worker saw it that was heard last.

        The limits are the account's, and each worker is told what the others have learnt.
        """
        return self._limits

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looks[-1][0] < LOOK_SECONDS:
            return
        try:
            self._looks.append((now, self._ledger.ask(under_way, self._run_id)))
        except LedgerError as error:  # the workers wait for it as well
            log.debug("no look at the ledger: %s", error)


def resolve_paths(config: Config) -> Config:
    """Return `config` with absolute paths. Its limits stay: the workers share them by the ledger."""
    key_file = config.provider.api_key_file
    provider = (
        {"api_key_file": str(Path(key_file).expanduser().absolute())}
        if key_file
        else {}
    )
    store = config.store if config.bucket else str(Path(config.store).absolute())
    return config.model_copy(
        update={"provider": config.provider.model_copy(update=provider), "store": store}
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
    """Raise ConfigError where the executor needs what is not installed."""
    if execution.engine == "dask" and not find_spec("prefect_dask"):
        raise ConfigError(
            "execution.engine: dask needs prefect-dask",
            hint="pip install 'pixmill[dask]'",
        )


def lost_twice(chunk: Sequence[Job]) -> PixmillError:
    """Workers were lost with the same jobs twice, which is no chance."""
    return PixmillError(
        f"workers were lost twice with {chunk[0].label} and the {len(chunk) - 1:,} jobs after it",
        hint="their logs say why (memory?); run the same command again to continue",
    )


def failed_for_good(rows: str, why: str) -> PixmillError:
    """The task of some `rows` ended without its counts, however often Prefect tried it."""
    return PixmillError(
        f"the task of {rows} failed for good: {single_line(mask_secrets(why))}",
        hint="what was paid for is published; run the same command again for the rest",
    )
