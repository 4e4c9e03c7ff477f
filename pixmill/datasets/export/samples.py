"""Samples for trainers: the selected jobs whose image is at hand, each with its caption, columns and input image.

Images are read and checked against the hash in their name one at a time, so that memory stays flat. They are copied,
never linked: tools that edit a training set in place must not reach the store, whose images were paid for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.export.selection import Picked, Selection
from pixmill.datasets.loading import own_columns
from pixmill.errors import UserError
from pixmill.local_paths import named_file
from pixmill.storage import open_store
from pixmill.tables.input_table import find_files

BATCH_ROWS = 2_000

_FILES = ("file_name", "input_image")
"""Our columns that name files in the store: a sample brings the files themselves."""

_BYTES = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


class Exported(NamedTuple):
    """What was written: rows or samples, how many in each split, and how many jobs have no sample, by reason.

    `without_input` counts the samples of a paired export whose input image is not at hand, `disarmed` the cells of a
    CSV file that got an apostrophe, `columns_left_out` names the columns that samples don't have.
    """

    rows: int
    splits: Mapping[str, int]
    left_out: Mapping[str, int] = {}
    without_input: int = 0
    disarmed: int = 0
    columns_left_out: tuple[str, ...] = ()


class ImageData(NamedTuple):
    """The bytes of an image, their hash, and the suffix of its file (`.jpg`)."""

    data: bytes
    sha256: str
    suffix: str


class Sample(NamedTuple):
    """One job with its image: `at` is its place in the batch, `position` in the dataset; both count from 0."""

    at: int
    position: int
    split: str
    job_key: str
    caption: str
    image: ImageData
    input: ImageData | None


class SampleBatch(NamedTuple):
    """Scalar columns of the selected jobs of one batch, and the samples among them, read as they are asked for."""

    columns: pa.RecordBatch
    samples: Iterator[Sample]


class Samples:
    """The samples of one export; counts what it gives out and what it leaves out.

    `schema` has the scalar columns of the dataset; `paired` says whether samples may have input images.
    """

    def __init__(
        self, dataset: pq.ParquetFile, selection: Selection, config: Config
    ) -> None:
        self._dataset = dataset
        self._selection = selection
        self._config = config
        self._store = open_store(config)
        self._own = own_columns(dataset.schema_arrow)
        self._local_inputs = _input_folder(config, dataset.schema_arrow)
        self._splits: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._without_input = 0
        self.paired = self._local_inputs is not None or self._has_kept_inputs()
        brought = [self._own[name] for name in _FILES]
        self.schema = _scalar_schema(dataset.schema_arrow, brought)
        self._columns_left_out = tuple(
            name
            for name in dataset.schema_arrow.names
            if name not in {*self.schema.names, *brought, *self._own.values()}
        )

    def batches(self) -> Iterator[SampleBatch]:
        """Yield the selected jobs batch by batch; the samples of one have to be taken before the next is asked for."""
        for picked in self._selection.batches(self._dataset, BATCH_ROWS):
            yield SampleBatch(
                picked.rows.select(self.schema.names), self._samples(picked)
            )

    def exported(self) -> Exported:
        """Return the counts. Raises UserError where no job had an image: an empty training set helps nobody."""
        if not self._splits:
            why = ", ".join(
                f"{count:,} {reason.replace('_', ' ')}"
                for reason, count in self._left_out.most_common()
            )
            raise UserError(
                f"no job has an image to export: {why or 'none was selected'}"
            )
        return Exported(
            self._splits.total(),
            dict(self._splits),
            dict(self._left_out),
            self._without_input,
            columns_left_out=self._columns_left_out,
        )

    def _samples(self, picked: Picked) -> Iterator[Sample]:
        own = {
            name: self._column(picked, name)
            for name in ("status", "error_code", "job_key", "prompt", *_FILES)
        }
        local = self._local_names(picked)
        self._store.prefetch(chain.from_iterable(own[name] for name in _FILES))
        for at, status in enumerate(own["status"]):
            image = self._image(status, own["error_code"][at], own["file_name"][at])
            if isinstance(image, str):
                self._left_out[image] += 1
                continue
            source = self._input(own["input_image"][at], local[at])
            split = picked.splits[at]
            self._splits[split] += 1
            self._without_input += self.paired and source is None
            position = int(picked.positions[at])
            yield Sample(
                at,
                position,
                split,
                own["job_key"][at],
                own["prompt"][at] or "",
                image,
                source,
            )

    def _column(self, picked: Picked, name: str) -> list[Any]:
        return picked.rows.column(self._own[name]).to_pylist()  # type: ignore[no-any-return]

    def _local_names(self, picked: Picked) -> Sequence[str | None]:
        if self._local_inputs is None:
            return [None] * picked.rows.num_rows
        return picked.rows.column(self._config.input.image_columns[0]).to_pylist()  # type: ignore[no-any-return]

    def _image(
        self, status: str, error_code: str | None, file_name: str | None
    ) -> ImageData | str:
        """Return the image of a job, or the reason why it has none."""
        if status != "succeeded":
            return status
        if file_name is None:
            return error_code or "not_downloaded"
        image = _read(self._store.file(file_name))
        if image is None:
            return "image_file_missing"
        return image if image.sha256 == Path(file_name).stem else "image_file_damaged"

    def _input(self, kept: str | None, local: str | None) -> ImageData | None:
        if kept is not None:
            return _read(self._store.file(kept))
        if self._local_inputs is None or local is None:
            return None
        path = named_file(self._local_inputs, local)
        return None if path is None else _read(path)

    def _has_kept_inputs(self) -> bool:
        name = self._own["input_image"]
        parts = self._dataset.iter_batches(columns=[name])
        return any(part.column(name).null_count < part.num_rows for part in parts)


def _scalar_schema(schema: pa.Schema, left_out: Sequence[str]) -> pa.Schema:
    """The columns that a caption file can hold: no lists, structs and raw bytes, and not those in `left_out`."""
    return pa.schema(
        [one for one in schema if _is_scalar(one.type) and one.name not in left_out]
    )


def _is_scalar(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_scalar(kind.value_type)
    is_bytes = any(is_one(kind) for is_one in _BYTES)
    return not is_bytes and not pa.types.is_nested(kind)


def _input_folder(config: Config, schema: pa.Schema) -> Path | None:
    """The folder that names of local input images are relative to; none where the table's files are in several."""
    if (
        not config.input.local_images
        or config.input.image_columns[0] not in schema.names
    ):
        return None
    folders = {file.parent.resolve() for file in find_files(config.input.path)}
    return folders.pop() if len(folders) == 1 else None


def _read(path: Path) -> ImageData | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return ImageData(data, sha256(data).hexdigest(), path.suffix.lower())
