"""Deploy the nightly run to a work pool from Python: `flow.from_source(…).deploy()`.

    export PREFECT_API_URL=http://127.0.0.1:4200/api
    prefect work-pool create pixmill --type process
    python -m deployments.deploy_flow /srv/pixmill configs/nightly.yaml /srv/pixmill/out
    prefect worker start --pool pixmill

It does for one deployment what prefect.yaml says of all. Run it again after each change.
"""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from prefect.schedules import Cron

from deployments.server import require_server
from deployments.work_pool import POOL
from flows.generate import generate_dataset


def deploy(project: str, config: str, store: str) -> UUID:
    """Deploy the run of `config`, which is relative to `project`, into `store`; return the deployment's id.

    `project` is this project's folder on the workers' machines; a URL of a repository that the workers
    may read does as well, and is cloned for each run.
    """
    source: Any = generate_dataset.from_source(
        source=project, entrypoint="flows/generate.py:generate_dataset"
    )
    made: UUID = source.deploy(
        name="nightly-from-python",
        work_pool_name=POOL,
        parameters={"config": config, "overrides": [f"store={store}"]},
        schedule=Cron("0 3 * * *", timezone="Asia/Shanghai"),
        concurrency_limit=1,
        tags=["pixmill", "pays"],
        # The code is on the workers' machines, not in an image.
        build=False,
        push=False,
        print_next_steps=False,
    )
    return made


if __name__ == "__main__":
    parser = ArgumentParser(
        "python -m deployments.deploy_flow", description=deploy.__doc__
    )
    parser.add_argument("project", help="the project's folder on the workers' machines")
    parser.add_argument("config", help="the config of the run, relative to the project")
    parser.add_argument("store", help="the folder of ledger and images, absolute")
    given = parser.parse_args()
    require_server()
    deploy(given.project, given.config, given.store)
