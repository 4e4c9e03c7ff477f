"""The Prefect server that deployments from Python are for: it has to be there before them."""

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL


def require_server() -> None:
    """Return where a Prefect server answers. Raises SystemExit with a sentence where none does."""
    address = PREFECT_API_URL.value()
    # Without one Prefect starts a server of its own, whose schedules end with this process.
    if not address:
        raise SystemExit(
            "error: PREFECT_API_URL is not set; start `prefect server start` and set it to "
            "http://127.0.0.1:4200/api, or to the API of your server"
        )
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
    if problem is not None:
        raise SystemExit(
            f"error: no Prefect server answers at {address}, which PREFECT_API_URL names; "
            f"start it, or correct the address ({type(problem).__name__})"
        )
