"""A store with published datasets in it, written as a run would publish them, for what only reads them."""

import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from pixmill.config.loading import load_config
from pixmill.datasets.schema import OUR_FIELDS, result_schema

INPUT = pa.schema([("id", pa.string()), ("photo", pa.string()), ("text", pa.string())])


class Shelf:
    """A folder with a config and the store that it names; nobody has to run for its datasets."""

    def __init__(self, folder: Path, name: str = "pets", **sections: Any) -> None:
        self.folder, self.store, self.name = folder, folder / "out", name
        self.path = str(folder / f"{name}.yaml")
        self.config: dict[str, Any] = {
            "name": name,
            "store": str(self.store),
            "input": {
                "path": str(folder / "pets.csv"),
                "columns": {"image_url": "photo", "prompt": "text"},
            },
            "provider": {"kind": "gateway", "base_url": "https://gateway.example.com"},
            **sections,
        }
        Path(self.path).write_text(yaml.safe_dump(self.config))

    @property
    def dataset(self) -> Path:
        return self.store / self.name / "dataset.parquet"

    def publish(
        self,
        rows: Sequence[Mapping[str, Any]],
        own: pa.Schema = INPUT,
        version: str = "",
    ) -> Path:
        """Write the dataset, or an earlier `version` of it (`20261001T000000Z`)."""
        schema = result_schema(own)
        names = dict(
            zip(
                (name for name, _ in OUR_FIELDS),
                schema.names[len(own.names) :],
                strict=True,
            )
        )
        our_names = set(own.names)
        table = pa.Table.from_pylist(
            [
                {
                    key if key in our_names else names.get(key, key): row[key]
                    for key in row
                }
                for row in rows
            ],
            schema,
        )
        path = (
            self.dataset.parent / "history" / f"{version}.parquet"
            if version
            else self.dataset
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, write_page_checksum=True)
        manifest = (
            path.with_suffix(".json") if version else path.with_name("manifest.json")
        )
        manifest.write_text(
            json.dumps({"published_at": _iso(version or "20261122T120000Z")})
        )
        if not version:
            path.with_name("config.yaml").write_text(load_config(self.path).to_yaml())
        return path

    def image(self, look: int, suffix: str = "png") -> str:
        """Put an image into the store and return its name there; each `look` is another picture."""
        picture = Image.new("RGB", (64, 64), "white")
        for at in range(4):
            where = sha256(f"{look}/{at}".encode()).digest()
            box = sorted(byte % 64 for byte in where[:2]) + sorted(
                byte % 64 for byte in where[2:4]
            )
            ImageDraw.Draw(picture).rectangle(
                (box[0], box[2], box[1], box[3]), fill=tuple(where[4:7])
            )
        data = io.BytesIO()
        picture.save(data, "JPEG" if suffix == "jpg" else suffix)
        return self.keep(data.getvalue(), suffix)

    def keep(self, data: bytes, suffix: str) -> str:
        digest = sha256(data).hexdigest()
        name = f"images/{digest[:2]}/{digest}.{suffix}"
        (self.store / name).parent.mkdir(parents=True, exist_ok=True)
        (self.store / name).write_bytes(data)
        return name

    def job(self, number: int, **changes: Any) -> dict[str, Any]:
        """A job of the dataset's n-th row that succeeded; its image has to be put there by `image`."""
        request = f"{number}/{changes.get('params')}/{changes.get('seed')}/{changes.get('point_id')}"
        return {
            "id": f"r{number}",
            "photo": f"https://images.example.com/{number}.jpg",
            "text": f"a pet {number}",
            "row_number": number + 1,
            "row_key": f"r{number}",
            "point_id": "base",
            "replicate": 0,
            "prompt": f"a pet {number}, in watercolor",
            "params": '{"scale":3}',
            "seed": 7,
            "status": "succeeded",
            "attempts": 1,
            "job_key": sha256(request.encode()).hexdigest(),
            "latency_ms": 1000.0 + number,
            "currency": "CNY",
            **changes,
        }

    def with_images(
        self, job: dict[str, Any], names: Sequence[str], **changes: Any
    ) -> dict[str, Any]:
        """A job whose answer has the images `names`, which are in the store."""
        images = []
        for name in names:
            data = (self.store / name).read_bytes()
            image = {"file_name": name, "sha256": sha256(data).hexdigest()}
            size = {"width": 64, "height": 64, "format": "JPEG", "bytes": len(data)}
            images.append({**image, **size})
        return {
            **job,
            "file_name": names[0],
            "images": images,
            "image_count": len(images),
            "output_url": "https://x.example.com/0",
            "output_urls": [f"https://x.example.com/{at}" for at in range(len(images))],
            **changes,
        }


def _iso(version: str) -> str:
    date, _, time = version.partition("T")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}"
