"""How far the images of paired jobs are from each other, by perceptual hash.

The library `imagehash` comes with `pixmill[compare]`. Its `phash` puts what an image looks like
into 64 bits; the distance is the number of bits that differ: near 0 for the same picture, around
32 for two that have nothing in common.
"""

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pixmill.datasets.compare.columns import Jobs
from pixmill.datasets.compare.matching import Pairs
from pixmill.datasets.compare.measures import quantile
from pixmill.storage import Store

if TYPE_CHECKING:
    from imagehash import ImageHash

MAX_PAIRS = 500
"""Pairs that are measured: decoding so many takes some seconds, and the median is sure enough."""

SHOWN = 5

DRAFT_PIXELS = 256
"""JPEGs are decoded at no less than this: the hash shrinks them to 32 pixels anyway."""


class PicturePair(NamedTuple):
    """Two images of one job and the distance between them, of 64."""

    row_key: str
    point_id: str
    replicate: int
    distance: int

    a: str
    """The file on side A."""

    b: str


class ImageChanges(NamedTuple):
    """How the images of jobs differ that have one on both sides."""

    same: int
    """How many are the same file."""

    different: int

    compared: int
    """How many of the different ones were measured."""

    distance_median: float | None
    """None where none was measured; so are the next two."""

    distance_p95: float | None
    distance_max: int | None

    most_different: tuple[PicturePair, ...]
    """The pairs with the largest distances."""

    note: str
    """What limits these figures; empty where nothing does."""


def image_changes(
    a: Jobs,
    b: Jobs,
    pairs: Pairs,
    stores: tuple[Store, Store],
) -> ImageChanges:
    """Compare the images of paired jobs.

    Files are named by their content, so that only different ones are opened.
    """
    names_a = a.file_name.take(pa.array(pairs.a))
    names_b = b.file_name.take(pa.array(pairs.b))
    same = pc.sum(pc.equal(names_a, names_b)).as_py() or 0
    is_different = pc.fill_null(pc.not_equal(names_a, names_b), False)
    different = np.flatnonzero(is_different.to_numpy())
    measured: list[PicturePair] = []
    notes: list[str] = []
    if len(different) and importlib.util.find_spec("imagehash") is None:
        notes.append("distances need pip install 'pixmill[compare]'")
    elif len(different):
        # Evenly over the whole dataset: the first ones may be of one kind.
        count = min(MAX_PAIRS, len(different))
        places = np.linspace(0, len(different) - 1, count)
        chosen = different[places.astype(np.int64)]
        files_a = _bring_files(stores[0], names_a.take(pa.array(chosen)))
        files_b = _bring_files(stores[1], names_b.take(pa.array(chosen)))
        measured = _measure(a, pairs.a[chosen].tolist(), files_a, files_b)
        if count < len(different):
            notes.append(f"{count:,} of {len(different):,} pairs were measured")
        if count > len(measured):
            notes.append(f"{count - len(measured):,} pairs could not be read")
    distances = np.array([pair.distance for pair in measured], np.float64)
    by_distance = sorted(measured, key=lambda pair: -pair.distance)
    return ImageChanges(
        same=same,
        different=len(different),
        compared=len(measured),
        distance_median=quantile(distances, 0.5),
        distance_p95=quantile(distances, 0.95),
        distance_max=int(distances.max()) if len(distances) else None,
        most_different=tuple(by_distance[:SHOWN]),
        note="; ".join(notes),
    )


def _bring_files(
    store: Store,
    names: pa.Array,
) -> list[Path]:
    """Return image files of a store, which are brought here first where it is a bucket."""
    store.prefetch(names.to_pylist())
    return [store.folder / name for name in names.to_pylist()]


def _measure(
    jobs: Jobs,
    positions: Sequence[int],
    files_a: Sequence[Path],
    files_b: Sequence[Path],
) -> list[PicturePair]:
    """Return the pairs of which both images can be read; `positions` are those of their jobs."""
    files = list({*files_a, *files_b})
    # Threads, as decoding releases the interpreter.
    with ThreadPoolExecutor() as threads:
        hashes = dict(zip(files, threads.map(_hash, files), strict=True))
    measured = []
    for at, file_a, file_b in zip(positions, files_a, files_b, strict=True):
        hash_a = hashes[file_a]
        hash_b = hashes[file_b]
        if hash_a is None or hash_b is None:
            continue
        measured.append(
            PicturePair(
                row_key=jobs.row_key[at].as_py() or "",
                point_id=jobs.point_id[at].as_py() or "",
                replicate=int(jobs.replicate[at]),
                distance=int(hash_a - hash_b),
                a=str(file_a),
                b=str(file_b),
            )
        )
    return measured


def _hash(file: Path) -> "ImageHash | None":
    """Return the perceptual hash of an image, None where it can't be read."""
    from imagehash import phash

    try:
        with Image.open(file) as image:
            # Only JPEG knows drafts: it is decoded several times faster at an eighth of its size.
            image.draft("RGB", (DRAFT_PIXELS, DRAFT_PIXELS))
            return phash(image)
    # Whatever Pillow finds wrong with it: its pair is told as one that could not be read.
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
