"""The input images of a batch of rows: what identifies them and what is sent, and what is wrong with them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.config.model import Config, Input
from pixmill.ledger.input_images import InputImage
from pixmill.local_paths import named_path
from pixmill.planning.jobs import LocalImage, RowImages
from pixmill.planning.json_texts import json_texts
from pixmill.planning.row_checks import (
    RowProblem,
    add_problems,
    may_hold,
    positions,
    problem,
    trimmed_urls,
    url_problems,
)
from pixmill.request.fingerprint import file_identity, url_list, without_params
from pixmill.request.operations.operation import USUAL_INPUT_IMAGES, InputImages
from pixmill.storage.image_decoding import local_image_problem, picture_damage
from pixmill.tables import RowBatch

_NO_FILES = (LocalImage("", ""),)
_OF_LIMITS = ("image_file_too_large", "image_file_dimensions", "image_file_ratio")
_DECODERS = 4
"""Threads that decode local images: each may hold a whole picture."""


class ExaminedImages(NamedTuple):
    """The input images of a batch, the problems of rows for which they can't be sent, and masks of rows to note."""

    images: RowImages
    problems: dict[int, RowProblem]
    notes: dict[str, NDArray[np.bool_]]


def row_images(
    config: Config,
    batch: RowBatch,
    texts: Mapping[str, pa.Array],
    limits: tuple[InputImages, ...],
    *,
    check: bool,
) -> ExaminedImages:
    """Return the input images of `batch`, whose columns are `texts`, and what their names say about them.

    `limits` are those of each operation that is asked. Without `check` nothing is said about URLs; files are looked
    at in any case.
    """
    source = config.input
    if source.local_images:
        return _files(source, batch, texts, limits)
    if not source.image_columns:
        rows = batch.rows.num_rows
        none = RowImages(["[]"] * rows, [""] * rows, [()] * rows, [])
        return ExaminedImages(none, {}, {})
    allowed = frozenset[str]()
    if source.images != "url":
        # What the config lets pixmill fetch is not a mistake of the row; the provider alone could not reach it.
        allowed = frozenset(config.output.allow_hosts)
    count = batch.rows.num_rows
    stripped = np.zeros(count, np.bool_)
    escaped = np.zeros(count, np.bool_)
    problems: dict[int, RowProblem] = {}
    trimmed = []
    for name in source.image_columns:
        urls, had_more = trimmed_urls(texts[name])
        if check:
            add_problems(problems, url_problems(urls, name, allowed))
        stripped |= had_more.to_numpy(zero_copy_only=False)
        if may_hold(urls, b"&amp;"):
            escaped[positions(pc.match_substring(urls, "&amp;"))] = True
        trimmed.append(urls)
    columns = [pc.fill_null(urls, "").to_pylist() for urls in trimmed]
    if len(columns) == 1:
        sent = json_texts(trimmed[0], "[", "]")
    else:
        sent = [url_list(urls) for urls in zip(*columns, strict=True)]
    identities = sent
    if source.ignore_url_params:
        ignored = frozenset(source.ignore_url_params)
        kept = [[without_params(url, ignored) for url in column] for column in columns]
        identities = [url_list(urls) for urls in zip(*kept, strict=True)]
    images = RowImages(identities, sent, [()] * len(sent), columns)
    notes = {"stripped_url": stripped, "escaped_url": escaped}
    return ExaminedImages(images, problems, notes)


def bad_images(
    images: RowImages,
    columns: Sequence[str],
    look_up: Callable[[Sequence[str]], Mapping[str, InputImage]],
    limits: Sequence[InputImages] = (USUAL_INPUT_IMAGES,),
) -> dict[int, RowProblem]:
    """Return by row what is wrong with `images`, those of `columns`, as far as `look_up` knows of bad ones.

    `limits` are those of each operation that is asked.
    """
    # URLs are looked at by the limits that nearly all operations have, and the answer is kept for every config:
    # where these operations have another limit, it says nothing of them.
    others = set()
    for of_operation in limits:
        if of_operation.max_bytes != USUAL_INPUT_IMAGES.max_bytes:
            others.add("input_too_large")
        if of_operation.max_side != USUAL_INPUT_IMAGES.max_side:
            others.add("input_dimensions")
        if of_operation.max_ratio != USUAL_INPUT_IMAGES.max_ratio:
            others.add("input_ratio")
    found: dict[int, RowProblem] = {}
    for column, sources in zip(columns, images.sources, strict=True):
        bad = {
            source: problem(image.problem, column, image.detail or "")
            for source, image in look_up(sources).items()
            if image.problem and image.problem not in others
        }
        add_problems(
            found,
            (
                (at, bad[source])
                for at, source in enumerate(sources)
                if bad and source in bad
            ),
        )
    return found


def damaged_files(
    images: RowImages,
    columns: Sequence[str],
    rows: Iterable[int],
) -> dict[int, RowProblem]:
    """Return by row what is wrong with the content of local images, those of `columns`, in `rows` that are valid.

    Decoding takes a hundred times as long as a look at the header, so it is for rows that would be paid for.
    """
    # Each file once, however many rows name it.
    looked_at = [row for row in rows if any(file.path for file in images.files[row])]
    files = {file for row in looked_at for file in images.files[row]}
    with ThreadPoolExecutor(_DECODERS, thread_name_prefix="pixmill-decode") as pool:
        details = dict(zip(files, pool.map(_damage, files), strict=True))
    found: dict[int, RowProblem] = {}
    for row in looked_at:
        for column, file in zip(columns, images.files[row], strict=True):
            if detail := details[file]:
                found.setdefault(row, problem("input_damaged", column, detail))
    return found


def _files(
    source: Input,
    batch: RowBatch,
    texts: Mapping[str, pa.Array],
    limits: tuple[InputImages, ...],
) -> ExaminedImages:
    folder = Path(source.image_folder or batch.file.parent).resolve()
    columns = [texts[name].to_pylist() for name in source.image_columns]
    problems: dict[int, RowProblem] = {}
    rows: list[tuple[LocalImage, ...]] = []
    for at, names in enumerate(zip(*columns, strict=True)):
        images = []
        for column, name in zip(source.image_columns, names, strict=True):
            image = _image(folder, name or "", column, limits)
            if isinstance(image, RowProblem):
                problems.setdefault(at, image)
            else:
                images.append(image)
        rows.append(tuple(images))
    identities = [file_identity([image.sha256 for image in row]) for row in rows]
    whole = [
        row if len(row) == len(columns) else _NO_FILES * len(columns) for row in rows
    ]
    sources = [[row[at].source for row in whole] for at in range(len(columns))]
    found = RowImages(identities, [""] * len(rows), rows, sources)
    return ExaminedImages(found, problems, {})


def _image(
    folder: Path,
    name: str,
    column: str,
    limits: tuple[InputImages, ...],
) -> LocalImage | RowProblem:
    """Return the image that a cell names, or what is wrong with it, whatever the cell holds."""
    if not name.strip():
        return problem("missing_image_file", column)
    try:
        path = named_path(folder, name)
        # Links count as what they lead to: a table must not name files of others.
        if not path.is_relative_to(folder):
            return problem("image_file_outside", column)
        stat = path.stat()
        reason, digest = _version(path, stat.st_mtime_ns, stat.st_size, limits)
    except OSError as error:
        return problem("image_file_missing", column, f"{name}: {error.strerror}")
    except RuntimeError:  # of pathlib
        return problem("image_file_missing", column, "a link that leads back to itself")
    except ValueError:  # of the system's own functions
        return problem(
            "image_file_missing", column, "its name contains a NUL character"
        )
    if not reason:
        return LocalImage(str(path), digest)
    detail = limits[0].describe_limits() if reason in _OF_LIMITS else ""
    return problem(reason, column, detail)


@lru_cache(100_000)
def _version(
    path: Path,
    _modified: int,
    _size: int,
    limits: tuple[InputImages, ...],
) -> tuple[str | None, str]:
    """What is wrong with a file and the hash of its content, read once for the several passes over a table."""
    found = (local_image_problem(path, of_operation) for of_operation in limits)
    reason = next(filter(None, found), None)
    return reason, "" if reason else sha256(path.read_bytes()).hexdigest()


@lru_cache(100_000)
def _damage(file: LocalImage) -> str:
    try:
        return picture_damage(Path(file.path).read_bytes())
    except (
        OSError
    ):  # it went away after it was hashed, which is said when it is to be sent
        return ""
