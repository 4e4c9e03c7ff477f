"""Plans and fully cached runs of large tables and sweeps, and start-up: seconds and peak memory, a process each.

    python benchmarks/scale.py [ROWS …]        # default: 100000 1000000

The ledger is filled directly with a paid outcome for every job, as live runs would have left it.
"""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import yaml
from sqlalchemy import insert

from pixmill.config.loading import load_config
from pixmill.ledger import open_ledger
from pixmill.ledger.schema import jobs, now_micros
from pixmill.planning.planner import make_plan

WORDS = [
    "cat",
    "dog",
    "owl",
    "fox",
    "river",
    "mountain",
    "sunset",
    "old",
    "street",
    "golden",
    "misty",
    "quiet",
]


SWEEP = {
    "groups": [
        {
            "grid": {
                "scale": {"range": [1, 10, 1]},
                "controlnet_args.0.strength": {"linspace": [0.1, 1.0, 10]},
            }
        },
    ]
}
"""A hundred points."""


def write_table(folder: Path, rows: int, **sections: object) -> str:
    """Write a CSV of `rows` rows and a config for it; return the config's path."""
    chance = random.Random(1)
    with (folder / "table.csv").open("w") as file:
        file.write("id,photo,text\n")
        for at in range(rows):
            words = " ".join(chance.choices(WORDS, k=12))
            file.write(
                f'r{at},https://images.example.com/pets/{at}.jpg?w=512,"{words}, number {at}"\n'
            )
    config = {
        "name": "scale",
        "store": str(folder / "out"),
        "input": {
            "path": str(folder / "table.csv"),
            "row_key": ["id"],
            "columns": {"image_url": "photo", "prompt": "text"},
        },
        "request": {"prompt": "{text}, in watercolor"},
        "output": {"images": "url"},
        **sections,
    }
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def fill_ledger(config_path: str) -> None:
    """Put a success for every job into the ledger."""
    config = load_config(config_path)
    plan = make_plan(config, None)
    ledger = open_ledger(config.ledger_address)
    assert ledger
    ledger.begin_run("earlier", config.name)
    with ledger.database.writing.begin() as connection:
        for rows in paid_rows(plan):
            connection.execute(insert(jobs), rows)
    ledger.close()


def paid_rows(plan: object) -> Iterator[list[dict[str, object]]]:
    """Yield the rows that paid jobs leave, a batch at a time."""
    now = now_micros()
    for batch in plan.batches():  # type: ignore[attr-defined]
        yield [
            {
                "job_key": key,
                "state": "succeeded",
                "attempts": 1,
                "run_id": "earlier",
                "outcome_run": "earlier",
                "provider": "simulator",
                "account": "simulator",
                "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
                "request_id": f"20250113200637{key[:20]}",
                "rephraser_result": "a painting of a cat by a river, soft light, in watercolor",
                "output_urls": json.dumps(
                    [
                        f"https://p3.example.com/{key}.image?x-expires=1800000000&x-signature=abc"
                    ]
                ),
                "url_expires_at": now,
                "started_at": now,
                "finished_at": now,
                "queue_ms": 1.0,
                "latency_ms": 5861.7,
                "provider_ms": 5800.1,
                "currency": "CNY",
            }
            for key in batch.keys
        ]


class Usage(NamedTuple):
    """What a process used."""

    seconds: float
    processor_seconds: float
    megabytes: float
    """The most that it had resident."""

    def __str__(self) -> str:
        return (
            f"{self.seconds:.2f} s ({self.processor_seconds:.1f} s of processors),"
            f" {self.megabytes:.0f} MB"
        )


def measure(*arguments: str) -> Usage:
    """Run pixmill with `arguments`, and return what that used."""
    before = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "pixmill", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        raise SystemExit(f"pixmill {' '.join(arguments)} ended with {status}")
    busy = usage.ru_utime + usage.ru_stime
    return Usage(time.perf_counter() - before, busy, usage.ru_maxrss / 1024)


def change_outcomes(config_path: str) -> None:
    """Let one outcome in a hundred be another one, as a night's new rows would leave them."""
    path = load_config(config_path).ledger_address
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("UPDATE jobs SET rephraser_result = 'new' WHERE rowid % 100 = 0")


def main() -> None:
    """Print one line per measurement."""
    print(f"pixmill --help: {measure('--help')}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"plan of 12 rows: {measure('plan', write_table(Path(folder), 12))}",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"plan of 10,000 rows × 100 points: {measure('plan', write_table(Path(folder), 10_000, sweep=SWEEP))}",
            flush=True,
        )
    for rows in [int(word) for word in sys.argv[1:]] or [100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            config = write_table(Path(folder), rows)
            print(
                f"plan of {rows:,} rows, no ledger: {measure('plan', config)}",
                flush=True,
            )
            fill_ledger(config)
            print(
                f"plan of {rows:,} rows, all paid: {measure('plan', config)}",
                flush=True,
            )
            run = ("run", config, "--yes")
            print(
                f"first fully cached run of {rows:,} rows: {measure(*run)}", flush=True
            )
            print(f"the same, nothing changed: {measure(*run)}", flush=True)
            change_outcomes(config)
            print(f"the same, 1 % of the outcomes changed: {measure(*run)}", flush=True)


if __name__ == "__main__":
    main()
