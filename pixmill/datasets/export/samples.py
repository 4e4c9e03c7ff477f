"""Samples for trainers: the images of the selected jobs that are at hand, each with its job's caption, columns and
input image.

Images are read and checked against the hash in their name one at a time, so that memory stays
flat. They are copied, never linked: tools that edit a training set in place must not reach the
store, whose images were paid for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pixmill.config.model import Config
from pixmill.datasets.export.file_names import FileNames
from pixmill.datasets.export.selection import Picked, Selection
from pixmill.datasets.schema import our_columns
from pixmill.errors import UserError
from pixmill.local_paths import named_file
from pixmill.storage import open_store
from pixmill.tables.discovery import find_image_folders
from pixmill.text import in_words

BATCH_ROWS = 2_000

_FILES = ("file_name", "input_image")
"""Our columns that name files in the store: a sample brings the files themselves."""

_READ = (
    "status",
    "error_code",
    "job_key",
    "row_key",
    "point_id",
    "seed",
    "prompt",
    *_FILES,
)
"""Our columns that samples are made of."""

_BYTES = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


class Exported(NamedTuple):
    """What was written."""

    rows: int
    """Rows of a table, or samples."""

    splits: Mapping[str, int]
    """How many of these are in each split."""

    left_out: Mapping[str, int] = {}
    """How many jobs have no sample, by reason."""

    without_input: int = 0
    """Samples of a paired export whose input image is not at hand."""

    disarmed: int = 0
    """Cells of a CSV file that got an apostrophe."""

    columns_left_out: tuple[str, ...] = ()
    """The columns of the input that samples don't have."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "rows": self.rows,
            "splits": dict(self.splits),
            "left_out": dict(self.left_out),
            "without_input": self.without_input,
            "disarmed": self.disarmed,
            "columns_left_out": list(self.columns_left_out),
        }


class ImageData(NamedTuple):
    """An image that was read."""

    data: bytes
    sha256: str

    suffix: str
    """That of its file, `.jpg`."""


class ExportSample(NamedTuple):
    """One image with its job."""

    at: int
    """Its place in the batch, from 0."""

    position: int
    """The place of its job in the dataset, from 0."""

    number: int
    """Which image of its job it is, from 0."""

    split: str
    job_key: str
    row_key: str
    point_id: str | None
    seed: int | None
    caption: str
    image: ImageData
    input: ImageData | None


class SampleBatch(NamedTuple):
    """The selected jobs of one batch."""

    columns: pa.RecordBatch
    """Their scalar columns, also of jobs without a sample."""

    samples: Iterator[ExportSample]
    """The samples among them, read as they are asked for."""


class Samples:
    """The samples of one export; counts what it gives out and what it leaves out."""

    dataset: pq.ParquetFile
    config: Config

    schema: pa.Schema
    """The scalar columns of the dataset."""

    paired: bool
    """Whether samples may have input images."""

    def __init__(
        self,
        dataset: pq.ParquetFile,
        selection: Selection,
        config: Config,
        *,
        has_readable_names: bool = False,
    ) -> None:
        self.dataset = dataset
        self.config = config
        self._selection = selection
        self._names = FileNames() if has_readable_names else None
        self._store = open_store(config)
        self._own = our_columns(dataset.schema_arrow)
        self._local_inputs = _find_input_folder(config, dataset.schema_arrow)
        self._splits: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._without_input = 0
        self.paired = self._local_inputs is not None
        if not self.paired:
            # One row that has an input image decides over the form of the whole export, which has to be
            # known before the first sample is written.
            kept = self._own["input_image"]
            parts = dataset.iter_batches(columns=[kept])
            self.paired = any(
                part.column(kept).null_count < part.num_rows for part in parts
            )
        brought = [self._own[name] for name in _FILES]
        # A caption file holds no lists, structs and raw bytes.
        scalars = [
            column
            for column in dataset.schema_arrow
            if _is_scalar(column.type) and column.name not in brought
        ]
        self.schema = pa.schema(scalars)
        # Our own nested columns are about the images, which samples have.
        expected = {*self.schema.names, *brought, *self._own.values()}
        self._columns_left_out = tuple(
            name for name in dataset.schema_arrow.names if name not in expected
        )

    def batches(self) -> Iterator[SampleBatch]:
        """Yield the selected jobs batch by batch.

        The samples of one have to be taken before the next is asked for.
        """
        for picked in self._selection.batches(self.dataset, BATCH_ROWS):
            columns = picked.rows.select(self.schema.names)
            yield SampleBatch(columns, self.read_samples(picked))

    def name_of(self, sample: ExportSample) -> str | None:
        """Return the name of a sample's image without its ending, None where it is named by its content.

        To be called once for each sample: names that are taken get a number.
        """
        if self._names is None:
            return None
        return self._names.name(
            sample.row_key, sample.point_id, sample.seed, sample.number
        )

    def summarize(self) -> Exported:
        """Return the counts.

        Raises UserError where no job had an image: an empty training set helps nobody.
        """
        if not self._splits:
            reasons = [
                f"{count:,} {in_words(reason)}"
                for reason, count in self._left_out.most_common()
            ]
            why = ", ".join(reasons) or "none was selected"
            raise UserError(f"no job has an image to export: {why}")
        return Exported(
            rows=self._splits.total(),
            splits=dict(self._splits),
            left_out=dict(self._left_out),
            without_input=self._without_input,
            columns_left_out=self._columns_left_out,
        )

    def read_samples(self, picked: Picked) -> Iterator[ExportSample]:
        """Yield the samples among the rows of a batch, and count them."""
        own: dict[str, list[Any]] = {}
        for name in _READ:
            own[name] = picked.rows.column(self._own[name]).to_pylist()
        local: list[str | None] = [None] * picked.rows.num_rows
        if self._local_inputs is not None:
            local = picked.rows.column(self.config.input.image_columns[0]).to_pylist()
        # All of the batch at once: from a bucket many files come at a time.
        self._store.prefetch(chain.from_iterable(own[name] for name in _FILES))
        for at, status in enumerate(own["status"]):
            image = self._read_output(
                status,
                own["error_code"][at],
                own["file_name"][at],
            )
            if isinstance(image, str):
                self._left_out[image] += 1
                continue
            source = self._read_input(own["input_image"][at], local[at])
            split = picked.splits[at]
            self._splits[split] += 1
            if self.paired and source is None:
                self._without_input += 1
            yield ExportSample(
                at=at,
                position=int(picked.positions[at]),
                number=int(picked.numbers[at]),
                split=split,
                job_key=own["job_key"][at],
                row_key=own["row_key"][at] or "",
                point_id=own["point_id"][at],
                seed=own["seed"][at],
                caption=own["prompt"][at] or "",
                image=image,
                input=source,
            )

    def _read_output(
        self,
        status: str,
        error_code: str | None,
        file_name: str | None,
    ) -> ImageData | str:
        """Return the image of a job, or the reason why it has none."""
        if status != "succeeded":
            return status
        if file_name is None:
            return error_code or "not_downloaded"
        image = _read(self._store.file(file_name))
        if image is None:
            return "image_file_missing"
        if image.sha256 != Path(file_name).stem:
            return "image_file_damaged"
        return image

    def _read_input(
        self,
        kept: str | None,
        local: str | None,
    ) -> ImageData | None:
        if kept is not None:
            return _read(self._store.file(kept))
        if self._local_inputs is None or local is None:
            return None
        path = named_file(self._local_inputs, local)
        return None if path is None else _read(path)


def _is_scalar(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_scalar(kind.value_type)
    is_bytes = any(is_one(kind) for is_one in _BYTES)
    return not is_bytes and not pa.types.is_nested(kind)


def _find_input_folder(
    config: Config,
    schema: pa.Schema,
) -> Path | None:
    """Return the folder that names of local input images are relative to, or None."""
    if not config.input.local_images:
        return None
    if config.input.image_columns[0] not in schema.names:
        # Published by an earlier state of the config.
        return None
    folders = find_image_folders(config.input)
    # A dataset does not say which of several files a row came from.
    return folders[0] if len(folders) == 1 else None


def _read(path: Path) -> ImageData | None:
    try:
        data = path.read_bytes()
    # Any other error ends the export: the image may be there, and was paid for.
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return ImageData(data, sha256(data).hexdigest(), path.suffix.lower())
