"""A run that a Python caller waits for, and may interrupt."""

from concurrent.futures import Future
from contextlib import ExitStack

from pixmill.api.notebook import is_notebook, show_in_notebook
from pixmill.cli.progress import show_progress
from pixmill.execution.chunk_window import pay_in_this_process
from pixmill.execution.prepare import PreparedRun
from pixmill.execution.run_summary import RunSummary
from pixmill.threads import start_thread

LOOK_SECONDS = 0.1
"""Between two looks at whether a run is over: a wait without an end can't be interrupted everywhere."""


def carry_out(prepared: PreparedRun, resources: ExitStack) -> RunSummary:
    """Pay for a run that was agreed to, publish it and say how it went; `resources` are closed then.

    The first KeyboardInterrupt drains the run: calls in flight are finished, and what there is is
    published; it is raised only where nothing was sent yet. The second is raised; the calls are
    finished and recorded all the same, behind the caller's back. Raises what `ActiveRun.finish` does.
    """
    done: Future[RunSummary] = Future()

    def work() -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            with resources:
                run = prepared.start()
                pay_in_this_process(run)
                summary = run.publish()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(summary)

    show = show_in_notebook if is_notebook() else None
    with ExitStack() as display:
        try:
            # On a thread of its own, so that an interrupt, which Python raises in the main thread
            # wherever that is, never meets a half-made step. It needs no event loop and disturbs none.
            start_thread(work, "pixmill-run")
            display.enter_context(show_progress(prepared, show))
            return _wait(done)
        except KeyboardInterrupt:
            prepared.interrupt("Ctrl-C")
            # Nobody knows whether an interrupted start was one, but what is cancelled never begins.
            if done.cancel():
                raise
            return _wait(done)
        finally:
            if done.cancel():
                resources.close()


def _wait(done: Future[RunSummary]) -> RunSummary:
    while True:
        try:
            return done.result(LOOK_SECONDS)
        except TimeoutError:
            # The run's own error may be of that class.
            if done.done():
                raise
