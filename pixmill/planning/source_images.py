"""The first input image of each row, where it is at hand: what output images are compared with."""

from collections.abc import Sequence
from typing import NamedTuple

from pixmill.config.model import Config
from pixmill.ledger import Ledger
from pixmill.planning.jobs import LocalImage
from pixmill.quality.score_columns import hash_in_name


class SourceImage(NamedTuple):
    """The first input image of a row. All is null where none is at hand."""

    sha256: str | None = None

    path: str | None = None
    """The file of a local one."""

    file_name: str | None = None
    """The name of one that the store keeps."""


_NOT_AT_HAND = SourceImage()


def find_source_images(
    config: Config,
    ledger: Ledger,
    files: Sequence[Sequence[LocalImage]],
    sources: Sequence[Sequence[str]],
) -> list[SourceImage]:
    """Return [row] the first input image by the `files` of rows, and by their `sources` [column][row].
    Raises LedgerError."""
    kept: list[str | None] = [None] * len(files)
    if config.input.images == "keep" and sources and sources[0]:
        kept = ledger.kept_inputs(sources[0])
    return source_images(files, kept)


def source_images(
    files: Sequence[Sequence[LocalImage]], kept: Sequence[str | None]
) -> list[SourceImage]:
    """Return [row] the first input image, where `kept` [row] are the names of those in the store."""
    found = []
    for local, name in zip(files, kept, strict=True):
        if local:
            found.append(SourceImage(local[0].sha256, path=local[0].path))
        elif name:
            found.append(SourceImage(hash_in_name(name), file_name=name))
        else:
            found.append(_NOT_AT_HAND)
    return found
