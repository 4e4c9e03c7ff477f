"""WebDataset shards: tar files of bounded size in which the files of one sample share a key.

    OUT/train-000000.tar
        000000000-1f0c2ab94d3e.jpg  .txt (caption)  .json (scalar columns)  .input.jpg (where there is an input image)

Samples stand in the order of the dataset and no header tells when or by whom it was written, so that the same
dataset always gives the same bytes. Keys are the position in the dataset and the beginning of the job key.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pixmill.datasets.export.samples import Exported, Sample, Samples
from pixmill.storage.atomic_write import atomic_folder
from pixmill.tables import json_rows

SHARD_SAMPLES = 1_000


def write_shards(samples: Samples, out: Path) -> Exported:
    """Write all `samples` to the new folder `out`. Raises UserError where `out` is taken or there are no samples."""
    with atomic_folder(out) as folder, ExitStack() as files:
        shards: dict[str, Shards] = {}
        for batch in samples.batches():
            rows = list(json_rows(batch.columns))
            for sample in batch.samples:
                if sample.split not in shards:
                    shards[sample.split] = files.enter_context(
                        Shards(folder, sample.split)
                    )
                shards[sample.split].add(sample, rows[sample.at])
        return samples.exported()


class Shards:
    """The shards of one split; the next one begins when one is full."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._count = 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar:
            self._tar.close()

    def add(self, sample: Sample, row: Mapping[str, Any]) -> None:
        """Append one sample with its scalar columns."""
        tar = self._shard()
        key = f"{sample.position:09d}-{sample.job_key[:12]}"
        for suffix, data in _members(sample, row):
            member = tarfile.TarInfo(f"{key}{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        self._count += 1

    def _shard(self) -> tarfile.TarFile:
        number, is_begun = divmod(self._count, SHARD_SAMPLES)
        if self._tar is None or not is_begun:
            self.__exit__()
            path = self._folder / f"{self._split}-{number:06d}.tar"
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed when full
        return self._tar


def _members(sample: Sample, row: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield sample.image.suffix, sample.image.data
    yield ".txt", sample.caption.encode()
    yield ".json", json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    if sample.input:
        yield f".input{sample.input.suffix}", sample.input.data
