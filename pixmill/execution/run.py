"""A run from plan to published dataset: what the flow and the command line share.

`prepare` makes the plan; `Run.begin` opens what paying needs; `Run.chunks` and `Run.process` are what the flow maps;
and `Run.finish` publishes and says how it went. With nothing to pay for, Prefect is left out.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pixmill.config.loading import load_deployment_config
from pixmill.config.model import Config
from pixmill.datasets.publishing import check_publishable
from pixmill.errors import PixmillError, TableError, UserError
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.progress import ChunkCounts
from pixmill.execution.retry_selection import RetrySelection
from pixmill.execution.run_summary import record, told, update_report_page, verdict
from pixmill.execution.spending_rules import check_invalid, check_spending
from pixmill.execution.stop_reasons import StopCode, StopReason
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.execution.unchanged import Planned, planned, publish_plan
from pixmill.execution.worker import ChunkResult, client_of
from pixmill.execution.worker_pool import WorkerPool
from pixmill.ledger import Ledger, MissingImages, open_ledger
from pixmill.planning.input_check import review_inputs
from pixmill.planning.input_images import InputCounts
from pixmill.planning.jobs import Job
from pixmill.planning.plan import PlannedState
from pixmill.provider.client import Client
from pixmill.storage import open_store
from pixmill.storage.image_fetcher import ImageFetcher

if TYPE_CHECKING:
    from pixmill.simulator import Simulator

log = logging.getLogger(__name__)

TASK_RUNS = 200
"""How many task runs `jobs_per_task: auto` makes at most: no more jobs are one each, to be seen in the Prefect UI."""
TASK_SECONDS = 2.0
"""What a task run of `jobs_per_task: auto` takes at least, going by the calls so far: its own cost is some 7 ms."""

_prepared: ContextVar["Run | None"] = ContextVar("prepared", default=None)
_running: dict[str, "Run"] = {}


class Run:
    """One run of one config. A context manager: leaving it ends the executor and closes the ledger."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        planned: Planned,
        limit: int | None,
        ledger_existed: bool,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self._planned = planned
        self.plan = planned.plan
        self.limit = limit
        self.ledger_existed = ledger_existed
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.executor: ThreadExecutor | WorkerPool | None = None
        self.report: dict[str, Any] | None = None
        self.begun = False
        self._simulator: Simulator | None = None
        self._client: Client | None = None
        self._downloads: Downloads | None = None
        self._interrupted: StopReason | None = None
        self._began = time.monotonic()
        self._failure: PixmillError | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        _running[self.run_id] = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        _running.pop(self.run_id, None)
        try:
            self._open.close()
        finally:
            self.ledger.close()

    @property
    def to_pay(self) -> int:
        """How many job keys this run would pay for, `--limit` respected."""
        return (
            self.plan.to_pay
            if self.limit is None
            else min(self.limit, self.plan.to_pay)
        )

    @property
    def worker_pool(self) -> WorkerPool | None:
        """The worker processes that pay, `None` where the threads of this one do."""
        return self.executor if isinstance(self.executor, WorkerPool) else None

    @property
    def jobs_per_task(self) -> int:
        """How many jobs the next task run takes. With `auto` they are more where calls turn out to be quick."""
        wanted = (
            self.worker_pool.jobs_per_task
            if self.worker_pool
            else self.config.execution.jobs_per_task
        )
        if wanted != "auto":
            return wanted
        if self.to_pay <= TASK_RUNS:
            return 1
        rate = self.executor.counts.rate() if self.executor else 0.0
        return max(math.ceil(self.to_pay / TASK_RUNS), int(rate * TASK_SECONDS))

    @property
    def window(self) -> int:
        """How many chunks of the size of now are in flight at once."""
        if self.worker_pool:
            return self.worker_pool.workers * self.worker_pool.chunks_per_worker
        return max(2, math.ceil(2 * self.config.concurrency / self.jobs_per_task))

    def is_busy_with(self, chunks: Collection[Sequence[Job]]) -> bool:
        """Whether no more `chunks` should be in flight: two at least, and twice the concurrency in jobs.

        So no thread waits for Prefect.
        """
        if self.worker_pool:
            return len(chunks) >= self.window
        return len(chunks) >= 2 and sum(map(len, chunks)) >= 2 * self.config.concurrency

    def connect(self, faults: Path | None = None) -> None:
        """Open the client, for the built-in simulator its server first, with the `faults` of a file to rehearse with.

        Raises ConfigError for missing credentials.
        """
        config = self.config
        base_url = None
        api_key = None
        if config.simulated and config.provider.base_url is None:
            # Only runs that use it pay for its import.
            from pixmill.simulator import run_simulator

            simulator = self._open.enter_context(
                run_simulator(config.store_path / "bill.jsonl", faults=faults)
            )
            self._simulator = simulator
            base_url = simulator.base_url
            api_key = simulator.bearer_key
        if config.execution.address:
            return  # the keys are where the workers are
        self._client = client_of(config, base_url, api_key)
        self._open.callback(self._client.close)

    def begin(self) -> None:
        """Write down that the run starts and start its threads. Raises what `connect` raises if that is still to do."""
        self.begun = True
        check_invalid(self.plan)
        store = open_store(self.config)
        store.check_writable()
        check_publishable(self.config)
        if self.to_pay:
            self.ledger.check_sound()
        if self._client is None and (
            self.to_pay or (self.config.simulated and self.plan.has_images_to_fetch)
        ):
            self.connect()  # simulated pictures are fetched from the simulator, which has to run until they are here
        allowed = self.config.output.allow_hosts
        fetcher = ImageFetcher(allow_hosts=allowed, simulator=self.simulator_url)
        self._downloads = Downloads(store, self.run_id, self.ledger, fetcher)
        self._open.callback(self._downloads.close)
        if any(
            run["finished_at"] is None
            for run in self.ledger.last_runs(self.config.name, 1)
        ):
            store.clear_parts()
        self.ledger.begin_run(self.run_id, self.config.name)
        if self.plan.asked:
            self.ledger.mark_for_repayment(self.plan.asked)
        if self.to_pay:
            self.executor = self._start_engine(self._downloads)
            if self._interrupted:
                self.executor.stop(*self._interrupted)

    def _start_engine(self, downloads: Downloads) -> ThreadExecutor | WorkerPool:
        cached = self.plan.states[PlannedState.CACHED]
        if self.config.execution.engine != "threads":
            run = (self.config, self.run_id, self.ledger)
            return WorkerPool(
                *run, to_pay=self.to_pay, cached=cached, simulator=self._simulator
            )
        if self._client is None:
            raise PixmillError(f"run {self.run_id} is not connected")
        executor = ThreadExecutor(
            self.config,
            self.run_id,
            ledger=self.ledger,
            client=self._client,
            downloads=downloads,
            to_pay=self.to_pay,
            cached=cached,
        )
        self._open.callback(executor.close)
        return executor

    def chunks(self) -> Iterator[list[Job]]:
        """Yield the jobs to pay for in chunks for one task run each, until the run stops.

        A table that is not the one that was agreed to ends the run by `finish`.
        """
        jobs = self.plan.pending_jobs(self.limit)
        try:
            while not self.stopping and (
                chunk := list(islice(jobs, self.jobs_per_task))
            ):
                self.plan.table.check_unchanged()
                yield chunk
        except TableError as error:
            self._failure = error

    def label(self, chunk: list[Job]) -> str:
        """Name the rows of a chunk, as its task run is called."""
        return (
            chunk[0].label
            if len(chunk) == 1
            else f"{chunk[0].label} … {chunk[-1].label}"
        )

    @property
    def simulator_url(self) -> str | None:
        """Where the simulator of this run answers, `None` without one or before `connect`."""
        if self._simulator:
            return self._simulator.base_url
        return self.config.provider.base_url if self.config.simulated else None

    @property
    def percent(self) -> float:
        """How much of what is paid for has an outcome, 0 to 100."""
        done = sum(self.executor.counts.done.values()) if self.executor else 0
        return 100.0 * done / self.to_pay if self.to_pay else 100.0

    @property
    def artifact_key(self) -> str:
        """The config's name as a Prefect artifact key: lower-case letters, digits and dashes."""
        return self.config.name.lower().replace("_", "-")

    def top_codes(self) -> list[tuple[str, int]]:
        """The most frequent codes of this run's calls that were no success."""
        return self.executor.counts.codes.most_common(20) if self.executor else []

    @property
    def stopping(self) -> bool:
        """Whether nothing more is sent."""
        return bool(
            self._failure
            or self._interrupted
            or (self.executor and self.executor.stopped)
        )

    def process(self, chunk: list[Job]) -> ChunkCounts:
        """Pay for a chunk. What makes paying impossible is kept for `finish`, after which it is raised."""
        if not isinstance(self.executor, ThreadExecutor):
            raise PixmillError(f"run {self.run_id} has not begun")
        try:
            return self.executor.process(chunk)
        except PixmillError as error:
            self._failure = error
            return ChunkCounts(skipped=len(chunk))

    def _left_out(self) -> int:
        """How many jobs were not for this run to pay for: `--limit` leaves them out, or another run had them."""
        elsewhere = self.executor.counts.done["elsewhere"] if self.executor else 0
        return self.plan.to_pay - self.to_pay + elsewhere

    def hear(self, done: ChunkResult) -> None:
        """Take in what a worker process made of a chunk. What makes paying impossible is kept for `finish`."""
        if self.worker_pool:
            self.worker_pool.hear(done)
        self._failure = self._failure or done.failure

    def interrupt(self, name: str) -> None:
        """Stop sending because a person or the system asked for it by the signal `name`."""
        # The same `retry` would ask for what it renewed once more.
        how = (
            "`pixmill run` continues"
            if self.plan.asked
            else "run the same command again to continue"
        )
        self._interrupted = StopReason(
            StopCode.INTERRUPTED, f"interrupted by {name}; {how}"
        )
        if self.executor:
            self.executor.stop(*self._interrupted)
        if self._downloads and not self.executor:
            self._downloads.cancel()
            self._downloads.end_soon()

    def fetch_missing(self, missing: Iterable[MissingImages] | None = None) -> None:
        """Fetch images that earlier runs paid for and do not have, by default in input order, without a new call."""
        if self._downloads is None or not self.plan.has_images_to_fetch:
            return
        if missing is None:
            batches = (
                [key for key in jobs.keys if key] for jobs in self.plan.batches()
            )
            missing = (
                images
                for keys in batches
                for images in self.ledger.missing_images(keys)
            )
        self._downloads.fetch_in_turn(missing, lambda: self.stopping)

    def finish(self) -> dict[str, Any]:
        """Wait for images, publish the dataset and return what `run --json` says.

        Raises the error that made paying impossible, after what is known was published. The report's page comes last,
        and with what thumbnails there are once somebody interrupts: all else is on disk by then.
        """
        self._open.close()
        failure = self._failure or (
            self._downloads.failure if self._downloads else None
        )
        stopped = self.executor.stopped if self.executor else self._interrupted
        tried_out = bool(self.limit) and not (failure or stopped)
        try:
            published = publish_plan(
                self._planned, self.ledger, self.run_id, whatever=tried_out
            )
        except PixmillError as error:
            self.ledger.finish_run(
                self.run_id, {"run_id": self.run_id, "reason": str(error)}
            )
            raise
        if self.plan.again:
            published.counts.new["not renewed"] += self.ledger.failed_renewals(
                self.run_id
            )
        code, reason = verdict(published, self.config.accept, self._left_out())
        if stopped:
            code = int(stopped.code)
            reason = stopped.reason
        if failure:
            code = 2 if isinstance(failure, UserError) else 1
            reason = str(failure)
        began = self._began
        limits = self.executor.limits_summary() if self.executor else None
        report = told(
            self.plan, self.ledger, self.run_id, published, code, reason, began, limits
        )
        if failure:
            self.ledger.finish_run(self.run_id, report)
            raise failure
        record(self.config, self.ledger, report)
        self.report = report
        page = update_report_page(
            self.config, published, lambda: self._interrupted is not None
        )
        report = {**report, "report": page}
        self.report = report
        record(self.config, self.ledger, report)
        return report


def prepare(
    config: Config,
    limit: int | None = None,
    on_inputs: Callable[[InputCounts], None] = lambda _: None,
    retried: RetrySelection | None = None,
) -> Run:
    """Open the ledger, look at input images where the config wants that, and plan a run; nothing is paid.

    `retried` are jobs to pay for again; they are marked when the run begins. `on_inputs` hears how far the look is.
    Raises TableError (also for a table that could never be published), LedgerError, and PixmillError where images
    can't be kept.
    """
    ledger = open_ledger(config.ledger_address)
    if ledger is None:
        raise PixmillError(f"{config.ledger_address} could not be opened")
    try:
        selection = partial(retried.select, ledger) if retried else None
        found = planned(config, ledger, selection)
        if found.plan.to_pay:
            from pixmill.datasets.dry_publication import (
                publish_dry,  # not for runs that publish at once
            )

            open_store(config)  # one that can't be opened is no fault of the table
            publish_dry(found.plan)
        reviewed = review_inputs(found.plan, ledger, limit, on_inputs)
        found = found._replace(plan=reviewed)
        return Run(config, ledger, found, limit, ledger_existed=ledger.has_runs())
    except BaseException:
        ledger.close()
        raise


@contextmanager
def adopt_run(run: Run) -> Iterator[None]:
    """Let a flow that starts in this context take over `run`, which has been planned and agreed to."""
    token = _prepared.set(run)
    try:
        yield
    finally:
        _prepared.reset(token)


@contextmanager
def flow_run(
    config: str,
    overrides: Sequence[str],
    limit: int | None,
    *,
    new_store: bool,
    deployed: bool,
) -> Iterator[Run]:
    """Yield the run that was handed over, or one that a flow run starts by itself, which never asks."""
    run = _prepared.get()
    if run is not None:
        yield run
        return
    with prepare(
        load_deployment_config(config, overrides, deployed=deployed), limit
    ) as run:
        check_spending(run.plan, new_store=new_store, ledger_exists=run.ledger_existed)
        yield run


def running(run_id: str) -> Run:
    """Return the run of this process with that id. Raises PixmillError where it runs in another."""
    if run_id not in _running:
        raise PixmillError(f"run {run_id} is not running in this process")
    return _running[run_id]
