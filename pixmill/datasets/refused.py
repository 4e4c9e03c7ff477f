"""A dataset that the gate refused: kept in `refused/` beside the published one until a person decides.

It is a dataset like any other, with its manifest, its invalid rows, its config and its report.
"""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pixmill.config.model import Config
from pixmill.datasets.dataset_files import (
    CANDIDATES,
    CONFIG,
    DATASET,
    INVALID,
    MANIFEST,
    REFUSED,
    is_intact,
    keep_version,
    published_files,
)
from pixmill.datasets.gate import Gate, gate_of
from pixmill.errors import UserError
from pixmill.storage import open_store
from pixmill.storage.atomic_write import (
    publication_lock,
    put_in_place,
    write_file,
)
from pixmill.storage.integrity import manifest_at

PAGE = "report/index.html"
"""Its report, from its own folder."""


class Refused(NamedTuple):
    """A dataset that waits for a person to decide."""

    path: Path
    rows: int
    gate: Gate


def refused_folder(config: Config) -> Path:
    """Return the folder of the dataset that the gate of `config` refused last, if it did."""
    return config.dataset_folder / REFUSED


def set_aside(
    config: Config,
    dataset: Path,
    invalid: Path,
    candidates: Path | None,
    manifest: Mapping[str, Any],
) -> Path:
    """Move a refused dataset, written to these files, to its folder; return where it is then."""
    folder = refused_folder(config)
    folder.mkdir(exist_ok=True)
    put_in_place(dataset, folder / DATASET)
    put_in_place(invalid, folder / INVALID)
    if candidates:
        put_in_place(candidates, folder / CANDIDATES)
    write_file(folder / CONFIG, config.to_yaml().encode())
    # Last: without the manifest that describes it, a dataset is not accepted.
    described = json.dumps(manifest, indent=1, allow_nan=False)
    write_file(folder / MANIFEST, described.encode())
    store = open_store(config)
    for name in published_files(config):
        store.push(f"{config.name}/{REFUSED}/{name}")
    return folder / DATASET


def find_refused(config: Config) -> Refused:
    """Return the dataset that the gate refused last. Raises UserError where there is none."""
    store = open_store(config)
    folder = refused_folder(config)
    with publication_lock(config.dataset_folder):
        for name in (*published_files(config), PAGE):
            store.download(f"{config.name}/{REFUSED}/{name}")
        manifest = manifest_at(folder / MANIFEST)
        gate = gate_of(manifest)
        if gate is None or not is_intact(folder):
            raise UserError(
                f"there is no refused dataset of {config.name}",
                hint="a run leaves one where a condition of quality.gate does not hold",
            )
    return Refused(folder / DATASET, manifest["rows"], gate)


def accept_refused(config: Config) -> Path:
    """Publish the dataset that the gate refused last, as it was looked at; return where it is.

    Nothing is paid. The gate then lets datasets with just these figures pass. Raises UserError where
    there is none.
    """
    folder = config.dataset_folder
    store = open_store(config)
    refused = find_refused(config)
    with publication_lock(folder):
        store.publish(
            config.name,
            published_files(config),
            config.output.keep_versions,
            partial(_put_in_place, config, refused.gate.accept()),
        )
        forget_refused(config)
    return folder / DATASET


def _put_in_place(config: Config, gate: Gate) -> None:
    folder = config.dataset_folder
    refused = refused_folder(config)
    manifest = manifest_at(refused / MANIFEST) | {"gate": gate.as_dict()}
    if is_intact(folder):
        keep_version(folder, config.output.keep_versions)
    put_in_place(refused / DATASET, folder / DATASET)
    put_in_place(refused / INVALID, folder / INVALID)
    if (refused / CANDIDATES).exists():
        put_in_place(refused / CANDIDATES, folder / CANDIDATES)
    described = json.dumps(manifest, indent=1, allow_nan=False)
    write_file(folder / MANIFEST, described.encode())
    write_file(folder / CONFIG, (refused / CONFIG).read_bytes())


def forget_refused(config: Config) -> None:
    """Remove a refused dataset, because a newer one or the same one is published."""
    if not refused_folder(config).exists():
        return
    store = open_store(config)
    for name in (*published_files(config), PAGE):
        store.remove(f"{config.name}/{REFUSED}/{name}")
    shutil.rmtree(refused_folder(config), ignore_errors=True)
