"""Reads what was published: where a dataset is, and its file.

A publication may put a new file in place at any moment. Whoever opens the path once reads one
version to its end.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.arrow_timestamps import has_python_years, is_known_zone
from pixmill.config.bucket_address import bucket_address, is_bucket_url
from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.cell_types import infer_types
from pixmill.datasets.dataset_files import DATASET, HISTORY, MANIFEST, PUBLISHED
from pixmill.datasets.publishing import published_folder
from pixmill.datasets.schema import free_name, our_columns
from pixmill.errors import UserError
from pixmill.local_paths import given_path
from pixmill.storage import FolderStore, Store, open_bucket, open_store
from pixmill.storage.integrity import manifest_at
from pixmill.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

MAKE_IT = "run `pixmill run` to create it"


def load_results(
    path: str | Path, dtypes: Literal["inferred", "text"] = "inferred"
) -> "pd.DataFrame":
    """Return the dataset at `path`, one row for each job.

    `path` is a dataset file, its folder, or the config that it belongs to; file and folder
    may be `s3://` URLs.

    Columns are as published (each sweep axis is a `param_…` column), then `path`: the absolute
    path of the image, or its `s3://` URL, missing where there is none; it is `pixmill_path`
    where the input has a `path`. Of a job with several images (`image_count`) it is the first:
    `images` lists the files of all, relative to the store, and exports have a row for each.

    Columns of a CSV table that hold only numbers, or only truth values, are such columns, where each
    cell is written as the number is (`007` is text); `dtypes="text"` leaves them the text that the
    dataset has. Whole numbers stay whole: a column of them with gaps is pandas' nullable integer, as
    a float would round large ones; so are truth values with gaps. A column that holds what pandas
    has no object for (a date of the year 10000, nanoseconds of a day) is text, as in exports.

    Raises UserError where there is no dataset or it is damaged, ConfigError where the config
    can't be used.

        frame = pixmill.load_results("configs/pets.yaml")
        frame[frame.status == "succeeded"].path
    """
    found = find_dataset(path)
    with open_dataset(found.file) as dataset:
        table = dataset.read()
    own = our_columns(table.schema)
    if dtypes == "inferred":
        of_input = table.schema.names[: table.schema.names.index(own["row_number"])]
        if _was_text(found.file, [table.schema.field(name) for name in of_input]):
            table = infer_types(table, of_input)
    paths = pc.binary_join_element_wise(found.prefix, table[own["file_name"]], "")
    table = table.append_column(free_name("path", table.schema), paths)
    columns = [_to_loadable(column) for column in table.columns]
    table = pa.table(columns, table.schema.names)
    frame = table.to_pandas()
    # pandas would make floats of them, in which large ids lose their last digits.
    for field in table.schema:
        is_exact = pa.types.is_integer(field.type) or pa.types.is_boolean(field.type)
        if is_exact and table[field.name].null_count:
            exact = table[field.name].to_pandas(types_mapper=_nullable_type)
            frame[field.name] = exact
    return frame


def _was_text(dataset: Path, of_input: Sequence[pa.Field]) -> bool:
    """Whether the table of a dataset file was CSV, whose cells are all text.

    Its manifest names the table. A folder of tables, and a dataset without a manifest, are known by
    their columns.
    """
    manifest = dataset.with_name(MANIFEST)
    if dataset.name != DATASET:
        manifest = dataset.with_suffix(".json")
    path = str(manifest_at(manifest).get("input", {}).get("path", ""))
    is_typed = re.search(r"\.(parquet|jsonl|ndjson)(\.gz)?$", path, re.IGNORECASE)
    return not is_typed and all(pa.types.is_string(field.type) for field in of_input)


class NoDataset(UserError):
    """Nothing is published at that place."""


class LocatedDataset(NamedTuple):
    """A dataset file of this machine."""

    file: Path

    store: Store
    """What file names in it are relative to."""

    @property
    def prefix(self) -> str:
        """What goes before a file name to make it an absolute path, or a URL of a bucket."""
        images = self.store.display_name(self.store.folder / "images")
        # File names begin with `images/`.
        return images.removesuffix("images")


def find_dataset(
    path: str | Path,
    *,
    history: bool = False,
) -> LocatedDataset:
    """Return the dataset that `path` means.

    It is a file, a dataset folder, either of them in a bucket, or a config. What is in a
    bucket is brought here, with `history` the earlier versions too. Raises UserError where
    there is none.
    """
    if is_bucket_url(path):
        return _find_in_bucket(str(path), history)
    path = given_path(path)
    if path.suffix in (".yaml", ".yml"):
        config = load_config(path)
        if config.bucket:
            file = published_dataset(config, history=history)
            return LocatedDataset(file, open_store(config))
    file = dataset_file(path)
    return LocatedDataset(file, FolderStore(store_of(file)))


def published_dataset(
    config: Config,
    *,
    history: bool = False,
) -> Path:
    """Return the dataset file of a config as it is published now.

    Raises UserError where there is none.
    """
    file = published_folder(config, history=history) / DATASET
    if not file.exists():
        raise NoDataset(
            f"{open_store(config).display_name(file)} does not exist", hint=MAKE_IT
        )
    return file


def _find_in_bucket(url: str, history: bool) -> LocatedDataset:
    """Return the dataset of a URL: of its folder, its file, or an earlier version."""
    try:
        place = bucket_address(url)
    except ValueError as error:
        raise UserError(f"{url} {error}") from None
    parts = Path(DATASET)
    if place.name == DATASET:
        place = place.parent
    elif place.parent.name == HISTORY and place.name.endswith(".parquet"):
        parts = Path(HISTORY, place.name)
        place = place.parent.parent
        history = True
    if not place.prefix:
        raise UserError(
            f"{url} does not name a dataset",
            hint="write s3://bucket/prefix/NAME, with the name of its config",
        )
    store = open_bucket(place.parent)
    store.pull(place.name, PUBLISHED, history=history)
    file = store.folder / place.name / parts
    if not file.exists():
        raise NoDataset(f"{store.display_name(file)} does not exist", hint=MAKE_IT)
    return LocatedDataset(file, store)


def dataset_file(path: str | Path) -> Path:
    """Return the dataset file that a `path` of this machine means.

    It is the file itself, or that of a folder or of a config.
    """
    given = Path(path)
    if given.suffix in (".yaml", ".yml"):
        return load_config(given).dataset_folder / DATASET
    simulated = given.parent / "simulated" / given.name
    if not (given / DATASET).exists() and (simulated / DATASET).exists():
        hint = f"the simulator's dataset of that name is {simulated}"
        raise NoDataset(f"there is no dataset in {given}", hint=hint)
    if given.is_dir() and not (given / DATASET).exists():
        # A store, perhaps: its datasets are the folders in it.
        found = sorted(given.glob(f"*/{DATASET}"))
        known = ", ".join(str(file.parent) for file in found)
        raise UserError(
            f"{given} contains no {DATASET}",
            hint=f"it contains datasets: {known}" if known else MAKE_IT,
        )
    return given / DATASET if given.is_dir() else given


def store_of(dataset: Path) -> Path:
    """Return the absolute store of a dataset file, which file names in it are relative to."""
    real = dataset.resolve()
    # A dataset may itself be called `history`: then its file is named like any other.
    is_earlier_version = real.parent.name == HISTORY and real.name != DATASET
    return real.parents[2] if is_earlier_version else real.parents[1]


@contextmanager
def open_dataset(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a dataset file once; its pages are checked as they are read.

    Raises UserError where it is absent, or damaged, also while it is read.
    """
    try:
        dataset = pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist", hint=MAKE_IT) from None
    except (pa.ArrowException, ValueError) as error:
        # ValueError where a name in the footer is not Unicode any more.
        raise _damage_error(path, error) from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from None
    with dataset:
        try:
            yield dataset
        except pa.ArrowException as error:
            raise _damage_error(path, error) from None
        except OSError as error:
            if is_damage(error):
                raise _damage_error(path, error) from None
            raise


def stream_own_columns(
    dataset: pq.ParquetFile, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Stream some of pixmill's own `columns` of an open dataset, under these names: where the input has
    one of them, the file calls pixmill's otherwise.
    """
    own = our_columns(dataset.schema_arrow)
    names = [own[name] for name in columns]
    for batch in dataset.iter_batches(columns=names):
        # In this order: a file gives its columns in its own.
        yield batch.select(names).rename_columns(columns)


def is_damage(error: OSError) -> bool:
    """Whether Arrow found wrong bytes.

    It has no type of its own for that, but only the system numbers its errors.
    """
    return error.errno is None


def _to_loadable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column whose values pandas can make objects of, and show; else as text."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        if not has_python_years(column):
            return as_text(column)
        if is_known_zone(kind.tz):
            return column
        # The instants are right, but this machine has no such zone to show them in.
        return column.cast(pa.timestamp(kind.unit, "UTC"))
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        try:
            column.to_pandas()
        except (ValueError, OverflowError, pa.ArrowException):
            return as_text(column)
    return column


def _nullable_type(kind: pa.DataType) -> object:
    """Return the pandas type of values that may be missing: `Int64` for `int64`."""
    import pandas as pd

    if kind == pa.bool_():
        return pd.BooleanDtype()
    name = str(kind).replace("uint", "UInt").replace("int", "Int")
    return pd.api.types.pandas_dtype(name)


def _damage_error(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is damaged: {error}", hint="`pixmill run` publishes it again"
    )
