"""An image folder as Hugging Face `datasets` reads it: `load_dataset("imagefolder", data_dir=OUT)`.

    OUT/train/metadata.parquet      file_name, input_file_name, then the dataset's scalar columns;
                                    dates, times and unsigned numbers of 64 bits as text
    OUT/train/images/ab/<sha256>.jpg
    OUT/train/inputs/cd/<sha256>.jpg

The library (datasets 3.4 and later) turns `file_name` into the column `image` and `input_file_name` into `input`; it
takes every text column that ends in `_file_name` for more images. Files are named by content, so equal images are
one file, and no folder outgrows the 10,000 entries that the Hub allows.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.datasets.export.samples import Exported, ImageData, Sample, Samples
from pixmill.storage.atomic_write import atomic_folder
from pixmill.tables import as_text

METADATA = "metadata.parquet"
_MADE_BY_THE_LIBRARY = ("image", "input")


class ImageFolderEntry(NamedTuple):
    """Where the files of a sample are, relative to the folder of its split; `at` is its place in the batch."""

    at: int
    image: str
    input: str | None


def write_imagefolder(samples: Samples, out: Path) -> Exported:
    """Write all `samples` to the new folder `out`. Raises UserError where `out` is taken or there are no samples."""
    with atomic_folder(out) as folder, ExitStack() as files:
        writers: dict[str, pq.ParquetWriter] = {}
        schema = _schema(samples)
        for batch in samples.batches():
            for split, placed in _place(batch.samples, folder).items():
                if split not in writers:
                    writer = pq.ParquetWriter(
                        folder / split / METADATA, schema, compression="zstd"
                    )
                    writers[split] = files.enter_context(writer)
                writers[split].write_table(_metadata(batch.columns, placed, schema))
        return samples.exported()


def _place(
    samples: Iterator[Sample], folder: Path
) -> dict[str, list[ImageFolderEntry]]:
    placed: dict[str, list[ImageFolderEntry]] = defaultdict(list)
    for sample in samples:
        split = folder / sample.split
        source = _put(split, "inputs", sample.input) if sample.input else None
        placed[sample.split].append(
            ImageFolderEntry(sample.at, _put(split, "images", sample.image), source)
        )
    return placed


def _put(folder: Path, kind: str, image: ImageData) -> str:
    name = f"{kind}/{image.sha256[:2]}/{image.sha256}{image.suffix}"
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
    return name


def _schema(samples: Samples) -> pa.Schema:
    """`file_name` comes first: the library gives it to the first image column that it meets."""
    names = ["file_name", "input_file_name"] if samples.paired else ["file_name"]
    own = [
        pa.field(_plain_name(one.name), _metadata_type(one.type))
        for one in samples.schema
    ]
    return pa.schema([*(pa.field(name, pa.string()) for name in names), *own])


def _metadata_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column in the metadata. The library makes Python's values of it, and of those Arrow's again.

    It would stop at the first date, time or number that does not fit there: these are text.
    """
    return (
        pa.string() if pa.types.is_temporal(kind) or pa.types.is_uint64(kind) else kind
    )


def _plain_name(name: str) -> str:
    """The name of a column in the metadata, so that the library neither takes it for a file nor overwrites it."""
    is_special = name in _MADE_BY_THE_LIBRARY or f"_{name}".endswith(
        ("_file_name", "_file_names")
    )
    return f"{name}_text" if is_special else name


def _metadata(
    columns: pa.RecordBatch, placed: list[ImageFolderEntry], schema: pa.Schema
) -> pa.Table:
    rows = columns.take(pa.array([one.at for one in placed]))
    files: list[list[str | None]] = [[one.image for one in placed]]
    if "input_file_name" in schema.names:
        files.append([one.input for one in placed])
    kinds = schema.types[len(files) :]
    own = [
        column if column.type == kind else as_text(column)
        for column, kind in zip(rows.columns, kinds, strict=True)
    ]
    return pa.Table.from_arrays(
        [*(pa.array(names, pa.string()) for names in files), *own], schema=schema
    )
