"""How a flow run ends: the state that its owner sees in Prefect, and whose message a
notification carries.

A run that stopped at its budget did what it was told to and is no crash; one that its
breaker or the provider's account stopped needs somebody. Automations know the endings
by these names: Prefect's events are called after them.
"""

from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.objects import State, StateType

from pixmill.errors import PixmillError
from pixmill.text import money

STATES: Mapping[int, tuple[StateType, str]] = {
    0: (StateType.COMPLETED, "Completed"),
    3: (StateType.COMPLETED, "CompletedWithProblems"),
    4: (StateType.COMPLETED, "BudgetReached"),
    5: (StateType.FAILED, "StoppedByBreaker"),
    6: (StateType.FAILED, "CredentialsRefused"),
    7: (StateType.FAILED, "GateRefused"),
    130: (StateType.CANCELLED, "Interrupted"),
}
"""The state of a run by its exit code."""

DAMAGED = (StateType.FAILED, "StoreDamaged")
"""The state of a verification that found something wrong."""


def run_state(
    report: Mapping[str, Any], currency: str | None, command: str, *, deployed: bool
) -> Any:
    """Return the state of a run whose `report` is in `currency`, `None` where it was
    simulated; its result is the report, `command` what to type next.

    A flow that was called in Python has a caller who reads the report, so it never
    raises for what stands there: only in a deployment is the state all that anybody
    sees.
    """
    cost = "cost unknown"
    if currency is None:
        cost = "simulated, nothing was paid"
    elif report["cost"] is not None:
        cost = money(report["cost"], currency)
    spent = (
        f"{report['succeeded']:,} of {report['jobs']:,} jobs succeeded, "
        f"{report['calls']:,} calls, {cost}"
    )
    return _state(
        STATES[report["exit_code"]],
        f"{report['reason']}: {spent}; next: {command}",
        report,
        deployed,
    )


def failure_state(error: PixmillError, command: str) -> Any:
    """Return the state of a deployment's flow run that `error` ended, with how to fix
    it and what to type next.
    """
    hint = f"; {error.hint}" if error.hint else ""
    return State(
        type=StateType.FAILED, name="Failed", message=f"{error}{hint}; next: {command}"
    )


def maintenance_state(
    repaired: Mapping[str, Any],
    verified: Mapping[str, Any],
    arguments: str,
    *,
    deployed: bool,
) -> Any:
    """Return the state of a repair and the verification after it; its result is what
    both said.

    `arguments` are the config and its overrides, as they follow a command. Images that are lost are known
    to be, and no damage.
    """
    missing = f"{repaired['image_pending']:,} pending, {repaired['image_lost']:,} lost"
    said = (
        f"{repaired['images']:,} images read, {repaired['fetched']:,} fetched, "
        f"{missing}; nothing was paid"
    )
    kind = STATES[repaired["exit_code"]]
    command = "repair"
    if verified["exit_code"]:
        kind = DAMAGED
        command = "verify"
        said += (
            f"; {verified['wrong']:,} wrong: {', '.join(sorted(verified['problems']))}"
        )
    return _state(
        kind,
        f"{said}; next: pixmill {command} {arguments}",
        {"repair": repaired, "verify": verified},
        deployed,
    )


def _state(
    ending: tuple[StateType, str],
    message: str,
    result: Mapping[str, Any],
    deployed: bool,
) -> State[Any]:
    kind, name = ending
    # Whoever called the flow in Python reads its result, which only a completed state has.
    if not deployed:
        return State(
            type=StateType.COMPLETED, name=name, message=message, data=dict(result)
        )
    return State(
        type=kind,
        name=name,
        message=message,
        data=dict(result) if kind is StateType.COMPLETED else None,
    )
