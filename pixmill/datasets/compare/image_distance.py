"""How far the images of paired jobs are from each other, by perceptual hash.

The library `imagehash` comes with `pixmill[compare]`. Its `phash` puts what an image looks like into 64 bits; the
distance is the number of bits that differ: near 0 for the same picture, around 32 for two that have nothing in common.
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
    b: str


class ImageChanges(NamedTuple):
    """Paired jobs with an image on both sides: how many images are the same file, how many are not.

    `compared` of those were measured (evenly chosen where there are more than 500, less the unreadable ones);
    distances are `None` where none was. `most_different` are the farthest apart, and `note` says what limits this.
    """

    same: int
    different: int
    compared: int
    distance_median: float | None
    distance_p95: float | None
    distance_max: int | None
    most_different: tuple[PicturePair, ...]
    note: str


def image_changes(
    a: Jobs, b: Jobs, pairs: Pairs, stores: tuple[Store, Store]
) -> ImageChanges:
    """Compare the images of paired jobs. Their names say their content, so that only different ones are opened."""
    names_a = a.file_name.take(pa.array(pairs.a))
    names_b = b.file_name.take(pa.array(pairs.b))
    same = pc.sum(pc.equal(names_a, names_b)).as_py() or 0
    differ = np.flatnonzero(
        pc.fill_null(pc.not_equal(names_a, names_b), False).to_numpy()
    )
    if not len(differ) or importlib.util.find_spec("imagehash") is None:
        note = "distances need pip install 'pixmill[compare]'" if len(differ) else ""
        return ImageChanges(same, len(differ), 0, None, None, None, (), note)
    chosen = differ[
        np.linspace(0, len(differ) - 1, min(MAX_PAIRS, len(differ))).astype(np.int64)
    ]
    taken = pa.array(chosen)
    files_a = _files(stores[0], names_a.take(taken))
    files_b = _files(stores[1], names_b.take(taken))
    jobs = zip(
        pairs.a[chosen].tolist(),
        files_a,
        files_b,
        _distances(files_a, files_b),
        strict=True,
    )
    measured = [
        PicturePair(*_job(a, at), distance, str(file_a), str(file_b))
        for at, file_a, file_b, distance in jobs
        if distance is not None
    ]
    return _summary(same, len(differ), len(chosen), measured)


def _files(store: Store, names: pa.Array) -> list[Path]:
    store.prefetch(names.to_pylist())
    return [store.folder / name for name in names.to_pylist()]


def _summary(
    same: int, different: int, chosen: int, measured: Sequence[PicturePair]
) -> ImageChanges:
    distances = np.array([pair.distance for pair in measured], np.float64)
    notes = [f"{chosen:,} of {different:,} pairs were measured"] * (chosen < different)
    if chosen > len(measured):
        notes.append(f"{chosen - len(measured):,} pairs could not be read")
    return ImageChanges(
        same,
        different,
        compared=len(measured),
        distance_median=quantile(distances, 0.5),
        distance_p95=quantile(distances, 0.95),
        distance_max=int(distances.max()) if len(distances) else None,
        most_different=tuple(sorted(measured, key=lambda pair: -pair.distance)[:SHOWN]),
        note="; ".join(notes),
    )


def _job(jobs: Jobs, at: int) -> tuple[str, str, int]:
    return (
        jobs.row_key[at].as_py() or "",
        jobs.point_id[at].as_py() or "",
        int(jobs.replicate[at]),
    )


def _distances(files_a: Sequence[Path], files_b: Sequence[Path]) -> list[int | None]:
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter
        files = list({*files_a, *files_b})
        hashes = dict(zip(files, threads.map(_hash, files), strict=True))
    pairs = [
        (hashes[file_a], hashes[file_b])
        for file_a, file_b in zip(files_a, files_b, strict=True)
    ]
    return [
        None if one is None or other is None else int(one - other)
        for one, other in pairs
    ]


def _hash(file: Path) -> "ImageHash | None":
    """Return the perceptual hash of an image, `None` where it can't be read."""
    from imagehash import phash

    try:
        with Image.open(file) as image:
            image.draft("RGB", (DRAFT_PIXELS, DRAFT_PIXELS))
            return phash(image)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
