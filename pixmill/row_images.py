"""The input images of a batch of rows: what identifies them and what is sent, and what is wrong with them."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from pixmill.canonical import json_text
from pixmill.config import Config, Input
from pixmill.identity import file_identity, url_list, without_params
from pixmill.images import local_image_problem
from pixmill.jobs import LocalImage, RowImages
from pixmill.ledger.inputs import InputImage
from pixmill.rows import Problem, note, problem, url_problems
from pixmill.table import RowBatch

_NO_FILES = (LocalImage("", ""),)


def row_images(
    config: Config, batch: RowBatch, texts: Mapping[str, pa.Array], problems: dict[int, Problem]
) -> RowImages:
    """Return the input images of `batch` and add what is wrong with them to `problems`."""
    source = config.input
    # Only where pixmill fetches them as well: what the config allows it to reach is then no mistake of the row.
    allowed = frozenset() if source.images == "url" else frozenset(config.output.allow_hosts)
    if source.local_images:
        return _files(source, batch, texts, problems)
    for name in source.image_columns:
        note(problems, url_problems(texts[name], name, allowed))
    columns = [[value or "" for value in texts[name].to_pylist()] for name in source.image_columns]
    sent = [f"[{url}]" for url in map(json_text, columns[0])]
    if len(columns) > 1:
        sent = [url_list(urls) for urls in zip(*columns, strict=True)]
    identities = sent
    if source.ignore_url_params:
        ignored = frozenset(source.ignore_url_params)
        kept = [[without_params(url, ignored) for url in column] for column in columns]
        identities = [url_list(urls) for urls in zip(*kept, strict=True)]
    return RowImages(identities, sent, [()] * len(sent), columns)


def bad_images(
    images: RowImages,
    columns: Sequence[str],
    look_up: Callable[[Sequence[str]], Mapping[str, InputImage]],
) -> dict[int, Problem]:
    """Return by row what is wrong with `images`, those of `columns`, as far as `look_up` knows of bad ones."""
    found: dict[int, Problem] = {}
    for column, sources in zip(columns, images.sources, strict=True):
        bad = {
            source: problem(image.problem, column, image.detail or "")
            for source, image in look_up(sources).items()
            if image.problem
        }
        note(
            found, ((at, bad[source]) for at, source in enumerate(sources) if bad and source in bad)
        )
    return found


def _files(
    source: Input, batch: RowBatch, texts: Mapping[str, pa.Array], problems: dict[int, Problem]
) -> RowImages:
    folder = batch.file.parent.resolve()
    columns = [texts[name].to_pylist() for name in source.image_columns]
    rows: list[tuple[LocalImage, ...]] = []
    for at, names in enumerate(zip(*columns, strict=True)):
        images = []
        for column, name in zip(source.image_columns, names, strict=True):
            path = (folder / (name or "").replace("\0", "")).resolve()
            reason = "missing_image_file" if not name else _file_problem(path, folder)
            if reason:
                problems.setdefault(at, problem(reason, column))
            else:
                images.append(LocalImage(str(path), _file_hash(path)))
        rows.append(tuple(images))
    identities = [file_identity([image.sha256 for image in row]) for row in rows]
    whole = [row if len(row) == len(columns) else _NO_FILES * len(columns) for row in rows]
    sources = [[row[at].source for row in whole] for at in range(len(columns))]
    return RowImages(identities, [""] * len(rows), rows, sources)


def _file_problem(path: Path, folder: Path) -> str | None:
    if not path.is_relative_to(folder):
        return "image_file_outside"
    return local_image_problem(path)


def _file_hash(path: Path) -> str:
    stat = path.stat()
    return _hash_of_version(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(100_000)
def _hash_of_version(path: Path, _modified: int, _size: int) -> str:
    """The hash of a file's content, read once for the several passes over a table."""
    return sha256(path.read_bytes()).hexdigest()
