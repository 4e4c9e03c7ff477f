"""From a config to a run that may begin: plan, agreement, and what answers its calls."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pixmill.config.loading import load_config, load_deployment_config
from pixmill.config.model import Config
from pixmill.datasets.gate import check_gate_columns
from pixmill.datasets.publishing import check_publishable, published_folder
from pixmill.datasets.running_note import forget_running, note_running
from pixmill.datasets.step_back import check_has_rows
from pixmill.errors import ConfigError, PixmillError
from pixmill.execution import active_runs
from pixmill.execution.active_runs import FlowParameters
from pixmill.execution.delivery import check_targets
from pixmill.execution.executor import Executor, IdleExecutor
from pixmill.execution.image_downloads import Downloads
from pixmill.execution.known_ledger import examine_ledger
from pixmill.execution.progress import RunCounters
from pixmill.execution.retry_selection import RetrySelection
from pixmill.execution.run import ActiveRun
from pixmill.execution.run_plan import RunPlan, plan_run
from pixmill.execution.run_scoring import RunScoring
from pixmill.execution.spending_rules import check_invalid, check_spending
from pixmill.execution.stop_reasons import interruption
from pixmill.execution.stop_signal import StopSignal
from pixmill.execution.thread_executor import ThreadExecutor
from pixmill.execution.worker import Endpoint, open_client_of, open_downloads
from pixmill.execution.worker_pool import WorkerPool
from pixmill.ledger import Ledger, open_ledger, queries
from pixmill.planning.input_check import review_inputs
from pixmill.planning.input_images import InputCounts
from pixmill.planning.planned_state import PlannedState
from pixmill.provider.client import Client
from pixmill.storage import open_store
from pixmill.text import cli_arguments


class PreparedRun:
    """A run that is planned and pays for nothing yet.

    A context manager: leaving it ends whatever the run has started, and closes the
    ledger.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        run_plan: RunPlan,
        limit: int | None,
        *,
        faults: Path | None = None,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.run_plan = run_plan
        self.plan = run_plan.plan
        self.limit = limit
        """How many job keys it pays for at most (`--limit`), `None` for all of them."""
        self.flow_parameters: FlowParameters | None = None
        """What the flow is called with for which this run waits, set before that; `None`: the flow
        prepared it."""
        self.known_ledger = examine_ledger(config, ledger)
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        self.stop = StopSignal()
        self.started: ActiveRun | None = None
        """The run itself, once `start` has been called."""
        self.began = time.monotonic()
        self.resources = ExitStack()
        """What the run has open: simulator, client, downloads, executor."""
        self._faults = faults

    def __enter__(self) -> Self:
        active_runs.register(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        active_runs.unregister(self)
        try:
            self.resources.close()
        finally:
            # Not with the resources, which are closed before the pictures are scored and
            # published: whoever looks on does so until the new dataset is there.
            forget_running(self.config, self.run_id)
            self.ledger.close()

    @property
    def to_pay(self) -> int:
        """How many job keys this run would pay for at most, `--limit` respected."""
        if self.limit is None:
            return self.plan.most_to_pay
        return min(self.limit, self.plan.most_to_pay)

    @property
    def to_do(self) -> int:
        """How many job keys this run would pay for or ask for: a task that is out costs nothing."""
        return self.to_pay + len(self.plan.submitted)

    def interrupt(self, name: str) -> None:
        """Stop sending because a person or the system asked for it by the signal `name`.

        Before `start` it makes a run that sends nothing at all.
        """
        self.stop.stop(interruption(name, is_retry=bool(self.plan.asked)))

    def connect(self) -> None:
        """Open what answers the calls of this run, unless it is open.

        `start` does so by itself; whoever calls it before learns what is missing while
        nothing else has been started. Raises ConfigError for missing credentials.
        """
        _ = self.endpoint
        # With workers elsewhere the keys are where these are.
        if not self.config.execution.address:
            _ = self._client

    @cached_property
    def endpoint(self) -> Endpoint:
        """The built-in simulator of this run where it needs one, or the config's own."""
        config = self.config
        if not config.simulated or config.provider.base_url is not None:
            return Endpoint()
        # Only runs that use it pay for its import.
        from pixmill.simulator import run_simulator

        bill = config.store_path / "bill.jsonl"
        running = run_simulator(bill, faults=self._faults)
        simulator = self.resources.enter_context(running)
        return Endpoint(simulator.base_url, simulator.bearer_key)

    @cached_property
    def _client(self) -> Client:
        client = open_client_of(self.config, self.endpoint)
        self.resources.callback(client.close)
        return client

    def start(self) -> ActiveRun:
        """Write down that the run starts, and start its threads.

        Raises TableError for too many invalid rows, StoreError or PixmillError for a
        store or dataset that can't be written, LedgerError, and what `connect` raises.
        """
        config = self.config
        if self.started:
            raise PixmillError(f"run {self.run_id} has started already")
        check_invalid(self.plan)
        store = open_store(config)
        store.check_writable()
        check_publishable(config)
        if self.to_do:
            self.ledger.check_sound()
        endpoint = Endpoint()
        # Simulated pictures are fetched from the simulator, which has to run until
        # they are here.
        if self.to_do or (config.simulated and self.plan.has_images_to_fetch):
            self.connect()
            endpoint = self.endpoint
        downloads = open_downloads(
            config,
            endpoint,
            store,
            self.run_id,
            self.ledger,
            self.stop,
            pays=self.to_pay > 0,
        )
        self.resources.callback(downloads.close)
        last_run = self.ledger.read(queries.last_runs, config.name, 1)
        if any(run["finished_at"] is None for run in last_run):
            store.clear_parts()
        # Of a run that neither pays nor publishes there is nothing to look at.
        if not self.run_plan.unchanged:
            note_running(self.plan, self.run_id, self.to_pay)
        self.ledger.begin_run(self.run_id, config.name)
        if self.plan.asked:
            self.ledger.mark_to_pay_again(self.plan.asked)
        scoring = RunScoring(self.plan, self.ledger, store)
        self.resources.callback(scoring.close)
        executor = self._start_executor(downloads)
        self.started = ActiveRun(self, executor, downloads, scoring)
        return self.started

    def _start_executor(self, downloads: Downloads) -> Executor:
        """Start who pays: the one place that knows which executors there are."""
        config = self.config
        cached = self.plan.states[PlannedState.CACHED]
        # Without the candidates that may follow: what those before them bring decides that.
        begins_with = len(self.plan.positions_to_pay(self.limit))
        counts = RunCounters(config, begins_with + len(self.plan.submitted), cached)
        executor: Executor
        # A run that was stopped before it began sends nothing.
        if not self.to_do or self.stop.is_set:
            executor = IdleExecutor(counts, downloads, self.stop)
        elif config.execution.engine == "threads":
            executor = ThreadExecutor(
                config,
                self.run_id,
                ledger=self.ledger,
                client=self._client,
                downloads=downloads,
                stop=self.stop,
                counts=counts,
            )
        else:
            executor = WorkerPool(
                config,
                self.run_id,
                ledger=self.ledger,
                endpoint=self.endpoint,
                downloads=downloads,
                stop=self.stop,
                counts=counts,
            )
        self.resources.callback(executor.close)
        return executor


def prepare(
    config: Config,
    limit: int | None = None,
    on_inputs: Callable[[InputCounts], None] = lambda _: None,
    retried: RetrySelection | None = None,
    *,
    rows: int | None = None,
    faults: Path | None = None,
) -> PreparedRun:
    """Open the ledger, look at input images where the config wants that, and plan a
    run; nothing is paid.

    With `rows` it pays for what the first so many rows of the table ask for, and nothing
    else. `retried` are jobs to pay for again; they are marked when the run starts.
    `on_inputs` is called with how far the look is. `faults` is a file of what the
    built-in simulator does wrong, to rehearse with. Raises TableError (also for a table that
    could never be published), LedgerError, and PixmillError where images can't be kept.
    """
    # The flow's form and Python take any number, and a slice by -1 would be all jobs but the last.
    if limit is not None and limit < 0:
        raise ConfigError(f"limit: {limit} is less than 0")
    ledger = open_ledger(config.ledger_address)
    try:
        selection = partial(retried.select, ledger) if retried else None
        run_plan = plan_run(config, ledger, selection)
        check_gate_columns(run_plan.plan)
        if not run_plan.plan.rows:
            check_has_rows(run_plan.plan, published_folder(config))
        if run_plan.plan.most_to_pay:
            # Not for runs that publish at once.
            from pixmill.datasets.dry_publication import publish_dry

            open_store(config)  # one that can't be opened is no fault of the table
            publish_dry(run_plan.plan)
        most = run_plan.plan.limit_within_rows(limit, rows)
        reviewed = review_inputs(run_plan.plan, ledger, most, on_inputs)
        # Again, as rows whose input images are bad are not paid for: those after them must not be either.
        limit = reviewed.limit_within_rows(limit, rows)
        run_plan = run_plan._replace(plan=reviewed)
        return PreparedRun(
            config,
            ledger,
            run_plan,
            limit,
            faults=faults,
        )
    except BaseException:
        ledger.close()
        raise


@contextmanager
def prepare_flow_run(
    config: str,
    overrides: Sequence[str] | None = None,
    limit: int | None = None,
    *,
    new_store: bool = False,
    deployed: bool = False,
) -> Iterator[PreparedRun]:
    """Yield the run of a flow with these parameters.

    It is the one that the command line planned for just these, or one that the flow
    plans by itself: nobody is there to ask, so that spending needs a cap in the config,
    and nobody watches, so that those whom it names are notified in the end.
    Raises SpendingRefused without a cap, ConfigError for targets of notifications that are
    not set, and what `prepare` raises.
    """
    parameters = FlowParameters.of(config, overrides, limit, new_store)
    waiting = active_runs.find_planned(parameters)
    if waiting is not None:
        yield waiting
        return
    # Only here: the command line sees to it itself, and other commands need no pictures.
    from pixmill.execution.notification import BrokenOff, Finished, notify

    given = overrides or ()
    command = f"pixmill plan {cli_arguments(config, given)}"
    try:
        settings = load_deployment_config(config, given, deployed=deployed)
    except ConfigError as error:
        # Wrong overrides, mostly: the file by itself says who wants to know of it.
        with suppress(ConfigError):
            notify(load_config(config), BrokenOff(error, command))
        raise
    check_targets(settings)
    try:
        with prepare(settings, limit) as run:
            check_spending(
                run.plan,
                new_store=new_store,
                known=run.known_ledger,
            )
            yield run
    except Exception as error:
        notify(settings, BrokenOff(error, command))
        raise
    if run.started and run.started.summary:
        summary = run.started.summary
        notify(settings, Finished(summary, summary.next_command(config, given)))
