"""Whether the image files that rows name are there and whole."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pixmill.datasets.findings import Finding, Verified
from pixmill.storage import Store
from pixmill.storage.integrity import PROBLEMS, NamedImage


class RowImage(NamedTuple):
    """An image file and the first row that names it."""

    file: NamedImage
    row: Mapping[str, Any]
    is_input: bool = False

    @property
    def remedy(self) -> str:
        """How to put it right where it is missing or damaged."""
        if self.is_input:
            return "`pixmill repair` fetches it again where input.images is `keep`"
        if "candidate" in self.row:
            return (
                "`pixmill repair` fetches it while its URL lives, or marks it as lost"
            )
        ends = self.row["url_expires_at"]
        or_lost = "restore the file from a backup, or `pixmill repair` marks it as lost"
        if ends is None:
            return f"it has no URL: {or_lost}"
        until = ends.astimezone().strftime("%Y-%m-%d %H:%M")
        if ends <= datetime.now(UTC):
            return f"its URL expired at {until}: {or_lost}"
        return f"`pixmill repair` fetches it while its URL lives, until {until}"

    def report(self, problem: str, store: Store) -> Finding:
        """Return the finding about what is wrong with it in `store`."""
        name = self.file.name
        number = self.row["row_number"]
        # A foreign name may be any text, control characters included.
        is_foreign = problem == "foreign_name"
        shown = repr(name) if is_foreign else store.display_name(store.folder / name)
        of_row = f"row {number}"
        if "candidate" in self.row:
            of_row += f", candidate {self.row['candidate']}"
        return Finding(
            file=shown,
            problem=problem,
            message=f"{of_row}: {PROBLEMS[problem]}",
            remedy=self.remedy,
            row_number=number,
        )


class ImageCheck:
    """Reads image files, each once, however many rows name it."""

    def __init__(
        self, store: Store, found: Verified, on_progress: Callable[[Verified], None]
    ) -> None:
        self._store = store
        self._found = found
        self._on_progress = on_progress
        self._seen = set[int]()
        """Hashes of names, which need less memory than the names."""

    def check(self, images: Iterable[RowImage], pool: ThreadPoolExecutor) -> None:
        """Record what is wrong with the files of `images`."""
        new = []
        for image in images:
            name = hash(image.file.name)
            if name not in self._seen:
                self._seen.add(name)
                new.append(image)
        problems = pool.map(self._store.problem, [image.file for image in new])
        for image, problem in zip(new, problems, strict=True):
            self._found.images += 1
            if problem:
                self._found.add(image.report(problem, self._store))
            self._on_progress(self._found)


def images_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[RowImage]:
    """Yield the image files that rows of the dataset name."""
    for row in rows:
        for output in row["images"] or ():
            yield RowImage(NamedImage(output["file_name"], output["bytes"]), row)
        if row["input_image"]:
            yield RowImage(NamedImage(row["input_image"], None), row, is_input=True)
