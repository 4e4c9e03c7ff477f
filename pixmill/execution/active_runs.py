"""The runs of this process, by their id: how a task finds the run that it works for.

Prefect hands parameters to flows and tasks, and nothing else. Tasks are given the id of
their run. A flow is given what a person typed: the command line, which has planned that
very run and had it agreed to, registers it under these parameters before it calls the
flow, which plans by itself where nobody did.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pixmill.errors import PixmillError

if TYPE_CHECKING:
    from pixmill.execution.prepare import PreparedRun
    from pixmill.execution.run import ActiveRun

_runs: dict[str, "PreparedRun"] = {}


class FlowParameters(NamedTuple):
    """What the flow of a run is called with: a config file, its overrides, and so on."""

    config: str
    overrides: tuple[str, ...]
    limit: int | None
    new_store: bool

    @classmethod
    def of(
        cls,
        config: str,
        overrides: Sequence[str] | None,
        limit: int | None,
        new_store: bool,
    ) -> "FlowParameters":
        """Return the parameters of a flow as they are compared."""
        return cls(config, tuple(overrides or ()), limit, new_store)


def register(run: "PreparedRun") -> None:
    """Let the tasks of a run find it."""
    _runs[run.run_id] = run


def unregister(run: "PreparedRun") -> None:
    """Let nobody find a run any more."""
    _runs.pop(run.run_id, None)


def active_run(run_id: str) -> "ActiveRun":
    """Return the run with that id. Raises PixmillError where it runs in another process."""
    run = _runs.get(run_id)
    if run is None or run.started is None:
        raise PixmillError(f"run {run_id} is not running in this process")
    return run.started


def find_planned(parameters: FlowParameters) -> "PreparedRun | None":
    """Return the run that waits for a flow with these `parameters`, if there is one."""
    waiting = (
        run
        # A copy: flows on other threads add theirs meanwhile.
        for run in tuple(_runs.values())
        if run.flow_parameters == parameters and run.started is None
    )
    return next(waiting, None)
