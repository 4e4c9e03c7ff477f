"""What a job is: one image request with its key, and a batch of them beside the rows that they come from."""

import base64
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pixmill.config.model import Config
from pixmill.errors import TableError
from pixmill.planning.row_checks import RowProblem
from pixmill.request.canonical_json import json_text
from pixmill.request.fingerprint import RequestShape
from pixmill.request.registry import requested_operation
from pixmill.request.sweep import Point
from pixmill.request.sweep.points import BASE
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
        # Read again for each call: the images of all jobs would fill the memory.
        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            raise TableError(
                f"{self.path} can't be read any more: {error.strerror}"
            ) from None
        if sha256(data).hexdigest() != self.sha256:
            raise TableError(f"{self.path} changed during the run")
        return data


class JobPrice(NamedTuple):
    """What a call for a job costs: `price`, or as many times that as there are images in its answer,
    which are `most_images` at most."""

    price: Decimal
    most_images: int | None = None
    """`None`: the call costs `price`, however many images come."""

    @property
    def most(self) -> Decimal:
        """What the call costs at most."""
        return self.of(None)

    @property
    def least(self) -> Decimal:
        """What a call that brings something costs at least."""
        return self.price

    def of(self, images: int | None) -> Decimal:
        """Return what a call with so many images cost; `None`: as many as there may be."""
        if self.most_images is None:
            return self.price
        return self.price * (self.most_images if images is None else images)


class Job(NamedTuple):
    """One image request, ready to be sent once its seed and its local images are put in.

    `head` is the beginning of the JSON body, without the seed, as another one takes its place when an output that
    moderation refused is drawn again; `files` are the local input images, sent as base64.
    """

    key: str
    row_number: int
    row_key: str
    point: str
    req_key: str
    head: str
    seed: int | None
    """None where the operation has none."""
    files: tuple[LocalImage, ...] = ()
    result_options: str | None = None
    """The JSON object that every poll sends as its `req_json`; None: the operation is called synchronously."""
    replicate: int = 0
    has_task: bool = False
    """Whether a task of it is running at the provider already, as far as the plan knows."""
    price: JobPrice | None = None
    """`None`: not known."""
    point_id: str = BASE

    @property
    def is_async(self) -> bool:
        """Whether it is submitted as a task and then polled."""
        return self.result_options is not None

    @property
    def row_label(self) -> str:
        """The row as its owner knows it: by its key, else by its number."""
        return self.row_key or f"row {self.row_number}"

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
        return json.loads(with_seed(self.head.encode(), self.seed))  # type: ignore[no-any-return]

    def beginning(self) -> bytes:
        """Return the bytes to send without the seed, which comes last, local images in.

        Raises TableError where a local image is not what it was.
        """
        images = [base64.b64encode(file.content()).decode() for file in self.files]
        data = (
            f',"binary_data_base64":{json.dumps(images, allow_nan=False)}'
            if images
            else ""
        )
        return f"{self.head}{data}".encode()

    def payload(self) -> bytes:
        """Return the bytes to send. Raises TableError where a local image is not what it was."""
        return with_seed(self.beginning(), self.seed)


def with_seed(
    beginning: bytes,
    seed: int | None,
) -> bytes:
    """Return the body that begins like a job's, with `seed` where there is one."""
    if seed is None:
        return beginning + b"}"
    return beginning + f',"seed":{seed}}}'.encode()


class RowImages(NamedTuple):
    """The input images of a batch's rows."""

    identities: list[str]
    """By row: what stands for them in the job key."""
    urls: list[str]
    """By row: the JSON list of URLs that is sent, "" where there are none."""
    files: list[tuple[LocalImage, ...]]
    """By row: the files that are sent instead of URLs."""
    sources: list[list[str]]
    """By column and row: their names among those that the ledger knows, URLs or hashes of files."""


class RequestVariant(NamedTuple):
    """One of the requests that are made of every row: a point of the sweep and a replicate."""

    point: Point
    replicate: int
    label: str
    req_key: str
    has_seed: bool
    """Whether the operation takes one."""


def request_variants(
    config: Config,
    points: Sequence[Point],
) -> tuple[RequestVariant, ...]:
    """Return the requests that are made of every row, the replicates of a point one after the other."""
    variants = []
    for point in points:
        labels = [
            f"{path.rpartition('.')[2]} {label}" for path, label in point.labels.items()
        ]
        req_key = str(point.values.get("req_key", config.request.req_key))
        request = config.request.model_copy(update={"req_key": req_key})
        has_seed = requested_operation(request).seed is not None
        for replicate in range(config.replicates):
            parts = [*labels]
            if config.replicates > 1:
                kind = "candidate" if config.quality.until else "replicate"
                parts.append(f"{kind} {replicate}")
            label = ", ".join(parts)
            variants.append(RequestVariant(point, replicate, label, req_key, has_seed))
    return tuple(variants)


class JobBatch(NamedTuple):
    """The jobs of a batch of rows: as many for each row as there are variants, row after row.

    A position is that of a row and a variant: row × variants + variant.
    """

    rows: RowBatch
    variants: tuple[RequestVariant, ...]
    problems: dict[int, RowProblem]
    """By row, what makes it invalid."""
    selected: NDArray[np.bool_]
    """[row]: whether `input.where` lets it in."""
    in_dataset: NDArray[np.bool_]
    """[position]: what becomes a row of the dataset: every job and the first variant of an invalid row; of the
    candidates of a row and point the one that is kept, once a plan has chosen it."""
    keys: list[str | None]
    """By position; `None` where no job is, as the row is invalid or a condition leaves it out."""
    all_keys: list[str]
    """By position, also where no job is."""
    prompts: list[pa.Array]
    """By variant: Arrow strings, one for each row; nulls where the operation takes no prompt."""
    numbers: list[int]
    """By position: the seed, of a variant without one the number of its replicate. It is in the job key."""
    shapes: list[list[RequestShape]]
    """By variant and row."""
    images: RowImages
    row_keys: list[str]
    """By row, "" without `input.row_key`."""
    long_prompts: int
    """Rows with a prompt that the provider may cut."""
    notes: Mapping[str, int]
    """Rows by what is to be said of them (`row_checks.NOTES`)."""
    matches: Mapping[str, int]
    """How often each condition that reads rows holds, by its path in the config."""
    judgements: NDArray[np.int8] | None = None
    """By position: what is known of each candidate; `None` without `quality.until`, and before
    anything is known."""

    def job(self, position: int) -> Job:
        """Return the job at `position`, which must have a key."""
        row, at = divmod(position, len(self.variants))
        key = self.keys[position]
        number = self.rows.first_row + row
        if key is None:
            raise ValueError(f"row {number} has no job at variant {at}")
        files = self.images.files[row]
        urls = None if files else self.images.urls[row]
        shape = self.shapes[at][row]
        prompt = self.prompts[at][row].as_py()
        head = shape.head(urls, None if prompt is None else json_text(prompt))
        variant = self.variants[at]
        return Job(
            key,
            number,
            self.row_keys[row],
            variant.label,
            variant.req_key,
            head,
            self.numbers[position] if variant.has_seed else None,
            files,
            shape.result_options,
            variant.replicate,
            point_id=variant.point.id,
        )


def by_position(columns: Sequence[list[Value]]) -> list[Value]:
    """Return lists of one value a row, one list for each variant, as one list by position."""
    if len(columns) == 1:
        return columns[0]
    return [value for row in zip(*columns, strict=True) for value in row]


def name_chunk(chunk: Sequence[Job]) -> str:
    """Name a chunk of jobs by the first of them."""
    others = len(chunk) - 1
    if not others:
        return chunk[0].label
    return f"{chunk[0].label} and the {others:,} jobs after it"
