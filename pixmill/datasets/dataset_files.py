"""The files of a dataset's folder: what they are called, whether they belong together, and earlier versions."""

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pixmill.config.model import Config
from pixmill.storage.atomic_write import atomic_write, write_file
from pixmill.storage.integrity import hash_of, manifest_at

DATASET = "dataset.parquet"
INVALID = "invalid.parquet"
MANIFEST = "manifest.json"
CONFIG = "config.yaml"
PUBLISHED = (DATASET, INVALID, CONFIG, MANIFEST)
"""What a publication writes, in the order in which others may see it: the dataset decides who was
first."""

CANDIDATES = "candidates.parquet"
"""All candidates that were drawn, beside the dataset of a config with `quality.until`."""

NEXT = ".manifest.next.json"
"""The manifest of the dataset that is about to be put in place, for whoever finds the one without
the other."""

RUNNING = "running.json"
"""What the last run that began is to make, and by which config: for whoever looks on. It is of this
machine alone."""

HISTORY = "history"
RUNS = "runs"
REFUSED = "refused"
"""Folders beside what is published: of earlier versions, of what runs said, and of a dataset that
`quality.gate` refused."""


def published_files(config: Config) -> tuple[str, ...]:
    """Return what a publication of `config` writes, in the order in which others may see it."""
    return (*PUBLISHED, CANDIDATES) if config.quality.until else PUBLISHED


def is_intact(folder: Path) -> bool:
    """Whether the dataset in `folder` is the one that its manifest describes: a damaged one is no
    version to keep."""
    current = folder / DATASET
    return current.exists() and manifest_at(folder / MANIFEST).get("sha256") == hash_of(
        current
    )


def json_file(record: Mapping[str, Any]) -> bytes:
    """Return the content of a file that describes a dataset or a run, for programs and for people."""
    return json.dumps(record, indent=1, allow_nan=False).encode()


def keep_version(folder: Path, keep: int) -> None:
    """Give the published version a second name in `history/` and forget the oldest beyond
    `keep`."""
    history = folder / HISTORY
    current = folder / DATASET
    if keep:
        history.mkdir(exist_ok=True)
        published = manifest_at(folder / MANIFEST)
        name = (
            str(published.get("published_at", utc_now()))
            .replace(":", "")
            .replace("-", "")
        )
        kept = history / f"{name}.parquet"
        if not kept.exists():
            write_file(kept.with_suffix(".json"), json_file(published))
            copy_file(current, kept)
    for old in sorted(history.glob("*.parquet"), reverse=True)[keep:]:
        old.unlink()
        old.with_suffix(".json").unlink(missing_ok=True)


def copy_file(file: Path, copy: Path) -> None:
    """Give a file that no one writes to a second name, or its content where the file system has no
    such names."""
    try:
        os.link(file, copy)
    except OSError:
        # EPERM, ENOTSUP, EMLINK, EXDEV, ENOSYS: exFAT, FUSE and mounts each have their own.
        with atomic_write(copy) as path:
            shutil.copyfile(file, path)


def utc_now() -> str:
    """Return the instant as manifests and records of runs have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
