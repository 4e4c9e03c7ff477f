"""Which files an input path means, of what kind they are, and whether they are still what they were."""

import glob
import mimetypes
import os
import re
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pixmill.config.bucket_address import is_bucket_url
from pixmill.config.field_types import NAME_CHARACTERS
from pixmill.config.model import Input
from pixmill.errors import TableError
from pixmill.request.registry import did_you_mean
from pixmill.tables.columns import empty_error
from pixmill.tables.s3_inputs import bring
from pixmill.tables.text_stream import file_errors, open_bytes
from pixmill.text import to_nfc

_KINDS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
    ".parquet": "parquet",
}
SUPPORTED = "table files end in " + ", ".join(_KINDS)

FRAME_NAME = re.compile(r"frame-[0-9a-f]{16}\.parquet")
"""The name of a file that was written of a table in memory."""

# First bytes that no text table begins with. The byte after PAR1 keeps a CSV column of that name readable.
_CONTENTS = (
    (rb"PAR1[\x00-\x08\x0e-\x1f]", "Parquet"),
    (rb"\x1f\x8b", "gzip"),
    (rb"PK\x03\x04", "a zip archive (an Excel workbook is one)"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (rb"ARROW1\x00\x00", "an Arrow file"),
    (rb"\x28\xb5\x2f\xfd", "Zstandard"),
    (rb"BZh\d1AY", "bzip2"),
    (rb"\xfd7zXZ\x00", "xz"),
    (rb"SQLite format 3\x00", "an SQLite database"),
)


class Stamp(NamedTuple):
    """What changes when a file is edited or replaced."""

    size: int
    mtime_ns: int
    ctime_ns: int
    """Which no program can set back, as some do with the time of the last edit."""

    inode: int


class NamedFiles(NamedTuple):
    """What an input path means."""

    names: dict[Path, str]
    """The files to read, in order, each with what to call it: its path, or its URL in a bucket."""

    skipped: tuple[str, ...]
    """The names of files in the same folder that are not read, as they don't end as tables do."""


def stamp(file: Path) -> Stamp:
    """The present stamp of a file."""
    with file_errors(file):
        stat = file.stat()
    return Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def find_files(path: str) -> tuple[Path, ...]:
    """The files that `path` (a file, a folder or a glob) means, in order; TableError if there are none.

    Objects of a bucket are brought here.
    """
    return tuple(name_files(path).names)


def name_dataset(path: str) -> str:
    """Return what to call the dataset of the table at `path` where nobody says: `my-pets` for `my pets.csv.gz`.

    Of a glob without letters it is the folder's name. Letters beyond ASCII are told by a digest,
    `dataset-aea827` for `产品.csv`: tables that share a name would replace each other's dataset.
    """
    place = Path(path)
    # `pets.csv.gz` has two endings.
    stem = place.name.partition(".")[0]
    if glob.has_magic(stem) and not re.search(r"\w", stem):
        stem = place.parent.name
    # What the name of a config may have, which folders, URLs and Prefect are called after.
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "dataset"
    if not stem.isascii():
        digest = sha256(to_nfc(stem).encode("utf-8", "surrogateescape")).hexdigest()
        name = f"{name[: NAME_CHARACTERS - 7]}-{digest[:6]}"
    return name[:NAME_CHARACTERS]


def find_image_folders(source: Input) -> tuple[Path, ...]:
    """The folders to which image files of rows are relative: of each file of the table, or the one that is set.

    None where images are no local files. Raises TableError where the table is gone.
    """
    if not source.local_images:
        return ()
    if source.image_folder:
        return (Path(source.image_folder).resolve(),)
    return tuple(
        dict.fromkeys(file.parent.resolve() for file in find_files(source.path))
    )


def name_files(path: str) -> NamedFiles:
    """The files that `path` means, in order, each with what to call it; and those of its folder that are no tables."""
    if is_bucket_url(path):
        names, others = bring(path, lambda name: bool(_kind_by_name(Path(name))))
    else:
        names = {file: str(file) for file in _local_files(path)}
        given = Path(path)
        beside = _shown_files(given) if given.is_dir() else []
        others = tuple(file.name for file in beside if not _kind_by_name(file))
    # Images beside a table are what its rows name: nobody takes them for a part of it.
    skipped = tuple(
        name
        for name in others
        if not (mimetypes.guess_type(name)[0] or "").startswith("image/")
    )
    return NamedFiles(names, skipped)


def _local_files(path: str) -> list[Path]:
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path):
        raise TableError(
            f"{path}: only local paths and s3:// are read, not {scheme[1]}:// ones",
            hint="give the path of a file, a folder or a glob; copy remote tables here first",
        )
    given = Path(path)
    if given.is_dir():
        files = [file for file in _shown_files(given) if _kind_by_name(file)]
    elif given.is_file():
        files = [given]
    elif glob.has_magic(path):
        # Path.glob refuses absolute patterns.
        matches = glob.iglob(path, recursive=True)  # noqa: PTH207
        files = sorted(match for match in map(Path, matches) if match.is_file())
    else:
        beside = given.parent.iterdir() if given.parent.is_dir() else ()
        known = [file.name for file in beside if _kind_by_name(file)]
        raise TableError(
            f"{path}: there is no such file{did_you_mean(given.name, known)}",
            hint=f"relative paths start at {Path.cwd()}",
        )
    if not files:
        where = "no table file in this folder" if given.is_dir() else "no file matches"
        raise TableError(
            f"{path}: {where}",
            hint=f"{SUPPORTED}; relative paths start at {Path.cwd()}",
        )
    return files


def is_input_file(path: str, file: Path) -> bool:
    """Whether the input `path` (a file, a folder or a glob) reads `file`, or would if it were there."""
    if is_bucket_url(path):
        return False
    given = Path(path)
    if given.is_dir():
        is_shown = not file.name.startswith((".", "_"))
        is_here = given.resolve() == file.parent
        return is_here and is_shown and bool(_kind_by_name(file))
    if given.exists() or not glob.has_magic(path):
        return given.resolve() == file
    # Of files that are not there yet only the pattern speaks; those that are there may be links.
    matches = glob.iglob(path, recursive=True)  # noqa: PTH207
    if any(Path(match).resolve() == file for match in matches):
        return True
    # Resolved up to its first wildcard, as `file` is.
    parts = given.absolute().parts
    fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    pattern = Path(*parts[:fixed]).resolve().joinpath(*parts[fixed:])
    # Here `*` takes slashes as well, which only `**` may.
    if "**" not in parts and len(pattern.parts) != len(file.parts):
        return False
    return fnmatch(str(file), str(pattern).replace(f"**{os.sep}", "*"))


def common_kind(files: tuple[Path, ...]) -> str:
    """The kind that all files have by name and by content: csv, tsv, jsonl or parquet."""
    kind = _kind(files[0])
    for file in files:
        if _kind(file) != kind:
            raise TableError(
                f"{file}: the files of one input must be of one kind, and {files[0]} is {kind}"
            )
        _check_content(file, kind)
    return kind


def _shown_files(folder: Path) -> list[Path]:
    """The files of a folder, by name."""
    with file_errors(folder):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    # As globs and Spark do: without hidden files, and markers such as _SUCCESS.
    return [
        entry
        for entry in entries
        if not entry.name.startswith((".", "_")) and entry.is_file()
    ]


def _kind_by_name(file: Path) -> str | None:
    name = file.name.lower()
    return next(
        (kind for ending, kind in _KINDS.items() if name.endswith(ending)), None
    )


def _kind(file: Path) -> str:
    if kind := _kind_by_name(file):
        return kind
    hint = SUPPORTED
    if file.suffix.lower() in (".xlsx", ".xls", ".ods", ".numbers"):
        hint = "save the spreadsheet as CSV (UTF-8) and name that file"
    raise TableError(
        f"{file}: its name does not say what kind of table it is", hint=hint
    )


def _check_content(file: Path, kind: str) -> None:
    zipped = file.name.lower().endswith(".gz")
    with file_errors(file), file.open("rb") as raw:
        first = raw.read(32)
    if not first:
        raise empty_error(file)
    # Some downloads are decompressed on their way and keep their name.
    if zipped and _content(first) != "gzip":
        raise TableError(
            f"{file}: its name ends in .gz but its content is not gzip",
            hint="rename it",
        )
    if kind == "parquet":
        if first.startswith(b"PAR1"):
            return
        raise TableError(
            f"{file}: its name ends in .parquet but its content is not Parquet"
        )
    with open_bytes(file) as stream:
        head = stream.peek(32)[:32]
        if not head:
            raise empty_error(file)
        if found := _content(head):
            hint = f"rename or convert it; {SUPPORTED}"
            raise TableError(
                f"{file}: its content is {found}, unlike its name", hint=hint
            )


def _content(head: bytes) -> str:
    return next((name for magic, name in _CONTENTS if re.match(magic, head)), "")
