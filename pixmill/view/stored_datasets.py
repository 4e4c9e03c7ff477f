"""Which datasets a store has: those that were published, and those whose first run is under way."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.config.field_types import NAME_PATTERN
from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.dataset_files import CONFIG, DATASET, MANIFEST, RUNNING
from pixmill.datasets.running_note import read_running
from pixmill.errors import PixmillError
from pixmill.storage.integrity import manifest_at

SIMULATED = "simulated"
"""The folder of a store in which the simulator's datasets are."""

_Version = tuple[tuple[int, int] | None, tuple[int, int] | None]


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
        return read_running(self.folder)


class DatasetFinder:
    """Finds the datasets of a store and of the simulator's store in it. From any number of threads."""

    def __init__(self, store: Path) -> None:
        self._places = [store]
        # `pixmill view out/simulated` names the inner one itself.
        if store.name != SIMULATED:
            self._places.append(store / SIMULATED)
        self._read: dict[Path, tuple[_Version, StoredDataset | None]] = {}

    def list(self) -> Iterator[StoredDataset]:
        """Yield all datasets, by their names. What can't be read as one is left out."""
        for place in self._places:
            if place.is_dir():
                for folder in sorted(place.iterdir()):
                    found = self._read_cached(folder)
                    if found:
                        yield found

    def find(self, key: str) -> StoredDataset | None:
        """Return the dataset with a key; None where there is none."""
        _, _, name = key.partition("/")
        if not re.fullmatch(NAME_PATTERN, name):
            return None
        for place in self._places:
            found = self._read_cached(place / name)
            if found and found.key == key:
                return found
        return None

    def _read_cached(self, folder: Path) -> StoredDataset | None:
        """Return the dataset in a folder, read anew only where its files have changed: each of a
        hundred pictures on a page is asked for by the name of its dataset.
        """
        version = (_version_of(folder / RUNNING), _version_of(folder / CONFIG))
        known = self._read.get(folder)
        if known is None or known[0] != version:
            known = version, _read_dataset(folder)
            self._read[folder] = known
        return known[1]


def _version_of(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _read_dataset(folder: Path) -> StoredDataset | None:
    """Return the dataset in a folder; None where there is none that can be read."""
    running = read_running(folder)
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
