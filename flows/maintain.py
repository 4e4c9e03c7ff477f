"""Flow: what was published is repaired where it can be, then read again to the last byte. It never pays."""

from typing import Any

from prefect import flow, runtime

from flows.endings import cli_arguments, maintenance_state, refused
from pixmill.config.loading import load_deployment_config
from pixmill.errors import PixmillError
from tasks.look_after import repair_images, verify_dataset
from tasks.show_logs import library_logs_shown


@flow(name="maintain-dataset", persist_result=False)
def maintain_dataset(config: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Fetch the missing images of the config file `config`, publish, verify; return what both commands say.

    `overrides` are `--set` entries.
    """
    deployed = runtime.deployment.id is not None
    typed = cli_arguments(config, overrides or [])
    try:
        settings = load_deployment_config(config, overrides or [], deployed=deployed)
        with library_logs_shown():
            repaired = repair_images(settings)
            verified = verify_dataset(settings)
        return maintenance_state(repaired, verified, typed, deployed=deployed)  # type: ignore[no-any-return]
    except PixmillError as error:
        if not deployed:
            raise
        return refused(error, f"pixmill verify {typed}")  # type: ignore[no-any-return]
