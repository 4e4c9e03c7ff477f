"""What a job is: one image request with its key, and a batch of them beside the rows that they come from."""

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pixmill.canonical import json_text
from pixmill.errors import TableError
from pixmill.identity import RequestShape
from pixmill.rows import Problem
from pixmill.table import RowBatch

BASE_POINT = "base"


class LocalImage(NamedTuple):
    """An input image that is a file, as it was when the job's key was computed."""

    path: str
    sha256: str

    def content(self) -> bytes:
        """Return the file's bytes. Raises TableError where they are no longer those of the key."""
        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            raise TableError(f"{self.path} can't be read any more: {error.strerror}") from None
        if sha256(data).hexdigest() != self.sha256:
            raise TableError(f"{self.path} changed while the run was going on")
        return data


class Job(NamedTuple):
    """One image request, ready to be sent once its local images are put in.

    `body` is the canonical JSON that the key hashed; `files` are the local input images, sent as base64.
    """

    key: str
    row_number: int
    row_key: str
    body: str
    files: tuple[LocalImage, ...] = ()

    @property
    def label(self) -> str:
        """The row in words: its number, and its key where the config names one."""
        return f"row {self.row_number}" + (f" · {self.row_key}" if self.row_key else "")

    def payload(self) -> bytes:
        """Return the bytes to send. Raises TableError where a local image is not what it was."""
        if not self.files:
            return self.body.encode()
        images = [base64.b64encode(file.content()).decode() for file in self.files]
        return f'{self.body[:-1]},"binary_data_base64":{json.dumps(images)}}}'.encode()


class RowImages(NamedTuple):
    """The input images of a batch's rows: what identifies them, and what is sent (a JSON list of URLs, or files)."""

    identities: list[str]
    urls: list[str]
    files: list[tuple[LocalImage, ...]]


class JobBatch(NamedTuple):
    """The jobs of a batch of rows, one a row, as parallel lists; invalid rows have `None` for key and seed."""

    rows: RowBatch
    problems: dict[int, Problem]
    keys: list[str | None]
    seeds: list[int | None]
    prompts: list[str]
    images: RowImages
    shapes: list[RequestShape]
    row_keys: list[str]
    long_prompts: int

    def job(self, position: int) -> Job:
        """Return the job of the row at `position`, which must be valid."""
        key, seed = self.keys[position], self.seeds[position]
        if key is None or seed is None:
            raise ValueError(f"row {self.rows.first_row + position} is invalid and has no job")
        files = self.images.files[position]
        urls = None if files else self.images.urls[position]
        body = self.shapes[position].body(urls, json_text(self.prompts[position]), seed)
        return Job(key, self.rows.first_row + position, self.row_keys[position], body, files)
