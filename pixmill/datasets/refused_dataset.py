"""A dataset that the gate refused: kept in `refused/` beside the published one until a person decides.

It is a dataset like any other, with its manifest, its invalid rows, its config and its report.
"""

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
    NEXT,
    REFUSED,
    copy_file,
    is_intact,
    json_file,
    keep_version,
    published_files,
)
from pixmill.datasets.gate import Gate, gate_of
from pixmill.errors import UserError
from pixmill.storage import open_store
from pixmill.storage.atomic_write import (
    atomic_write,
    publication_lock,
    put_in_place,
    write_file,
)
from pixmill.storage.integrity import manifest_at

PAGE = "report/index.html"
"""Its report, from its own folder."""


class RefusedDataset(NamedTuple):
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
    write_file(folder / MANIFEST, json_file(manifest))
    store = open_store(config)
    for name in published_files(config):
        store.push(f"{config.name}/{REFUSED}/{name}")
    return folder / DATASET


def refused_gate(config: Config) -> Gate | None:
    """Return the gate that refused the dataset that waits for a person, None where none waits.

    Reads no more than its manifest, and takes no lock.
    """
    if config.bucket:
        open_store(config).download(f"{config.name}/{REFUSED}/{MANIFEST}")
    return gate_of(manifest_at(refused_folder(config) / MANIFEST))


def find_refused(config: Config) -> RefusedDataset:
    """Return the dataset that the gate refused last. Raises UserError where there is none."""
    with publication_lock(config.dataset_folder):
        return _find(config)


def _find(config: Config) -> RefusedDataset:
    """Return it, for whoever has the lock."""
    store = open_store(config)
    folder = refused_folder(config)
    for name in (*published_files(config), PAGE):
        store.download(f"{config.name}/{REFUSED}/{name}")
    manifest = manifest_at(folder / MANIFEST)
    gate = gate_of(manifest)
    if gate is None or not is_intact(folder):
        raise UserError(
            f"there is no refused dataset of {config.name}",
            hint="a run leaves one where a condition of quality.gate does not hold",
        )
    return RefusedDataset(folder / DATASET, manifest["rows"], gate)


def accept_refused(config: Config) -> RefusedDataset:
    """Publish the dataset that the gate refused last, as it was looked at; return it, with its path
    from now on.

    Nothing is paid. The gate then lets datasets with just these figures pass. Raises UserError where
    there is none.
    """
    folder = config.dataset_folder
    # One lock from the first look on: a run that publishes meanwhile would remove what was found.
    with publication_lock(folder):
        accepted = open_store(config).publish(
            config.name,
            published_files(config),
            config.output.keep_versions,
            partial(_put_in_place, config),
        )
        forget_refused(config)
    return accepted._replace(path=folder / DATASET)


def _put_in_place(config: Config) -> RefusedDataset:
    """Publish what was refused, and leave it where it is: in a bucket this is done again where
    another host was first."""
    folder = config.dataset_folder
    refused = refused_folder(config)
    found = _find(config)
    manifest = manifest_at(refused / MANIFEST) | {"gate": found.gate.accept().as_dict()}
    text = json_file(manifest)
    if is_intact(folder):
        keep_version(folder, config.output.keep_versions)
    # There before the dataset: if this is killed between the two, the next run completes it.
    write_file(folder / NEXT, text)
    open_store(config).push(f"{config.name}/{NEXT}")
    for name in (DATASET, INVALID, CANDIDATES, CONFIG):
        # Only a config that asks for candidates has them.
        if (refused / name).exists():
            with atomic_write(folder / name) as aside:
                copy_file(refused / name, aside)
    write_file(folder / MANIFEST, text)
    (folder / NEXT).unlink()
    return found


def forget_refused(config: Config) -> None:
    """Remove a refused dataset, because a newer one or the same one is published."""
    if not refused_folder(config).exists():
        return
    store = open_store(config)
    for name in (*published_files(config), PAGE):
        store.remove(f"{config.name}/{REFUSED}/{name}")
    shutil.rmtree(refused_folder(config), ignore_errors=True)
