"""WebDataset shards: tar files of bounded size in which the files of one sample share a key.

    OUT/train-000000.tar
        000000000-1f0c2ab94d3e.jpg
        000000000-1f0c2ab94d3e.txt          the caption
        000000000-1f0c2ab94d3e.json         the scalar columns
        000000000-1f0c2ab94d3e.input.jpg    where there is an input image

Samples are in the order of the dataset and no header says when or by whom it was written, so
that the same dataset always gives the same bytes. Keys are the position in the dataset and the
beginning of the job key; the second image of a job and the next have their number behind it. With
readable names they are row key, point and seed.
"""

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pixmill.datasets.export.samples import Exported, ExportSample, Samples
from pixmill.storage.atomic_write import atomic_folder
from pixmill.tables import json_rows

SHARD_SAMPLES = 1_000
"""Samples in one file: some hundred megabytes, as the library's authors advise."""


def write_shards(samples: Samples, out: Path) -> Exported:
    """Write all `samples` to the new folder `out`.

    Raises UserError where `out` is taken or there are no samples.
    """
    with atomic_folder(out) as folder, ExitStack() as files:
        shards: dict[str, Shards] = {}
        for batch in samples.batches():
            rows = list(json_rows(batch.columns))
            for sample in batch.samples:
                split = sample.split
                if split not in shards:
                    shards[split] = files.enter_context(Shards(folder, split))
                shards[split].add(sample, rows[sample.at], samples.name_of(sample))
        return samples.summarize()


class Shards:
    """The shards of one split; the next one begins when one is full."""

    def __init__(
        self,
        folder: Path,
        split: str,
    ) -> None:
        self._folder = folder
        self._split = split
        self._count = 0
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar:
            self._tar.close()

    def add(
        self,
        sample: ExportSample,
        row: Mapping[str, Any],
        name: str | None,
    ) -> None:
        """Append one sample with its scalar columns, under a readable `name` where there is one."""
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        members = {
            sample.image.suffix: sample.image.data,
            ".txt": sample.caption.encode(),
            ".json": text.encode(),
        }
        if sample.input:
            members[f".input{sample.input.suffix}"] = sample.input.data
        number, samples = divmod(self._count, SHARD_SAMPLES)
        if self._tar is None or samples == 0:
            self.__exit__()
            path = self._folder / f"{self._split}-{number:06d}.tar"
            # The one format without times in further headers, and known to every reader.
            # It stays open until it is full.
            self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        tar = self._tar
        if name is not None:
            # A dot would end the key.
            key = name.replace(".", "-")
        else:
            key = f"{sample.position:09d}-{sample.job_key[:12]}"
            if sample.number:
                key = f"{key}-{sample.number}"
        for suffix, data in members.items():
            # With the time 0 and no owner, which a new header has.
            member = tarfile.TarInfo(f"{key}{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        self._count += 1
