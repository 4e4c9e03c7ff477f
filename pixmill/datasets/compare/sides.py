"""What `compare` is given: a config, a dataset or its name, each with or without `@VERSION`."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.yaml_reader import read_yaml
from pixmill.datasets.dataset_files import DATASET, HISTORY, MANIFEST
from pixmill.datasets.loading import LocatedDataset, NoDataset, find_dataset
from pixmill.errors import UserError
from pixmill.request.registry import did_you_mean
from pixmill.storage import Store
from pixmill.storage.integrity import manifest_at

SHOWN_VERSIONS = 5


class ComparedDataset(NamedTuple):
    """One of two datasets that are compared."""

    label: str
    """What the user called it."""

    path: Path
    store: Store

    published_at: str
    """An ISO time; empty where it is not known."""

    config: Mapping[str, Any] | None
    """The resolved config that published it; None for an earlier version, which keeps none."""


def find_side(
    text: str,
    store: str | Path = "out",
) -> ComparedDataset:
    """Return the dataset that `text` means.

    `text` is the path of a config, a dataset folder or file, or the name of a dataset in
    `store` or `store/simulated`; folders and files may be `s3://` URLs. It may end in `@` and
    the beginning of a UTC time, which means the newest version that was published within that
    time, or else the one that was current when it began. Raises UserError where there is none.

        find_side("configs/pets.yaml@2026-10")
        find_side("pets", store="out")
    """
    name = text
    version = ""
    # A path may have an @ of its own.
    if not Path(text).exists() and "@" in text:
        name, _, version = text.rpartition("@")
    has_version = name != text
    current = _find_current(name, store, history=has_version)
    path = current.file
    if has_version:
        path = _find_version(path.parent, version)
    config: Mapping[str, Any] | None = None
    if path.name == DATASET:
        # One that can't be read compares like a dataset file by itself.
        with suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
            text_of_config = path.with_name("config.yaml").read_text(encoding="utf-8")
            read = read_yaml(text_of_config)
            config = read if isinstance(read, dict) else None
    return ComparedDataset(
        label=text,
        path=path,
        store=current.store,
        published_at=_published_at(path),
        config=config,
    )


def versions(folder: Path) -> dict[str, Path]:
    """Return the versions of the dataset in `folder` by compact UTC time, oldest first.

    A time is written `20261122T013047Z`.
    """
    found = {path.stem: path for path in (folder / HISTORY).glob("*.parquet")}
    if (folder / DATASET).exists():
        found[_compact(_published_at(folder / DATASET))] = folder / DATASET
    return dict(sorted(found.items()))


def _find_current(
    name: str,
    store: str | Path,
    *,
    history: bool,
) -> LocatedDataset:
    """Return the dataset that is published now under a path or a name in `store`."""
    is_name = Path(name).name == name and not name.endswith((".yaml", ".yml"))
    if not is_name:
        return find_dataset(name, history=history)
    if is_bucket_url(store):
        url, mark, query = str(store).partition("?")
        folder = url.rstrip("/")
        # The real one first, as in a folder.
        for place in (f"{folder}/{name}", f"{folder}/simulated/{name}"):
            with suppress(NoDataset):
                return find_dataset(place + mark + query, history=history)
        raise UserError(
            f"there is no dataset {name!r} in {url}",
            hint="give the path of a config, or another --store",
        )
    known: dict[str, Path] = {}
    # The real ones last: they go before simulated ones of the same name.
    for base in (Path(store, "simulated"), Path(store)):
        for path in base.glob(f"*/{DATASET}"):
            known[path.parent.name] = path
    if name in known or Path(name).exists():
        return find_dataset(known.get(name, name))
    suggestion = did_you_mean(name, list(known))
    raise UserError(
        f"there is no dataset {name!r} in {store}{suggestion}",
        hint="give the path of a config, or name the store: --store DIR",
    )


def _find_version(folder: Path, wanted: str) -> Path:
    compact = _compact(wanted)
    if not re.fullmatch(r"\d{4,8}|\d{8}T[\d.]*Z?", compact):
        raise UserError(
            f"@{wanted} is not a valid version",
            hint="a version is the beginning of a UTC time: @2026-10",
        )
    known = versions(folder)
    within = [name for name in known if name.startswith(compact)]
    before = [name for name in known if name < compact]
    matching = within or before
    if not matching:
        newest = ", ".join(f"@{name}" for name in list(known)[-SHOWN_VERSIONS:])
        raise UserError(
            f"{folder} has no version that old: @{wanted}",
            hint=f"the newest are {newest}" if newest else "",
        )
    return known[matching[-1]]


def _published_at(path: Path) -> str:
    is_current = path.name == DATASET
    manifest = path.with_name(MANIFEST) if is_current else path.with_suffix(".json")
    return str(manifest_at(manifest).get("published_at", ""))


def _compact(time: str) -> str:
    return time.replace("-", "").replace(":", "")
