"""Datasets for reports, written as a run would write them but without running."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from itertools import product, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pixmill.config.model import Config
from pixmill.datasets.schema import OUR_FIELDS, result_schema
from pixmill.request.sweep import Axis as SweepAxis
from pixmill.request.sweep.points import AxisValue

BEGAN = datetime(2026, 10, 5, 9, 30, tzinfo=UTC)

Row = dict[str, Any]


class Axis(NamedTuple):
    """A sweep axis: its dotted path and its values by label."""

    path: str
    values: Mapping[str, Any]

    @property
    def column(self) -> str:
        return "param_" + self.path.replace(".", "_")


def axis(path: str, *values: Any) -> Axis:
    return Axis(path, {str(value): value for value in values})


def config(folder: Path, **changes: Any) -> Config:
    """A config whose store is `folder`/out."""
    basic = {
        "name": "pets",
        "store": str(folder / "out"),
        "input": {
            "path": str(folder / "pets.csv"),
            "columns": {"image_url": "photo", "prompt": "text"},
            "row_key": ["id"],
        },
        "provider": {"kind": "gateway", "base_url": "https://gateway.example.com"},
    }
    return Config.model_validate({**basic, **changes})


def stored_image(store: Path, picture: bytes | None = None, number: int = 0) -> str:
    """Put an image into the store, as a run does; return its name there."""
    data = picture or _picture(number)
    digest = sha256(data).hexdigest()
    path = store / "images" / digest[:2] / f"{digest}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path.relative_to(store))


def _picture(number: int) -> bytes:
    file = BytesIO()
    Image.new(
        "RGB", (48, 48), (number * 37 % 256, number * 91 % 256, number * 13 % 256)
    ).save(file, "JPEG")
    return file.getvalue()


def input_rows(count: int) -> list[Row]:
    return [
        {
            "id": f"pet-{at:02}",
            "photo": f"https://images.example.com/{at}.jpg",
            "text": f"a pet, number {at}",
            "weight": at / 2,
        }
        for at in range(count)
    ]


def jobs_of(
    rows: Sequence[Row], axes: Sequence[Axis] = (), replicates: int = 1
) -> list[Row]:
    """One succeeded job for each row, point and replicate; tests change what they are about."""
    jobs = []
    for at, row in enumerate(rows):
        for values in product(*(of.values.values() for of in axes)):
            for replicate in range(replicates):
                jobs.append(
                    _job(
                        len(jobs),
                        at,
                        row,
                        dict(zip([of.column for of in axes], values, strict=True)),
                        replicate,
                    )
                )
    return jobs


def _job(number: int, at: int, row: Row, point: Row, replicate: int) -> Row:
    identity = (
        sha256(json.dumps(point, default=str).encode()).hexdigest()[:12]
        if point
        else "base"
    )
    began = BEGAN + timedelta(seconds=number * 1.5)
    latency = 3.0 + number % 7 * 0.5
    return {
        **row,
        "row_number": at + 1,
        "row_key": str(row.get("id", at)),
        "point_id": identity,
        "replicate": replicate,
        **point,
        "prompt": str(row.get("text", "")),
        "params": json.dumps({"scale": 3, "ddim_steps": 16, **point}, default=str),
        "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
        "provider": "gateway",
        "seed": number * 7919 % 2**31,
        "effective_seed": number * 7919 % 2**31,
        "status": "succeeded",
        "attempts": 1,
        "cached": False,
        "job_key": sha256(str(number).encode()).hexdigest(),
        "run_id": "20261005-093000-abcdef",
        "request_id": f"20261005{number:026d}",
        "started_at": began,
        "finished_at": began + timedelta(seconds=latency),
        "queue_ms": 120.0,
        "latency_ms": latency * 1000,
        "provider_ms": latency * 990,
        "download_ms": 80.0,
        "cost": 0.0155,
        "currency": "CNY",
    }


def with_images(jobs: Sequence[Row], store: Path) -> list[Row]:
    """Give each succeeded job an image of its own."""
    return [
        _with_image(job, store, number) if job["status"] == "succeeded" else job
        for number, job in enumerate(jobs)
    ]


def _with_image(job: Row, store: Path, number: int) -> Row:
    name = stored_image(store, number=number)
    image = {
        "file_name": name,
        "sha256": name[10:74],
        "width": 48,
        "height": 48,
        "format": "JPEG",
        "bytes": 900,
    }
    return {**job, "file_name": name, "images": [image]}


def with_several(job: Row, store: Path, numbers: Sequence[int]) -> Row:
    """The job with an image for each of `numbers`."""
    jobs = [_with_image(job, store, number) for number in numbers]
    images = [image for each in jobs for image in each["images"]]
    return {**jobs[0], "images": images, "image_count": len(images)}


def ended(job: Row, status: str, code: str | None, message: str | None = None) -> Row:
    """The job with another end, and without what only a success has."""
    lost = dict.fromkeys(("file_name", "images", "cost"))
    return {
        **job,
        **lost,
        "status": status,
        "error_code": code,
        "error_message": message,
    }


def publish(
    config: Config,
    jobs: Sequence[Row],
    axes: Sequence[Axis] = (),
    *,
    described: bool = True,
    scores: Sequence[tuple[str, pa.DataType]] = (),
) -> Path:
    """Write the dataset of `config`; without `described`, as one that says nothing about its sweep."""
    own = _own_schema(
        [dict(takewhile(lambda of: of[0] != "row_number", job.items())) for job in jobs]
    )
    schema = _schema(own, axes, scores)
    if described:
        schema = schema.with_metadata(
            {b"pixmill": json.dumps(_description(config, schema, axes)).encode()}
        )
    path = config.dataset_folder / "dataset.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"compression": "zstd", "write_page_checksum": True}
    pq.write_table(
        pa.Table.from_pylist(list(jobs), schema), path, row_group_size=5000, **options
    )
    return path


def _own_schema(rows: Sequence[Row]) -> pa.Schema:
    return (
        pa.Table.from_pylist(list(rows)).schema
        if rows
        else pa.schema([("id", pa.string())])
    )


def _schema(
    own: pa.Schema,
    axes: Sequence[Axis],
    scores: Sequence[tuple[str, pa.DataType]],
) -> pa.Schema:
    values = [
        tuple(AxisValue(label, value) for label, value in of.values.items())
        for of in axes
    ]
    return result_schema(
        own,
        [
            SweepAxis(of.path, "field", held)
            for of, held in zip(axes, values, strict=True)
        ],
        scores,
    )


def _description(
    config: Config, schema: pa.Schema, axes: Sequence[Axis]
) -> dict[str, Any]:
    values = {
        of.path: [
            {"label": label, "value": value} for label, value in of.values.items()
        ]
        for of in axes
    }
    names = {name for name, _ in OUR_FIELDS}
    images = config.input.image_columns
    role = "image_file" if config.input.local_images else "image_url"
    return {
        "name": config.name,
        "axes": [
            {"path": of.path, "column": of.column, "values": values[of.path]}
            for of in axes
        ],
        "columns": {**config.input.columns, role: list(images)},
        "own": {
            name: next(
                of for of in schema.names[::-1] if of.removeprefix("pixmill_") == name
            )
            for name in sorted(names)
        },
        "provider": config.provider.kind,
        "currency": config.budget.currency,
    }
