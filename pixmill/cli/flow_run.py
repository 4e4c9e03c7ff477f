"""A run that Prefect carries out: its flow, and what becomes of the run where Prefect fails."""

from typing import TYPE_CHECKING

from pixmill.cli.console import echo
from pixmill.cli.own_packages import prefer_own_packages
from pixmill.errors import PixmillError
from pixmill.threads import start_thread

if TYPE_CHECKING:
    from pixmill.cli.run import RunRequest
    from pixmill.execution.prepare import PreparedRun
    from pixmill.execution.run_summary import RunSummary

EVENT_SECONDS = 10.0


def run_flow(run: "PreparedRun", order: "RunRequest") -> "RunSummary":
    """Let Prefect carry out a run that was agreed to."""
    from prefect.exceptions import TerminationSignal
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    prefer_own_packages()
    from flows.generate import generate_dataset
    from pixmill.cli.progress import show_progress
    from pixmill.memory import keep_less_memory

    keep_less_memory()
    # The end of a run waits for the thread of the heartbeats, which sleeps for whole
    # seconds. Whoever waits for them sets how often they come.
    no_heartbeats = temporary_settings(
        set_defaults={PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    )
    with show_progress(run), no_heartbeats:
        try:
            generate_dataset(
                order.config, order.overrides, order.limit, order.new_store
            )
        except PixmillError:
            # Of a run that did not begin there is nothing to deliver, and a signal while
            # it waits would hide the error.
            if run.started:
                _deliver_events()
            raise
        except TerminationSignal:
            # A SIGTERM that Prefect took, before the run drained or after.
            if run.started is None:
                raise KeyboardInterrupt from None
            return run.started.finish()
        except Exception as error:
            return _finish_without_prefect(run, error)
        _deliver_events()
    if run.started is None:
        raise PixmillError(f"the flow of run {run.run_id} did not start it")
    return run.started.finish()


def _finish_without_prefect(run: "PreparedRun", error: Exception) -> "RunSummary":
    """Return the summary of a run that Prefect left alone, because its server is gone for instance.

    Raises PixmillError where it never started.
    """
    what = f"Prefect failed ({type(error).__name__}: {error})"
    if run.started is None:
        raise PixmillError(
            f"{what} before the run began; nothing was sent",
            hint="run the same command again, or set PREFECT_API_URL to a server that answers",
        ) from error
    summary = run.started.finish()
    echo(
        f"warning: {what} during the run; "
        "what was paid for is recorded and published without it"
    )
    return summary


def _deliver_events() -> None:
    """Wait a while for Prefect's events to be sent, before the server that takes them
    is stopped.
    """
    from prefect.events.worker import EventsWorker

    worker = EventsWorker.instance()
    start_thread(worker.wait_until_empty, "pixmill-events").join(EVENT_SECONDS)
