"""An image folder as Hugging Face `datasets` reads it: `load_dataset("imagefolder", data_dir=OUT)`.

    OUT/README.md                   the dataset card
    OUT/train/metadata.parquet      file_name, input_file_name, input_path, then the dataset's scalar
                                    columns; dates, times and unsigned numbers of 64 bits as text
    OUT/train/images/ab/<sha256>.jpg
    OUT/train/inputs/cd/<sha256>.jpg

The library (datasets 3.4 and later) turns `file_name` into the column `image` and
`input_file_name` into `input`; it takes every text column that ends in `_file_name` for more
images, which then have no name any more: `input_path` is the same as text. Files are named by
content, so equal images are one file, or by row key, point and seed; no folder outgrows the 10,000
entries that the Hub allows.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.datasets.export.dataset_card import write_card
from pixmill.datasets.export.samples import Exported, ImageData, Samples
from pixmill.storage.atomic_write import atomic_folder
from pixmill.tables import as_text

METADATA = "metadata.parquet"

FOLDER_IMAGES = 5_000
"""Images with readable names in one folder."""

# Columns that it makes of the files.
_MADE_BY_THE_LIBRARY = ("image", "input", "input_path")


class ImageFolderEntry(NamedTuple):
    """Where the files of a sample are."""

    at: int
    """Its place in the batch."""

    image: str
    """Relative to the folder of its split."""

    input: str | None


def write_imagefolder(samples: Samples, out: Path) -> Exported:
    """Write all `samples` to the new folder `out`.

    Raises UserError where `out` is taken or there are no samples.
    """
    with atomic_folder(out) as folder, ExitStack() as files:
        writers: dict[str, pq.ParquetWriter] = {}
        # First: the library gives it to the first image column that it meets.
        fields = [pa.field("file_name", pa.string())]
        if samples.paired:
            fields.append(pa.field("input_file_name", pa.string()))
            fields.append(pa.field("input_path", pa.string()))
        schema = pa.schema([*fields, *sample_schema(samples, _MADE_BY_THE_LIBRARY)])
        written = 0
        for batch in samples.batches():
            entries: dict[str, list[ImageFolderEntry]] = defaultdict(list)
            for sample in batch.samples:
                place = folder / sample.split
                image = _write_image(
                    place, "images", sample.image, samples.name_of(sample), written
                )
                written += 1
                source = None
                if sample.input:
                    source = _write_image(place, "inputs", sample.input)
                entry = ImageFolderEntry(sample.at, image, source)
                entries[sample.split].append(entry)
            for split, placed in entries.items():
                if split not in writers:
                    # Not before: a split without samples has no folder.
                    path = folder / split / METADATA
                    writer = pq.ParquetWriter(path, schema, compression="zstd")
                    writers[split] = files.enter_context(writer)
                rows = batch.columns.take(pa.array([entry.at for entry in placed]))
                arrays = [pa.array([entry.image for entry in placed], pa.string())]
                if samples.paired:
                    inputs = pa.array([entry.input for entry in placed], pa.string())
                    arrays += [inputs, inputs]
                arrays += typed_columns(rows, [*schema][len(arrays) :])
                writers[split].write_table(pa.Table.from_arrays(arrays, schema=schema))
        done = samples.summarize()
        write_card(samples, folder, done, "imagefolder")
    return done


def _write_image(
    folder: Path,
    kind: str,
    image: ImageData,
    name: str | None = None,
    written: int = 0,
) -> str:
    """Write an image and return its relative path.

    It is named by its content, or by the `name` that it was given, in a folder of its own for each
    `FOLDER_IMAGES` that were `written` before.
    """
    if name is None:
        name = f"{kind}/{image.sha256[:2]}/{image.sha256}{image.suffix}"
    else:
        name = f"{kind}/{written // FOLDER_IMAGES:03d}/{name}{image.suffix}"
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.data)
    return name


def sample_schema(samples: Samples, taken: Sequence[str]) -> list[pa.Field]:
    """Return the scalar columns of samples as the library reads them.

    Those whose names are `taken`, or that it would take for images, get `_text` appended.
    """
    fields = []
    for column in samples.schema:
        name = column.name
        kind = column.type
        looks_like_a_file = f"_{name}".endswith(("_file_name", "_file_names"))
        if looks_like_a_file or name in taken:
            name = f"{name}_text"
        # The library makes Python's values of all columns, and of those Arrow's again, and
        # would stop at the first date, time or number that does not fit there.
        if pa.types.is_temporal(kind) or pa.types.is_uint64(kind):
            kind = pa.string()
        fields.append(pa.field(name, kind))
    return fields


def typed_columns(rows: pa.RecordBatch, fields: Sequence[pa.Field]) -> list[pa.Array]:
    """Return the columns of samples with the types of `fields`, those of `sample_schema`."""
    pairs = zip(rows.columns, fields, strict=True)
    return [
        column if column.type == field.type else as_text(column)
        for column, field in pairs
    ]
