"""Flow: what was published is repaired where it can be, then read again to the last
byte. It never pays.
"""

from typing import Any

from prefect import flow, runtime

from flows.prefect_ui import forward_logs
from flows.run_states import failure_state, maintenance_state
from pixmill.config.loading import load_deployment_config
from pixmill.errors import PixmillError
from pixmill.text import cli_arguments
from tasks.maintenance import repair_images, verify_dataset


@flow(name="maintain-dataset", persist_result=False)
def maintain_dataset(config: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Fetch the missing images of the config file `config`, publish, verify; return
    what both commands say.

    `overrides` are `--set` entries.
    """
    deployed = runtime.deployment.id is not None
    arguments = cli_arguments(config, overrides or [])
    try:
        settings = load_deployment_config(config, overrides or [], deployed=deployed)
        with forward_logs():
            repaired = repair_images(settings)
            verified = verify_dataset(settings)
        # Prefect's decorators and states are of no type that says what they return.
        state: dict[str, Any] = maintenance_state(
            repaired, verified, arguments, deployed=deployed
        )
    except PixmillError as error:
        if not deployed:
            raise
        return failure_state(error, f"pixmill verify {arguments}")  # type: ignore[no-any-return]
    return state
