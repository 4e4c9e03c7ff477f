"""Where the pictures of jobs are, as the page can reach them: files of the store, local inputs, addresses on the web.

What a table or an answer says about a picture is not trusted: only files that a store makes or that lie with the table
are followed, only http(s) addresses become links, and only what proved to be an image is linked from disk.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pyarrow as pa

from pixmill.datasets.report.columns import DatasetColumns
from pixmill.datasets.report.thumbnails import Thumbnails, version_of
from pixmill.local_paths import named_file
from pixmill.tables import as_text

Columns = dict[str, pa.Array]
Texts = Sequence[str | None]

_STORED = re.compile(r"[a-z]+/[0-9a-f]{2}/[0-9a-f]{64}\.(?:jpg|png|webp)")
_REMOTE = re.compile(r"https?://[^\s]+", re.IGNORECASE)


class ReportPaths(NamedTuple):
    """The folders that a report is about."""

    store: Path
    page: Path
    """The folder of the page."""
    inputs: tuple[Path, ...]
    """Those that local input images are relative to."""

    @property
    def store_link(self) -> str:
        """How the page refers to the store, with a slash at the end."""
        return _link(self.page, self.store) + "/"


class Pictures:
    """Finds the pictures of a batch of jobs and has their thumbnails made."""

    def __init__(
        self, meaning: DatasetColumns, places: ReportPaths, thumbnails: Thumbnails
    ) -> None:
        self._meaning = meaning
        self._places = places
        self._thumbnails = thumbnails

    def outputs(self, ours: Mapping[str, pa.Array]) -> Columns:
        """The files of the output images, whether the first has a thumbnail, and the address of one without a file."""
        files = [_stored(name) for name in ours["file_name"].to_pylist()]
        images = [of or [] for of in ours["images"].to_pylist()]
        urls = [
            None if file else _remote(url)
            for file, url in zip(files, ours["output_url"].to_pylist(), strict=True)
        ]
        more = [
            [_stored(image["file_name"]) for image in of[1:]] or None for of in images
        ]
        return {
            "file": pa.array(files, pa.string()),
            "thumb": pa.array(
                [name is not None for name in self._stored_thumbs(files)], pa.bool_()
            ),
            "width": pa.array(
                [of[0]["width"] if of else None for of in images], pa.int32()
            ),
            "height": pa.array(
                [of[0]["height"] if of else None for of in images], pa.int32()
            ),
            "more": pa.array(more, pa.list_(pa.string())),
            "url": pa.array(urls, pa.string()),
        }

    def inputs(
        self, batch: pa.RecordBatch, ours: Mapping[str, pa.Array]
    ) -> Iterator[Columns]:
        """For each image that goes into a request: the name of its thumbnail, and where the image itself is."""
        nothing: Texts = [None] * batch.num_rows
        kept = (
            [_stored(name) for name in ours["input_image"].to_pylist()]
            if "input_image" in ours
            else nothing
        )
        columns = [
            as_text(batch[name]).to_pylist() for name in self._meaning.images
        ] or [nothing]
        for at, values in enumerate(columns):
            found = (
                self._local(values)
                if self._meaning.local_images
                else (nothing, list(map(_remote, values)))
            )
            thumbs, links = self._kept(kept, *found) if at == 0 else found
            yield {
                "thumb": pa.array(thumbs, pa.string()),
                "link": pa.array(links, pa.string()),
            }

    def _kept(self, kept: Texts, thumbs: Texts, links: Texts) -> tuple[Texts, Texts]:
        """Put what the store keeps of the input images before what the table says about them."""
        ours = self._stored_thumbs(kept)
        stored = [
            f"{self._places.store_link}{name}" if thumb else None
            for name, thumb in zip(kept, ours, strict=True)
        ]
        return _first_known(ours, thumbs), _first_known(stored, links)

    def _local(self, values: Texts) -> tuple[Texts, Texts]:
        files = {
            value: self._local_file(value) for value in dict.fromkeys(values) if value
        }
        images = {
            value: (file, version)
            for value, file in files.items()
            if file and (version := version_of(file))
        }
        wanted = [images.get(value) if value else None for value in values]
        thumbs = self._thumbs(wanted)
        links = [
            _link(self._places.page, of[0]) if of and made else None
            for of, made in zip(wanted, thumbs, strict=True)
        ]
        return thumbs, links

    def _local_file(self, value: str) -> Path | None:
        """Find an input image. One outside the folder of its table is refused, as it is when jobs are made."""
        for folder in self._places.inputs:
            file = named_file(folder, value)
            if file is not None:
                return file
        return None

    def _stored_thumbs(self, names: Texts) -> Texts:
        return self._thumbs(
            [(name, Path(name).stem) if name else None for name in names]
        )

    def _thumbs(self, wanted: Sequence[tuple[Path | str, str] | None]) -> Texts:
        """Make thumbnails and return their names, None where there is no sound image."""
        made = self._thumbnails.make(image for image in wanted if image)
        return [image[1] if image and made[image] else None for image in wanted]


def _stored(name: str | None) -> str | None:
    """A file name of the store as the store makes them; anything else is not followed."""
    return name if name and _STORED.fullmatch(name) else None


def _remote(url: str | None) -> str | None:
    return url if url and _REMOTE.fullmatch(url) else None


def _first_known(first: Iterable[str | None], second: Iterable[str | None]) -> Texts:
    return [one or other for one, other in zip(first, second, strict=True)]


def _link(page: Path, target: Path) -> str:
    return quote(os.fsencode(os.path.relpath(target, page)))
