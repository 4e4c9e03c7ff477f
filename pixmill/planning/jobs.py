"""What a job is: one image request with its key, and a batch of them beside the rows that they come from."""

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pixmill.errors import TableError
from pixmill.planning.row_checks import RowProblem
from pixmill.request.canonical_json import json_text
from pixmill.request.fingerprint import RequestShape
from pixmill.request.sweep import Point
from pixmill.tables import RowBatch

Value = TypeVar("Value")


class LocalImage(NamedTuple):
    """An input image that is a file, as it was when the job's key was computed."""

    path: str
    sha256: str

    @property
    def source(self) -> str:
        """Its name among the input images that the ledger knows, beside the URLs of others."""
        return f"sha256:{self.sha256}"

    def content(self) -> bytes:
        """Return the file's bytes. Raises TableError where they are no longer those of the key."""
        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            raise TableError(
                f"{self.path} can't be read any more: {error.strerror}"
            ) from None
        if sha256(data).hexdigest() != self.sha256:
            raise TableError(f"{self.path} changed during the run")
        return data


class Job(NamedTuple):
    """One image request, ready to be sent once its seed and its local images are put in.

    `head` is the canonical JSON that the key hashed, without the seed, as another one takes its place when an output
    that moderation refused is drawn again; `files` are the local input images, sent as base64.
    """

    key: str
    row_number: int
    row_key: str
    point: str
    req_key: str
    head: str
    seed: int
    files: tuple[LocalImage, ...] = ()

    @property
    def label(self) -> str:
        """The job in words: its row's number, its key where the config names one, its point where there are several."""
        return " · ".join(
            part
            for part in (f"row {self.row_number}", self.row_key, self.point)
            if part
        )

    def request(self) -> dict[str, Any]:
        """Return what is sent, without local images, for people to read."""
        return json.loads(f'{self.head},"seed":{self.seed}}}')  # type: ignore[no-any-return]

    def beginning(self) -> bytes:
        """Return the bytes to send up to the seed, local images in.

        Raises TableError where a local image is not what it was.
        """
        images = [base64.b64encode(file.content()).decode() for file in self.files]
        data = (
            f',"binary_data_base64":{json.dumps(images, allow_nan=False)}'
            if images
            else ""
        )
        return f'{self.head}{data},"seed":'.encode()

    def payload(self) -> bytes:
        """Return the bytes to send. Raises TableError where a local image is not what it was."""
        return with_seed(self.beginning(), self.seed)


def with_seed(beginning: bytes, seed: int) -> bytes:
    """Return the body that begins like a job's, with `seed`."""
    return beginning + f"{seed}}}".encode()


class RowImages(NamedTuple):
    """The input images of a batch's rows: what identifies them, and what is sent (a JSON list of URLs, or files).

    `sources` has by column and row the names of images among those that the ledger knows: URLs, or hashes of files.
    """

    identities: list[str]
    urls: list[str]
    files: list[tuple[LocalImage, ...]]
    sources: list[list[str]]


class RequestVariant(NamedTuple):
    """One of the requests that are made of every row: a point of the sweep and a replicate."""

    point: Point
    replicate: int
    label: str
    req_key: str


class JobBatch(NamedTuple):
    """The jobs of a batch of rows, as many slots for each row, row after row.

    `keys`, `all_keys`, `seeds` and `taken` go by position: row × slots + slot. A position has no key where its row is
    invalid or a condition leaves it out; `all_keys` are those of all positions. `taken` marks what becomes a row of the
    dataset: every job, and the first slot of an invalid row. `prompts` and `shapes` are one list a slot, by row;
    `notes` counts rows by what is to be said of them (`row_checks.NOTES`); the rest is by row.
    """

    rows: RowBatch
    slots: tuple[RequestVariant, ...]
    problems: dict[int, RowProblem]
    selected: NDArray[np.bool_]
    taken: NDArray[np.bool_]
    keys: list[str | None]
    all_keys: list[str]
    prompts: list[list[str]]
    seeds: list[int]
    shapes: list[list[RequestShape]]
    images: RowImages
    row_keys: list[str]
    long_prompts: int
    notes: Mapping[str, int]

    def job(self, position: int) -> Job:
        """Return the job at `position`, which must have a key."""
        row, at = divmod(position, len(self.slots))
        key = self.keys[position]
        number = self.rows.first_row + row
        if key is None:
            raise ValueError(f"row {number} has no job at slot {at}")
        files = self.images.files[row]
        urls = None if files else self.images.urls[row]
        head = self.shapes[at][row].head(urls, json_text(self.prompts[at][row]))
        slot = self.slots[at]
        return Job(
            key,
            number,
            self.row_keys[row],
            slot.label,
            slot.req_key,
            head,
            self.seeds[position],
            files,
        )


def by_position(columns: Sequence[list[Value]]) -> list[Value]:
    """Return lists of one value a row, one list a slot, as one list by position."""
    return (
        columns[0]
        if len(columns) == 1
        else [value for row in zip(*columns, strict=True) for value in row]
    )
