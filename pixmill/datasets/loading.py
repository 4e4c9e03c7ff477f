"""Reading what was published: where a dataset is, its file opened once, and which of its columns are ours.

A publication may put a new file in place at any moment. Whoever opens the path once reads one version to its end.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pixmill.arrow_timestamps import has_python_years, is_known_zone
from pixmill.config.bucket_address import bucket_address, is_bucket_url
from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.datasets.publishing import DATASET, PUBLISHED, published_folder
from pixmill.datasets.schema import OWN_FIELDS
from pixmill.errors import UserError
from pixmill.local_paths import given_path
from pixmill.storage import FolderStore, Store, open_bucket, open_store
from pixmill.tables import as_text

if TYPE_CHECKING:
    import pandas as pd

MAKE_IT = "run `pixmill run` to create it"


def load_results(path: str | Path) -> "pd.DataFrame":
    """Return the dataset at `path`, one row per job: a dataset file, its folder, or the config that it belongs to.

    File and folder may be `s3://` URLs.

    Columns are as published (each sweep axis is a `param_…` column), then `path`: the absolute path of the image, or
    its `s3://` URL, missing where there is none; it is `pixmill_path` where the input has a `path`. Whole numbers stay
    whole: a column of them with gaps is pandas' nullable integer, as a float would round large ones. A column that
    holds what pandas has no object for (a date of the year 10000, nanoseconds of a day) is text, as in exports.
    Raises UserError where there is no dataset or it is damaged, ConfigError where the config can't be used.
    """
    found = find_dataset(path)
    with opened(found.file) as dataset:
        table = dataset.read()
    table = table.append_column(
        free_name("path", table.schema), _image_paths(table, found.store)
    )
    table = pa.table(
        [_loadable(column) for column in table.columns], table.schema.names
    )
    frame = table.to_pandas()
    for name in _gapped_integers(table):
        frame[name] = table[name].to_pandas(types_mapper=_nullable)
    return frame


class NoDataset(UserError):
    """Nothing is published at that place."""


class LocatedDataset(NamedTuple):
    """A dataset file of this machine, and the store that file names in it are relative to."""

    file: Path
    store: Store


def find_dataset(path: str | Path, *, history: bool = False) -> LocatedDataset:
    """Return the dataset that `path` means: a file, a dataset folder, either of them in a bucket, or a config.

    What is in a bucket is brought here, with `history` the earlier versions too. Raises UserError where there is none.
    """
    if is_bucket_url(path):
        return _in_bucket(str(path), history)
    path = given_path(path)
    if path.suffix in (".yaml", ".yml") and (config := load_config(path)).bucket:
        return LocatedDataset(
            published_dataset(config, history=history), open_store(config)
        )
    file = dataset_file(path)
    return LocatedDataset(file, FolderStore(store_of(file)))


def published_dataset(config: Config, *, history: bool = False) -> Path:
    """Return the dataset file of a config as it is published now. Raises UserError where there is none."""
    file = published_folder(config, history=history) / DATASET
    if not file.exists():
        raise NoDataset(
            f"{open_store(config).display_name(file)} does not exist", hint=MAKE_IT
        )
    return file


def _in_bucket(url: str, history: bool) -> LocatedDataset:
    try:
        place = bucket_address(url)
    except ValueError as error:
        raise UserError(f"{url} {error}") from None
    parts = Path(DATASET)
    if place.name == DATASET:
        place = place.parent
    elif place.parent.name == "history" and place.name.endswith(".parquet"):
        parts = Path("history", place.name)
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
    """Return the dataset file that a `path` of this machine means: the file, or that of a folder or of a config."""
    given = Path(path)
    if given.suffix in (".yaml", ".yml"):
        return load_config(given).dataset_folder / DATASET
    if given.is_dir() and not (given / DATASET).exists():
        known = ", ".join(
            str(found.parent) for found in sorted(given.glob(f"*/{DATASET}"))
        )
        raise UserError(
            f"{given} contains no {DATASET}",
            hint=f"it contains datasets: {known}" if known else MAKE_IT,
        )
    return given / DATASET if given.is_dir() else given


def store_of(dataset: Path) -> Path:
    """Return the absolute store of a dataset file, which file names in it are relative to."""
    real = dataset.resolve()
    is_earlier_version = real.parent.name == "history" and real.name != DATASET
    return real.parents[2] if is_earlier_version else real.parents[1]


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a dataset file once; pages are checked as they are read. UserError where it is absent or damaged."""
    try:
        dataset = pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist", hint=MAKE_IT) from None
    except (
        pa.ArrowException,
        ValueError,
    ) as error:  # a name in the footer may be no text any more
        raise _damaged(path, error) from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}") from None
    with dataset:
        try:
            yield dataset
        except pa.ArrowException as error:
            raise _damaged(path, error) from None
        except OSError as error:
            if is_damage(error):
                raise _damaged(path, error) from None
            raise


def is_damage(error: OSError) -> bool:
    """Whether Arrow found wrong bytes: it has no type of its own for that, but only the system numbers its errors."""
    return error.errno is None


def own_columns(schema: pa.Schema) -> Mapping[str, str]:
    """Return the actual name of each of our columns that is there: ours follow the input's, prefixed on a clash."""
    position = {name: at for at, name in enumerate(schema.names)}
    found = {}
    for name, _ in OWN_FIELDS:
        spellings = [name]
        while f"pixmill_{spellings[-1]}" in position:
            spellings.append(f"pixmill_{spellings[-1]}")
        if there := [spelling for spelling in spellings if spelling in position]:
            found[name] = max(there, key=position.__getitem__)
    return found


def free_name(name: str, schema: pa.Schema) -> str:
    """Return `name`, prefixed with `pixmill_` until no column has it."""
    while name in schema.names:
        name = f"pixmill_{name}"
    return name


def _image_paths(table: pa.Table, store: Store) -> pa.ChunkedArray:
    names = table[own_columns(table.schema)["file_name"]]
    return pc.binary_join_element_wise(
        store.display_name(store.folder / "images").removesuffix("images"), names, ""
    )


def _loadable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as it is where pandas can make objects of its values, and show them; else as text."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        zoned = (
            column
            if is_known_zone(kind.tz)
            else column.cast(pa.timestamp(kind.unit, "UTC"))
        )
        return zoned if has_python_years(column) else as_text(column)
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        try:
            column.to_pandas()
        except (ValueError, OverflowError, pa.ArrowException):
            return as_text(column)
    return column


def _gapped_integers(table: pa.Table) -> list[str]:
    return [
        field.name
        for field in table.schema
        if pa.types.is_integer(field.type) and table[field.name].null_count
    ]


def _nullable(kind: pa.DataType) -> object:
    """Return the pandas type of integers that may be missing, of the same width."""
    import pandas as pd

    signed = {8: pd.Int8Dtype, 16: pd.Int16Dtype, 32: pd.Int32Dtype, 64: pd.Int64Dtype}
    unsigned = {
        8: pd.UInt8Dtype,
        16: pd.UInt16Dtype,
        32: pd.UInt32Dtype,
        64: pd.UInt64Dtype,
    }
    return (signed if pa.types.is_signed_integer(kind) else unsigned)[kind.bit_width]()


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is damaged: {error}", hint="`pixmill run` publishes it again"
    )
