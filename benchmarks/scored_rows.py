"""A rerun of a large table whose pictures are all scored, beside the same without `quality`.

    python benchmarks/scored_rows.py [ROWS]        # default: 100000

One outcome in a hundred is another one before each run, so that each publishes. The two kinds take turns; of
each, the median is told.
"""

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import yaml
from scale import Usage, change_outcomes, measure, paid_rows, write_table
from sqlalchemy import insert

from pixmill.config.loading import load_config
from pixmill.ledger import open_ledger
from pixmill.ledger.schema import jobs
from pixmill.ledger.scores import scores
from pixmill.planning.planner import make_plan
from pixmill.quality.duplicates import SIGNATURE_BYTES
from pixmill.quality.image_scorers import check_scorer

CHECKS = ["blank", "dark", "blurred", "duplicate"]
ROUNDS = 5


def fill_ledger(config_path: str) -> None:
    """Put a success for every job into the ledger, with a picture of its own, and what the checks said of it."""
    config = load_config(config_path)
    plan = make_plan(config, None)
    ledger = open_ledger(config.ledger_address)
    assert ledger
    ledger.begin_run("earlier", config.name)
    with ledger.database.writing.begin() as connection:
        for rows in paid_rows(plan):
            digests = [sha256(str(row["job_key"]).encode()).hexdigest() for row in rows]
            for row, digest in zip(rows, digests, strict=True):
                row["images"] = json.dumps([image(digest)])
            connection.execute(insert(jobs), rows)
            connection.execute(insert(scores), list(scored(digests)))
    ledger.close()


def image(digest: str) -> dict[str, object]:
    """Return what a ledger has of a picture."""
    return {
        "file_name": f"images/{digest[:2]}/{digest}.jpg",
        "sha256": digest,
        "width": 1024,
        "height": 1024,
        "format": "JPEG",
        "bytes": 200_000,
    }


def scored(digests: list[str]) -> Iterator[dict[str, object]]:
    """Yield what the checks leave of good pictures, none of which is like another one."""
    for name in CHECKS:
        scorer = check_scorer(name)
        for digest in digests:
            row: dict[str, object] = {
                "sha256": digest,
                "scorer": scorer.name,
                "version": scorer.version,
                "part": "",
                "value": 0.9,
                "signature": None,
            }
            if name == "duplicate":
                chance = random.Random(digest)
                row |= {"value": None, "signature": chance.randbytes(SIGNATURE_BYTES)}
            yield row


def main() -> None:
    """Print what each kind takes, and their ratio."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        plain = write_table(Path(folder), rows, output={"images": "download"})
        config = yaml.safe_load(Path(plain).read_text())
        with_scores = Path(folder, "scored.yaml")
        quality = {"checks": CHECKS}
        with_scores.write_text(
            yaml.safe_dump({**config, "name": "scored", "quality": quality})
        )
        fill_ledger(plain)
        taken: dict[str, list[Usage]] = {plain: [], str(with_scores): []}
        # The first publication of each looks up all outcomes.
        for path in taken:
            measure("run", path, "--yes")
        for _ in range(ROUNDS):
            change_outcomes(plain)
            for path, usages in taken.items():
                usages.append(measure("run", path, "--yes"))
    medians = []
    for name, usages in zip(("without", "with scores"), taken.values(), strict=True):
        seconds = statistics.median(usage.seconds for usage in usages)
        busy = statistics.median(usage.processor_seconds for usage in usages)
        most = max(usage.megabytes for usage in usages)
        medians.append(busy)
        print(f"{name:>12} {seconds:.2f} s ({busy:.2f} s of processors), {most:.0f} MB")
    print(f"{'ratio':>12} {medians[1] / medians[0]:.3f} of the processors' time")


if __name__ == "__main__":
    main()
