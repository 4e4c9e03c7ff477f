"""The command `run`, and what all commands share that pay: plan, agree, run, say how it went."""

import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, NoReturn

import typer

from pixmill.cli.agreement import agree
from pixmill.cli.candidates import count_line
from pixmill.cli.console import (
    SIMULATED,
    ConfigPath,
    Json,
    Overrides,
    echo,
    exit_process,
    print_json,
    print_problem_rows,
)
from pixmill.cli.flow_run import run_flow
from pixmill.cli.gate import print_gate
from pixmill.cli.notify import notify_of_error, notify_of_run
from pixmill.cli.plan import Limit, Rows, print_plan
from pixmill.cli.progress import InputLook
from pixmill.local_paths import given_path
from pixmill.signals import (
    EXIT_INTERRUPTED,
    drain_or_leave,
    graceful_shutdown,
    handle_signals,
)
from pixmill.text import cli_arguments

REHEARSAL = (
    "provider.kind=simulator",
    "provider.base_url=null",
    "execution.engine=threads",
    "execution.address=null",
)
"""What makes a rehearsal of any config: the embedded simulator answers, in a store of its own."""

_STOPPED_EARLY = (4, 5, 6, EXIT_INTERRUPTED)
"""Exit codes of runs that left something unsent, for a reason that their summary names."""

if TYPE_CHECKING:
    from pixmill.cli.embedded_prefect import PrefectServer
    from pixmill.config.model import Config
    from pixmill.execution.active_runs import FlowParameters
    from pixmill.execution.prepare import PreparedRun
    from pixmill.execution.retry_selection import RetrySelection
    from pixmill.execution.run import ActiveRun
    from pixmill.execution.run_summary import RunSummary


def run(
    config: ConfigPath,
    limit: Limit = None,
    rows: Rows = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before paying.")
    ] = False,
    new_store: Annotated[
        bool,
        typer.Option("--new-store", help="Agree that the store has no ledger yet."),
    ] = False,
    rehearse: Annotated[
        Path | None,
        typer.Option(
            metavar="FAULTS",
            parser=given_path,
            help="Pay nothing: the simulator answers, with the faults of this file.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Make the dataset: plan, pay for what is missing, publish. The same command again continues."""
    from pixmill.config.loading import load_config

    changes = [*(overrides or ()), *(REHEARSAL if rehearse else ())]
    settings = load_config(config, changes)
    if rehearse:
        from pixmill.simulator.faults import load_faults

        load_faults(rehearse)  # its mistakes come before anything starts
    order = RunRequest(
        settings,
        config,
        changes,
        limit,
        rows=rows,
        yes=yes,
        new_store=new_store,
        faults=rehearse,
    )
    pay(order, as_json=as_json)


class RunRequest(NamedTuple):
    """What a person ordered: a config as it was read, how it was named, and how far
    they agreed to it beforehand.
    """

    settings: "Config"
    config: str
    overrides: list[str]
    limit: int | None = None
    rows: int | None = None
    """The first rows of the table that it pays for, `None`: all of them."""
    yes: bool = False
    new_store: bool = False
    retried: "RetrySelection | None" = None
    faults: Path | None = None

    @property
    def flow_parameters(self) -> "FlowParameters":
        """What the flow of this order is called with; they show in Prefect."""
        from pixmill.execution.active_runs import FlowParameters

        return FlowParameters.of(
            self.config, self.overrides, self.limit, self.new_store
        )

    def next_command(self, summary: "RunSummary") -> str:
        """Return what to type after a run that ended with something to do."""
        # Of what makes a rehearsal, the kind of provider alone says where its results are.
        changes = [one for one in self.overrides if one not in REHEARSAL[1:]]
        return summary.next_command(self.config, changes)


def pay(order: RunRequest, *, as_json: bool) -> NoReturn:
    """Carry an order out, say how that went and end the process with its exit code,
    whether anybody reads or not.
    """
    from pixmill.execution.run_summary import RunSummary

    if order.settings.notify.to:
        from pixmill.execution.delivery import check_targets

        check_targets(order.settings)
    paying = _Paying(order, as_json)
    with handle_signals(drain_or_leave(paying.first_signal, paying.second_signal)):
        try:
            summary = _carry_out(order, paying)
        except (KeyboardInterrupt, typer.Abort):
            summary = RunSummary(
                exit_code=EXIT_INTERRUPTED,
                reason="interrupted before anything was sent",
            )
        except Exception as error:
            typed = cli_arguments(order.config, order.overrides)
            notify_of_error(order.settings, error, f"pixmill plan {typed}")
            raise
        paying.end(summary)


class _Paying:
    """An order that is being carried out, and what signals do to it while its run does
    not take them itself.

    Before a run begins nothing was sent, so that the first one ends it. Once it is over
    all is recorded, and what is left (Prefect's events, its server) ends soon, so that
    only a person who insists does not wait for that.
    """

    def __init__(self, order: RunRequest, as_json: bool) -> None:
        self._order = order
        self._as_json = as_json
        self.run: PreparedRun | None = None
        """The run of the order, once it is planned."""
        self._ending = threading.Lock()
        self._is_said = False
        """Whether it was said how the run went."""

    @property
    def _started(self) -> "ActiveRun | None":
        return self.run.started if self.run else None

    def first_signal(self, name: str) -> None:
        """End what has sent nothing. Raises KeyboardInterrupt there."""
        if self._started is None:
            raise KeyboardInterrupt
        words = f"{name}: the run is over, all of it is recorded; waiting for Prefect"
        # On a thread of its own: the interrupted code may be about to print.
        threading.Thread(target=echo, args=(words,), daemon=True).start()

    def second_signal(self) -> None:
        """Leave at once, with the report where there is one."""
        started = self._started
        if started is None or started.summary is None:
            os._exit(EXIT_INTERRUPTED)
        if self._is_said:
            # All that is left is to notify those who are not here.
            os._exit(started.summary.exit_code)
        args = (started.summary,)
        threading.Thread(target=self.end, args=args, daemon=True).start()

    def end(self, summary: "RunSummary") -> NoReturn:
        """Say how it went, notify those whom the config names and end the process."""
        self._ending.acquire()  # whoever comes second need not say it again
        _print_summary(summary, self._order)
        if self._order.faults:
            echo(
                "REHEARSAL over: no provider was called and nothing was paid; the results are in "
                f"{self._order.settings.store_name}"
            )
        if self._as_json:
            with suppress(OSError):  # nobody may be left to read it
                print_json(summary.as_dict())
        self._is_said = True
        order = self._order
        notify_of_run(order.settings, summary, order.next_command(summary))
        exit_process(summary.exit_code, at_once=True)


def _carry_out(order: RunRequest, paying: _Paying) -> "RunSummary":
    """Plan, agree, run; return the run's summary."""
    from pixmill.cli.embedded_prefect import PrefectServer

    settings = order.settings
    retried = order.retried
    if order.faults:
        echo(
            "REHEARSAL: the simulator answers instead of the provider, with the faults of "
            f"{order.faults}"
        )
    with ExitStack() as stack:
        # A new store is sure to have something to pay for: the server starts while the plan is made.
        address = settings.ledger_address
        server = PrefectServer(
            stack,
            early=not retried and isinstance(address, Path) and not address.exists(),
        )
        # Behind the server, which starts while these are loaded.
        from pixmill.execution.prepare import prepare
        from pixmill.execution.run_summary import RunSummary

        look = InputLook()
        prepared = stack.enter_context(
            prepare(
                settings,
                order.limit,
                look.show,
                retried,
                rows=order.rows,
                faults=order.faults,
            )
        )
        # What the flow is called with has to be what was planned.
        order = order._replace(limit=prepared.limit)
        prepared.flow_parameters = order.flow_parameters
        paying.run = prepared
        look.end()
        if retried and not prepared.plan.asked:
            return RunSummary(
                reason=f"nothing to retry: no job is {retried.describe()}"
            )
        return _pay_or_publish(prepared, order, server)


def _pay_or_publish(
    run: "PreparedRun", order: RunRequest, server: "PrefectServer"
) -> "RunSummary":
    """Show what was planned; pay for it once that was agreed to, or publish what is there."""
    print_plan(run.plan)
    settled = run.plan.distinct - run.plan.to_pay
    if order.faults and settled:
        # How much there is left to rehearse, and how to begin anew.
        echo(
            f"  rehearsed before: {settled:,} of {run.plan.distinct:,} jobs have an outcome in "
            f"{run.config.store_name}"
        )
        echo("  --set store=FOLDER rehearses all of them, with what it makes in FOLDER")
    if not run.to_do:
        # There is nothing to pay for, and so nothing for Prefect to do.
        with graceful_shutdown(run.interrupt):
            return run.start().publish()
    from pixmill.execution.caps import fit_into_caps
    from pixmill.execution.stop_reasons import no_call_fits

    within_caps = fit_into_caps(run.plan, run.limit, run.ledger)
    if within_caps.ends_at_once and within_caps.cap and not run.plan.submitted.size:
        # There is nothing to ask and nothing for Prefect to do: images of earlier runs may be.
        run.stop.stop(no_call_fits(within_caps.cap, run.config.budget))
        with graceful_shutdown(run.interrupt):
            return run.start().publish()
    # While a person thinks and Prefect starts; `start` waits for it.
    run.ledger.begin_check()
    # Nobody need agree to pay, or wait for Prefect, where the key is missing.
    run.connect()
    # Tasks that are out are paid for already.
    if run.to_pay:
        is_agreed = order.yes or order.faults is not None
        agree(run, within_caps, yes=is_agreed, new_store=order.new_store)
    server.use()
    return run_flow(run, order)


def _print_summary(summary: "RunSummary", order: RunRequest) -> None:
    if summary.run_id is None:
        echo(summary.reason)
        return
    is_early = summary.exit_code in _STOPPED_EARLY
    badge = SIMULATED if order.settings.simulated else ""
    early = "stopped early: " if is_early else ""
    echo(f"{badge}{early}{summary.reason}")
    echo(f"  {summary.describe(order.settings)}")
    print_problem_rows(
        order.settings, summary.failed + summary.refused + summary.in_doubt
    )
    if summary.candidates:
        echo(count_line(summary.candidates))
    print_gate(summary.gate)
    if summary.shrunk:
        echo(f"  warning: {summary.shrunk.describe()}")
    if summary.dataset:
        echo(f"  {summary.dataset}")
    if summary.report:
        echo(f"  {summary.report}")
        if order.settings.bucket:
            from pixmill.datasets.report import page_of

            echo(f"  open {page_of(order.settings)}, its copy on this machine")
    if summary.exit_code:
        echo(f"next: {order.next_command(summary)}")
