"""Parquet with the images in it, as Hugging Face `datasets` and its Hub show them: `load_dataset(OUT)`.

    OUT/README.md                       the dataset card
    OUT/data/train-00000.parquet        image, input, then the dataset's scalar columns

An image is a struct of its bytes and the name of its file, which the library calls `Image`: the
schema's metadata says so in its words. Files are cut at some hundred megabytes, as the Hub wants.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.datasets.export.dataset_card import write_card
from pixmill.datasets.export.imagefolder import sample_schema, typed_columns
from pixmill.datasets.export.samples import Exported, ImageData, Samples
from pixmill.storage.atomic_write import atomic_folder

SHARD_BYTES = 400 << 20
"""Of images in one file: the Hub shows files of up to 500 MB at once."""

GROUP_BYTES = 64 << 20
"""Of images in one row group, which is what a reader holds in memory."""

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""An image as `datasets.Image` stores it."""

Cell = dict[str, Any] | None
"""A value of it."""


def write_embedded(samples: Samples, out: Path) -> Exported:
    """Write all `samples` to the new folder `out`.

    Raises UserError where `out` is taken or there are no samples.
    """
    columns = sample_schema(samples, ("image", "input", "split"))
    images = [pa.field("image", IMAGE)]
    if samples.paired:
        images.append(pa.field("input", IMAGE))
    # In the words of `datasets.Features`; of the other columns it sees the types.
    features = {field.name: {"_type": "Image"} for field in images}
    described = json.dumps({"info": {"features": features}}, allow_nan=False)
    schema = pa.schema([*images, *columns], {"huggingface": described})
    with atomic_folder(out) as folder:
        with ExitStack() as files:
            shards: dict[str, _ShardFiles] = {}
            for batch in samples.batches():
                # All rows at once: a row by itself takes Arrow a millisecond.
                typed = pa.RecordBatch.from_arrays(
                    typed_columns(batch.columns, columns), schema=pa.schema(columns)
                )
                for sample in batch.samples:
                    split = sample.split
                    if split not in shards:
                        made = _ShardFiles(folder / "data", split, schema)
                        shards[split] = files.enter_context(made)
                    pictures: list[Cell] = [
                        _cell(sample.image, samples.name_of(sample))
                    ]
                    if samples.paired:
                        source = sample.input
                        pictures.append(_cell(source, None) if source else None)
                    row = typed.slice(sample.at, 1)
                    shards[split].add(pictures, row, len(sample.image.data))
        done = samples.summarize()
        write_card(samples, folder, done, "parquet")
    return done


def _cell(image: ImageData, name: str | None) -> dict[str, Any]:
    """Return an image as a value of `IMAGE`; it is called by its content unless it has a `name`."""
    called = f"{name or image.sha256}{image.suffix}"
    return {"bytes": image.data, "path": called}


class _ShardFiles:
    """The files of one split; the next one begins when one is full."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self._folder = folder
        self._split = split
        self._schema = schema
        self._files = 0
        self._written = 0
        """Bytes of images in the file that is open."""
        self._waiting_bytes = 0
        self._pictures: list[list[Cell]] = []
        self._rows: list[pa.RecordBatch] = []
        """The other columns of each, one row long."""
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_ShardFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._writer:
            self._writer.close()

    def add(
        self,
        pictures: list[Cell],
        row: pa.RecordBatch,
        size: int,
    ) -> None:
        """Append one sample: its images, its other columns and how many bytes it has."""
        self._pictures.append(pictures)
        self._rows.append(row)
        self._waiting_bytes += size
        if self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write what waits as a row group."""
        if not self._pictures:
            return
        if self._writer is None or self._written >= SHARD_BYTES:
            if self._writer:
                self._writer.close()
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{self._split}-{self._files:05d}.parquet"
            # Images do not get smaller, so that their pages are as they are.
            self._writer = pq.ParquetWriter(
                path, self._schema, compression="zstd", write_page_checksum=True
            )
            self._files += 1
            self._written = 0
        arrays = [
            pa.array(column, IMAGE) for column in zip(*self._pictures, strict=True)
        ]
        rows = pa.Table.from_batches(self._rows).combine_chunks()
        arrays += rows.columns
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._written += self._waiting_bytes
        self._waiting_bytes = 0
        self._pictures.clear()
        self._rows.clear()
