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
from pixmill.datasets.report.image_links import stored_file
from pixmill.storage import Store
from pixmill.storage.image_decoding import FORMATS
from pixmill.text import counted

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

    distance: int | None
    """None where it was not measured."""

    a: str
    """The file on side A."""

    b: str

    @property
    def is_stored(self) -> bool:
        """Whether both files have names as a store makes them."""
        return all(
            ".." not in Path(file).parts
            and stored_file("/".join(Path(file).parts[-3:]))
            for file in (self.a, self.b)
        )


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

    pairs: tuple[PicturePair, ...]
    """Those that were looked at, with the largest distances first."""

    note: str
    """What limits these figures; empty where nothing does."""

    @property
    def most_different(self) -> tuple[PicturePair, ...]:
        """The few pairs with the largest distances."""
        return tuple(pair for pair in self.pairs[:SHOWN] if pair.distance is not None)


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
    found: list[PicturePair] = []
    notes: list[str] = []
    can_measure = importlib.util.find_spec("imagehash") is not None
    if len(different):
        # Evenly over the whole dataset: the first ones may be of one kind.
        count = min(MAX_PAIRS, len(different))
        places = np.linspace(0, len(different) - 1, count)
        chosen = different[places.astype(np.int64)]
        files_a = _bring_files(stores[0], names_a.take(pa.array(chosen)))
        files_b = _bring_files(stores[1], names_b.take(pa.array(chosen)))
        look = _measure if can_measure else _list_pairs
        found = look(a, pairs.a[chosen].tolist(), files_a, files_b)
        if not can_measure:
            notes.append("distances need pip install 'pixmill[compare]'")
        elif count < len(different):
            notes.append(f"{count:,} of {len(different):,} pairs were measured")
        if count > len(found):
            notes.append(f"{counted(count - len(found), 'pair')} could not be read")
    known = [pair.distance for pair in found if pair.distance is not None]
    distances = np.array(known, np.float64)
    by_distance = sorted(found, key=lambda pair: -(pair.distance or 0))
    return ImageChanges(
        same=same,
        different=len(different),
        compared=len(known),
        distance_median=quantile(distances, 0.5),
        distance_p95=quantile(distances, 0.95),
        distance_max=int(distances.max()) if len(distances) else None,
        pairs=tuple(by_distance),
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
    for pair in _list_pairs(jobs, positions, files_a, files_b):
        hash_a = hashes[Path(pair.a)]
        hash_b = hashes[Path(pair.b)]
        if hash_a is not None and hash_b is not None:
            measured.append(pair._replace(distance=int(hash_a - hash_b)))
    return measured


def _list_pairs(
    jobs: Jobs,
    positions: Sequence[int],
    files_a: Sequence[Path],
    files_b: Sequence[Path],
) -> list[PicturePair]:
    """Return the pairs without looking at their images."""
    return [
        PicturePair(
            row_key=jobs.row_key[at].as_py() or "",
            point_id=jobs.point_id[at].as_py() or "",
            replicate=int(jobs.replicate[at]),
            distance=None,
            a=str(file_a),
            b=str(file_b),
        )
        for at, file_a, file_b in zip(positions, files_a, files_b, strict=True)
    ]


def _hash(file: Path) -> "ImageHash | None":
    """Return the perceptual hash of an image, None where it can't be read."""
    from imagehash import phash

    try:
        with Image.open(file, formats=FORMATS) as image:
            # Only JPEG knows drafts: it is decoded several times faster at an eighth of its size.
            image.draft("RGB", (DRAFT_PIXELS, DRAFT_PIXELS))
            return phash(image)
    # Whatever Pillow finds wrong with it: its pair is told as one that could not be read.
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
