"""Serve the nightly run from this process, without a work pool or a worker: `flow.serve`.

    PREFECT_API_URL=http://127.0.0.1:4200/api python -m deployments.serve configs/nightly.yaml /srv/pixmill/out

Start it where the config's relative paths begin, and keep it alive with what your machine has for
that (systemd, launchd). Keys are in its environment. Ctrl-C ends it and pauses the schedule.
"""

from argparse import ArgumentParser
from pathlib import Path

from prefect.schedules import Cron

from deployments.server import require_server
from flows.generate import generate_dataset


def serve(config: str, store: str) -> None:
    """Run `config` every night into `store`, an absolute path, and whenever somebody asks for it."""
    generate_dataset.serve(
        name="nightly-served",
        parameters={
            "config": str(Path(config).absolute()),
            "overrides": [f"store={Path(store).absolute()}"],
        },
        schedule=Cron("0 3 * * *", timezone="Asia/Shanghai"),
        # Two at a time would pay nothing twice, but the second has nothing to do.
        limit=1,
        tags=["pixmill", "pays"],
    )


if __name__ == "__main__":
    parser = ArgumentParser("python -m deployments.serve", description=serve.__doc__)
    parser.add_argument("config", help="the config of the run")
    parser.add_argument("store", help="the folder of ledger and images")
    given = parser.parse_args()
    require_server()
    serve(given.config, given.store)
