"""Whether the files of a dataset are what their manifests say: the published one and earlier versions."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixmill.datasets.dataset_files import DATASET, HISTORY, MANIFEST
from pixmill.datasets.findings import PUBLISH_AGAIN, Finding, Verified
from pixmill.datasets.loading import open_dataset
from pixmill.errors import UserError
from pixmill.storage.integrity import manifest_at, manifest_problem

_BATCH_ROWS = 2_000


def check_published(
    folder: Path,
    found: Verified,
) -> dict[str, Any]:
    """Check the dataset file against its manifest and return that."""
    path = folder / MANIFEST
    problem: str | None = "is missing or can't be read"
    manifest = manifest_at(path)
    if "sha256" in manifest:
        path = folder / DATASET
        problem = manifest_problem(path, manifest)
    if problem:
        found.add(Finding(found.shown(path), "manifest", problem, PUBLISH_AGAIN))
    return manifest


def check_history(folder: Path, found: Verified) -> None:
    """Check each earlier version: by its manifest, or by its pages where a killed run wrote none."""
    for path in sorted((folder / HISTORY).glob("*.parquet")):
        found.versions += 1
        manifest = manifest_at(path.with_suffix(".json"))
        problem = None
        if "sha256" in manifest:
            problem = manifest_problem(path, manifest)
        else:
            try:
                with open_dataset(path) as version:
                    for _ in version.iter_batches(_BATCH_ROWS):
                        # Reading checks the checksum of each page.
                        pass
            except UserError as error:
                problem = str(error)
        if problem:
            found.add(
                Finding(
                    file=found.shown(path),
                    problem="history",
                    message=problem,
                    remedy="nothing reads it: remove it and its .json",
                )
            )


def check_counts(
    path: Path,
    manifest: Mapping[str, Any],
    statuses: Counter[str],
    found: Verified,
) -> None:
    """Compare what the manifest counts with the rows themselves."""
    if not manifest:
        # Its absence is a finding already.
        return
    counts = manifest.get("counts")
    recorded = dict(counts) if isinstance(counts, dict) else {}
    recorded["rows"] = manifest.get("rows")
    for name, count in {"rows": found.rows, **statuses}.items():
        if recorded.get(name) != count:
            message = f"says {recorded.get(name)} {name}, the dataset has {count:,}"
            found.add(Finding(found.shown(path), "manifest", message, PUBLISH_AGAIN))
