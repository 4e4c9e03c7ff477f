"""What Prefect's server does by itself when runs end badly, or not at all: `python -m
deployments.automations`.

A run without a heartbeat is marked crashed, so that its deployment's place is free
again. With PIXMILL_NOTIFY_URL, a webhook that takes {"text": …} as Slack, Mattermost
and others do, people are told how runs end that need them. Applied again, both are
renewed.
"""

import os
import sys
from datetime import timedelta
from typing import cast
from uuid import UUID

from prefect.automations import (
    AutomationCore,
    ChangeFlowRunState,
    EventTrigger,
    Posture,
    SendNotification,
)
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType

from flows.run_states import DAMAGED, STATES

SILENCE = timedelta(minutes=2)
"""How long a run may send no heartbeat: four of those that
PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 asks for.
"""

TOLD = (
    "Failed",
    "Crashed",
    "TimedOut",
    DAMAGED[1],
    *(name for code, (_, name) in STATES.items() if 3 <= code <= 7),
)
"""The states that somebody is told of."""

_FLOW_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}
_CRASHED = (
    "no heartbeat: the machine or the worker of this run is gone, or its link to this server; what it paid for is in "
    "the ledger; next: nothing to do, the next run continues; or run the deployment now"
)


def dead_runs_are_marked(silence: timedelta = SILENCE) -> AutomationCore:
    """Mark a run crashed that sent heartbeats and then nothing for `silence`, also not
    that it had ended.

    That is no proof of its death: who takes its jobs over waits for the lease of their
    claims.
    """
    return AutomationCore(
        name="pixmill: dead runs are marked as crashed",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=_FLOW_RUNS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, name="Crashed", message=_CRASHED
            )
        ],
    )


def people_are_told(webhook: UUID) -> AutomationCore:
    """Send the state of each run that ended in one of `TOLD` through the notification
    block `webhook`.
    """
    return AutomationCore(
        name="pixmill: people are told",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{name}" for name in TOLD},
            match=_FLOW_RUNS,
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=webhook,
                subject="{{ flow.name }} {{ flow_run.name }}: {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


def save_webhook(url: str) -> UUID:
    """Keep the webhook as a block of the server, its URL as a secret of it; return the
    block's id.
    """
    block = CustomWebhookNotificationBlock(
        name="pixmill",
        url="{{url}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets={"url": url},
    )
    return cast(UUID, block.save("pixmill", overwrite=True))


def apply(client: SyncPrefectClient, automations: list[AutomationCore]) -> None:
    """Create each automation in place of those with its name."""
    for automation in automations:
        for earlier in client.read_automations_by_name(automation.name):
            client.delete_automation(earlier.id)
        client.create_automation(automation)


def main() -> None:
    """Apply what the environment asks for to the server that PREFECT_API_URL names."""
    url = os.environ.get("PIXMILL_NOTIFY_URL")
    automations = [
        dead_runs_are_marked(),
        *([people_are_told(save_webhook(url))] if url else []),
    ]
    with get_client(sync_client=True) as client:
        apply(client, automations)
    sys.stdout.write("".join(f"{automation.name}\n" for automation in automations))


if __name__ == "__main__":
    main()
