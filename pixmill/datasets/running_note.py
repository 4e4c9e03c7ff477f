"""What a run that is under way is to make, noted beside its dataset for whoever looks on.

A first run has published nothing yet, so nothing else says by which config it works.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import RUNNING
from pixmill.planning.plan import Plan
from pixmill.storage.atomic_write import new_part
from pixmill.storage.integrity import manifest_at


def note_running(plan: Plan, run_id: str, to_pay: int) -> None:
    """Write down what a run that begins is to make.

    A folder that can't be written to is found by `check_publishable`, not here.
    """
    folder = plan.config.dataset_folder
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "run_id": run_id,
        "rows": plan.rows,
        "to_pay": to_pay,
        "config": plan.config.model_dump(mode="json"),
    }
    # Under a name of its own until then: two runs of one config may begin at once.
    with new_part(folder) as (file, part):
        file.write(json.dumps(about, allow_nan=False).encode())
        file.flush()
        # Not synced: after a power loss no run is under way that it could be about.
        part.replace(folder / RUNNING)


def read_running(folder: Path) -> dict[str, Any]:
    """Return what the last run that began is to make, empty where none is noted."""
    return manifest_at(folder / RUNNING)


def forget_running(config: Config, run_id: str) -> None:
    """Take away what the run `run_id` noted: the dataset says it all now.

    What another run of the config has noted since stays.
    """
    folder = config.dataset_folder
    # Nobody pays or publishes by it: it is no reason for a run to fail in the end.
    with suppress(OSError):
        if read_running(folder).get("run_id") == run_id:
            (folder / RUNNING).unlink()
