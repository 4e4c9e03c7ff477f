"""Which datasets a store has: those that were published, and those whose first run is under way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CONFIG, DATASET, MANIFEST, RUNNING
from pixmill.errors import PixmillError
from pixmill.storage.integrity import manifest_at

SIMULATED = "simulated"
"""The folder of a store in which the simulator's datasets are."""


class StoredDataset(NamedTuple):
    """A dataset of a store."""

    folder: Path

    config: Config
    """Its store is the one in which the dataset was found, whatever was written down."""

    @property
    def key(self) -> str:
        """How addresses name it: `d/pets`, or `s/pets` for the simulator's."""
        return f"{'s' if self.config.simulated else 'd'}/{self.config.name}"

    @property
    def file(self) -> Path:
        """Its Parquet file, which is not there before the first run has ended."""
        return self.folder / DATASET

    @property
    def manifest(self) -> dict[str, Any]:
        """What was published, empty where nothing is."""
        return manifest_at(self.folder / MANIFEST)

    @property
    def running(self) -> dict[str, Any]:
        """What the last run that began is to make, empty where none says so."""
        return _read_running(self.folder)


def find_datasets(store: Path) -> Iterator[StoredDataset]:
    """Yield the datasets of a store and of the simulator's store in it, by their names.

    What can't be read as one (a folder of somebody else's) is left out.
    """
    places = [store]
    # `pixmill view out/simulated` names the inner one itself.
    if store.name != SIMULATED:
        places.append(store / SIMULATED)
    for place in places:
        if not place.is_dir():
            continue
        for folder in sorted(place.iterdir()):
            found = read_dataset(folder)
            if found:
                yield found


def read_dataset(folder: Path) -> StoredDataset | None:
    """Return the dataset in a folder; None where there is none that can be read."""
    running = _read_running(folder)
    # By the config of the newest run: the published one may be older, or not there yet.
    config = running.get("config") or folder / CONFIG
    if isinstance(config, Path) and not config.is_file():
        return None
    try:
        settings = load_config(config)
    except PixmillError:
        return None
    place = folder.parent
    store = place.parent if settings.simulated else place
    if settings.bucket is None:
        # A relative one is relative to where the run was started.
        settings = settings.model_copy(update={"store": str(store)})
    return StoredDataset(folder, settings)


def _read_running(folder: Path) -> dict[str, Any]:
    try:
        read = json.loads((folder / RUNNING).read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
