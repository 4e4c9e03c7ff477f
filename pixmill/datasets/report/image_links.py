"""Where the images of jobs are, as the page can reach them.

They are files of the store, local inputs, and addresses on the web. What a table or an answer
says about an image is not trusted: only files that a store makes or that are with the table are
followed, only http(s) addresses become links, and only what proved to be an image is linked from
disk.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

import pyarrow as pa

from pixmill.datasets.report.columns import DatasetColumns
from pixmill.datasets.report.thumbnails import Thumbnails, version_of
from pixmill.local_paths import named_file
from pixmill.tables import as_text

Columns = dict[str, pa.Array]
Texts = Sequence[str | None]

STORED = re.compile(r"[a-z]+/[0-9a-f]{2}/[0-9a-f]{64}\.(?:jpg|png|webp)")
"""The names that a store gives its images."""

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

    def input_link(self, file: Path, _version: str) -> str:
        """How the page refers to a local input image."""
        return _link(self.page, file)


class PicturePlaces(Protocol):
    """How a page refers to images: a file by paths, a server by addresses."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The folders that local input images are relative to."""

    @property
    def store_link(self) -> str:
        """What the file names of the store's images are appended to."""

    def input_link(self, file: Path, _version: str) -> str:
        """Return the link to a local input image; `_version` names its present content."""


class Pictures:
    """Finds the pictures of a batch of jobs and has their thumbnails made."""

    def __init__(
        self,
        columns: DatasetColumns,
        places: PicturePlaces,
        thumbnails: Thumbnails,
    ) -> None:
        self._columns = columns
        self._places = places
        self._thumbnails = thumbnails

    def outputs(self, ours: Mapping[str, pa.Array]) -> Columns:
        """Return what the page shows of the output images, by name, one value for each job.

        The file of the first, whether it has a thumbnail, its size, the same of the others, and
        the addresses where there are no files.
        """
        files = [stored_file(name) for name in ours["file_name"].to_pylist()]
        thumbs = [name is not None for name in self.stored_thumbs(files)]
        urls: list[str | None] = []
        more_urls: list[list[str | None] | None] = []
        addresses = ours["output_urls"].to_pylist()
        for file, url, all_of_job in zip(
            files, ours["output_url"].to_pylist(), addresses, strict=True
        ):
            urls.append(None if file else _remote_address(url))
            further = [] if file else [*map(_remote_address, (all_of_job or ())[1:])]
            more_urls.append(further or None)
        widths: list[int | None] = []
        heights: list[int | None] = []
        more: list[list[str | None] | None] = []
        for images in ours["images"].to_pylist():
            first, *behind = images or [None]
            widths.append(first["width"] if first else None)
            heights.append(first["height"] if first else None)
            names = [stored_file(image["file_name"]) for image in behind]
            more.append(names or None)
        every = [name for others in more for name in others or ()]
        having = {digest for digest in self.stored_thumbs(every) if digest is not None}
        more_thumbs: list[list[bool] | None] = []
        for others in more:
            found = [
                bool(name) and Path(str(name)).stem in having for name in others or ()
            ]
            more_thumbs.append(found or None)
        return {
            "file": pa.array(files, pa.string()),
            "thumb": pa.array(thumbs, pa.bool_()),
            "width": pa.array(widths, pa.int32()),
            "height": pa.array(heights, pa.int32()),
            "more": pa.array(more, pa.list_(pa.string())),
            "more_thumbs": pa.array(more_thumbs, pa.list_(pa.bool_())),
            "more_urls": pa.array(more_urls, pa.list_(pa.string())),
            "url": pa.array(urls, pa.string()),
        }

    def inputs(
        self,
        batch: pa.RecordBatch,
        ours: Mapping[str, pa.Array],
    ) -> Iterator[Columns]:
        """Yield for each image that goes into a request its thumbnail and where it is itself."""
        nothing: Texts = [None] * batch.num_rows
        kept = nothing
        if "input_image" in ours:
            kept = [stored_file(name) for name in ours["input_image"].to_pylist()]
        columns = [as_text(batch[name]).to_pylist() for name in self._columns.images]
        for at, values in enumerate(columns or [nothing]):
            if self._columns.local_images:
                thumbs, links = self._find_local(values)
            else:
                thumbs = nothing
                links = list(map(_remote_address, values))
            if at == 0:
                # What the store keeps of the first goes before what the table says about it.
                own_thumbs = self.stored_thumbs(kept)
                own_links: list[str | None] = []
                for name, thumb in zip(kept, own_thumbs, strict=True):
                    own_links.append(
                        f"{self._places.store_link}{name}" if thumb else None
                    )
                thumbs = _first_known(own_thumbs, thumbs)
                links = _first_known(own_links, links)
            yield {
                "thumb": pa.array(thumbs, pa.string()),
                "link": pa.array(links, pa.string()),
            }

    def _find_local(self, values: Texts) -> tuple[Texts, Texts]:
        """Return thumbnail and link of each image file that a table names."""
        images: dict[str, tuple[Path, str]] = {}
        for value in dict.fromkeys(values):
            # One outside the folder of its table is refused, as it is when jobs are made.
            found = (
                named_file(folder, value) for folder in self._places.inputs if value
            )
            file = next((file for file in found if file is not None), None)
            version = version_of(file) if file else None
            if value and file and version:
                images[value] = (file, version)
        wanted = [images.get(value) if value else None for value in values]
        thumbs = self._make_thumbs(wanted)
        links: list[str | None] = []
        for image, thumb in zip(wanted, thumbs, strict=True):
            # One without a thumbnail is damaged, or not an image at all.
            if image is None or thumb is None:
                links.append(None)
            else:
                links.append(self._places.input_link(*image))
        return thumbs, links

    def stored_thumbs(self, names: Texts) -> Texts:
        """Return the thumbnail of each image of the store, None where it has no sound one."""
        # Files of the store are named by their content, and so are their thumbnails.
        images = [(name, Path(name).stem) if name else None for name in names]
        return self._make_thumbs(images)

    def _make_thumbs(self, wanted: Sequence[tuple[Path | str, str] | None]) -> Texts:
        """Make thumbnails and return their names, None where there is no sound image."""
        made = self._thumbnails.make(image for image in wanted if image)
        return [image[1] if image and made[image] else None for image in wanted]


def stored_file(name: str | None) -> str | None:
    """Return a file name that a store can have made; anything else is not followed."""
    return name if name and STORED.fullmatch(name) else None


def _remote_address(url: str | None) -> str | None:
    return url if url and _REMOTE.fullmatch(url) else None


def _first_known(
    first: Iterable[str | None],
    second: Iterable[str | None],
) -> Texts:
    return [one or other for one, other in zip(first, second, strict=True)]


def _link(page: Path, target: Path) -> str:
    return quote(os.fsencode(os.path.relpath(target, page)))
