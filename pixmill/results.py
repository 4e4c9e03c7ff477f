"""One batch of jobs as rows of the dataset: the explicit schema and the join of input and ledger.

To add a column: a field in `OWN_FIELDS` and a line in `ResultTable.rows` (and a column in the ledger's schema
where it is a fact about the call).
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from pixmill.config import Config
from pixmill.job_maker import JobMaker
from pixmill.jobs import BASE_POINT, JobBatch
from pixmill.ledger import Ledger, State
from pixmill.ledger.ledger import OUTCOME_COLUMNS

_INSTANT = pa.timestamp("us", tz="UTC")
_IMAGES = pa.list_(
    pa.struct(
        [
            ("file_name", pa.string()),
            ("sha256", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("bytes", pa.int64()),
        ]
    )
)

OWN_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("row_number", pa.int64()),
    ("row_key", pa.string()),
    ("point_id", pa.string()),
    ("replicate", pa.int32()),
    ("prompt", pa.string()),
    ("params", pa.string()),
    ("req_key", pa.string()),
    ("provider", pa.string()),
    ("seed", pa.int64()),
    ("status", pa.string()),
    ("error_code", pa.string()),
    ("error_message", pa.string()),
    ("attempts", pa.int32()),
    ("cached", pa.bool_()),
    ("job_key", pa.string()),
    ("run_id", pa.string()),
    ("request_id", pa.string()),
    ("rephraser_result", pa.string()),
    ("output_url", pa.string()),
    ("output_urls", pa.list_(pa.string())),
    ("url_expires_at", _INSTANT),
    ("file_name", pa.string()),
    ("images", _IMAGES),
    ("input_image", pa.string()),
    ("started_at", _INSTANT),
    ("finished_at", _INSTANT),
    ("queue_ms", pa.float64()),
    ("latency_ms", pa.float64()),
    ("provider_ms", pa.float64()),
    ("download_ms", pa.float64()),
    ("cost", pa.float64()),
    ("currency", pa.string()),
)

_COPIED = (
    "provider",
    "run_id",
    "request_id",
    "rephraser_result",
    "url_expires_at",
    "started_at",
    "finished_at",
    "queue_ms",
    "latency_ms",
    "provider_ms",
    "download_ms",
    "currency",
)
"""Columns of the dataset that are the ledger's own."""

_SETTLED = {state.value for state in (State.SUCCEEDED, State.FAILED, State.REFUSED, State.IN_DOUBT)}


@dataclass
class Counts:
    """What a dataset holds, by job; `new` counts the distinct problems that this run brought."""

    status: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    images_missing: int = 0
    new: Counter[str] = field(default_factory=Counter)


def result_schema(own: pa.Schema) -> pa.Schema:
    """Return the dataset's schema: the input's columns, then ours, prefixed with `pixmill_` where a name is taken."""
    taken = set(own.names)
    ours = []
    for name, kind in OWN_FIELDS:
        free = name
        while free in taken:
            free = f"pixmill_{free}"
        ours.append(pa.field(free, kind))
    return pa.schema([*own, *ours])


Columns = Mapping[str, Sequence[Any]]
"""The ledger's columns aligned with the rows of a batch; `None` where a job is unknown."""


class ResultTable:
    """Builds dataset rows batch by batch and counts what they hold."""

    def __init__(self, config: Config, maker: JobMaker, schema: pa.Schema, run_id: str) -> None:
        self._config, self._maker, self._run_id = config, maker, run_id
        self._download = config.output.images == "download"
        self.schema = result_schema(schema)
        self.counts = Counts()

    def rows(self, jobs: JobBatch, first: NDArray[np.bool_], ledger: Ledger | None) -> pa.Table:
        """Return the dataset rows of `jobs`; `first` marks the first row of each job key."""
        count = len(jobs.keys)
        known = _aligned(jobs.keys, ledger)
        status = [_status(key, state) for key, state in zip(jobs.keys, known["state"], strict=True)]
        urls, images = _urls_and_images(known)
        codes = self._codes(jobs, known, status)
        paid = [run == self._run_id and new for run, new in zip(known["run_id"], first.tolist(), strict=True)]
        cached = [of == "succeeded" and not here for of, here in zip(status, paid, strict=True)]
        self._count(known, status, codes, cached, first)
        columns: dict[str, Any] = {
            "row_number": np.arange(jobs.rows.first_row, jobs.rows.first_row + count),
            "row_key": jobs.row_keys if self._config.input.row_key else self._maker.default_row_keys(jobs.rows),
            "point_id": pa.repeat(BASE_POINT, count),
            "replicate": np.zeros(count, np.int32),
            "prompt": jobs.prompts,
            "params": [shape.params for shape in jobs.shapes],
            "req_key": pa.repeat(self._config.request.req_key, count),
            "seed": [seed if key else None for seed, key in zip(jobs.seeds, jobs.keys, strict=True)],
            "status": status,
            "error_code": codes,
            "error_message": _messages(jobs, known, status),
            "attempts": [number or 0 for number in known["attempts"]],
            "cached": cached,
            "job_key": jobs.keys,
            "output_url": _first_of(urls),
            "output_urls": urls,
            "file_name": pc.struct_field(_first_of(images), "file_name"),
            "images": images,
            "input_image": pa.nulls(count, pa.string()),
            "cost": [cost if new else None for cost, new in zip(known["cost"], first.tolist(), strict=True)],
        }
        columns |= {name: known[name] for name in _COPIED}
        ours = [_array(columns[name], kind) for name, kind in OWN_FIELDS]
        own = [column.combine_chunks() for column in jobs.rows.rows.columns]
        return pa.Table.from_arrays([*own, *ours], schema=self.schema)

    def _codes(self, jobs: JobBatch, known: Columns, status: Sequence[str]) -> list[str | None]:
        rows = zip(status, known["error_code"], known["images"], known["image_error"], strict=True)
        codes: list[str | None] = []
        for of, code, images, image_error in rows:
            if of == "succeeded":
                missing = self._download and images is None
                codes.append(image_error or "image_pending" if missing else None)
            else:
                codes.append(code or "not_attempted" if of == "skipped" else code)
        for at, problem in jobs.problems.items():
            codes[at] = problem.reason
        return codes

    def _count(
        self,
        known: Columns,
        status: Sequence[str],
        codes: Sequence[str | None],
        cached: Sequence[bool],
        first: NDArray[np.bool_],
    ) -> None:
        counts = self.counts
        counts.status.update(status)
        counts.cached += sum(cached)
        missing = [of == "succeeded" and code is not None for of, code in zip(status, codes, strict=True)]
        counts.images_missing += int((np.array(missing, np.bool_) & first).sum())
        rows = zip(status, missing, known["outcome_run"], known["image_run"], first.tolist(), strict=True)
        for of, lacks, outcome_run, image_run, new in rows:
            if new and outcome_run == self._run_id and of in _PROBLEMS:
                counts.new[of] += 1
            if new and lacks and self._run_id in (image_run, outcome_run):
                counts.new["images_missing"] += 1


_PROBLEMS = {"failed", "refused", "in_doubt"}


def _aligned(keys: Sequence[str | None], ledger: Ledger | None) -> Columns:
    wanted = list({key for key in keys if key})
    by_key = {row[0]: row for row in ledger.outcomes(wanted)} if ledger and wanted else {}
    nothing = (None,) * len(OUTCOME_COLUMNS)
    rows = [by_key.get(key or "", nothing) for key in keys]
    columns = zip(*rows, strict=True) if rows else [()] * len(OUTCOME_COLUMNS)
    return dict(zip(OUTCOME_COLUMNS, columns, strict=True))


def _status(key: str | None, state: str | None) -> str:
    if key is None:
        return "invalid"
    return state if state in _SETTLED else "skipped"


def _messages(jobs: JobBatch, known: Columns, status: Sequence[str]) -> list[str | None]:
    rows = zip(status, known["error_message"], strict=True)
    messages = [None if of == "succeeded" else message for of, message in rows]
    for at, problem in jobs.problems.items():
        messages[at] = problem.message
    return messages


def _urls_and_images(known: Columns) -> tuple[pa.Array, pa.Array]:
    """Parse the ledger's JSON lists all at once: Arrow's reader is ten times as fast as one `json.loads` a row."""
    pairs = zip(known["output_urls"], known["images"], strict=True)
    text = "\n".join(f'{{"u":{urls or "null"},"i":{images or "null"}}}' for urls, images in pairs)
    if not text:
        return pa.array([], pa.list_(pa.string())), pa.array([], _IMAGES)
    data = text.encode()
    table = pj.read_json(
        io.BytesIO(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pj.ParseOptions(explicit_schema=pa.schema([("u", pa.list_(pa.string())), ("i", _IMAGES)])),
    )
    return table["u"].combine_chunks(), table["i"].combine_chunks()


def _first_of(lists: pa.Array) -> pa.Array:
    """Return the first element of each list, null for null and empty ones."""
    filled = pc.fill_null(pc.greater(pc.list_value_length(lists), 0), False).to_numpy(zero_copy_only=False)
    begins = lists.offsets.to_numpy()[:-1]
    return pc.take(lists.values, pa.array(begins, mask=~filled))


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values.cast(kind)
    return pa.array(values, pa.int64()).cast(kind) if pa.types.is_timestamp(kind) else pa.array(values, kind)
