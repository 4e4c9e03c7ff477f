"""Four processes on one account, each told the account's own limits: how much of these they use together.

    python benchmarks/sharing.py [SECONDS]      # default: 40, for each of four lines

The limits are 20 calls per second and 10 in flight. Calls of 0.3 s are held up by the rate, calls of 1 s by the places;
the ledger is a file of SQLite, then a database of PostgreSQL (with the extra `stack`, from a wheel). What is counted
begins twenty seconds after the first answer: how much of the binding limit came back as pictures, and which
share of the calls was refused.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from account import KEY, begun, pay, postgres, simulator, write_config

QPS, IN_FLIGHT = 20, 10
PROCESSES = 4
START = 20.0


@contextmanager
def running(config: Path) -> Iterator[None]:
    """Carry out a config in a process of its own, which is killed when the body ends."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(config)], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measured(
    folder: Path, latency: float, ledger: str | None, seconds: float
) -> tuple[float, float]:
    """Return the used part of the binding limit, and the refused part of the calls."""
    bill = folder / "bill.jsonl"
    with (
        simulator(bill, latency=latency, qps=QPS, concurrency=IN_FLIGHT) as url,
        ExitStack() as processes,
    ):
        for number in range(PROCESSES):
            (folder / f"{number}").mkdir()
            sections: dict[str, Any] = {
                "name": f"bench-{number}",
                "store": str(folder / "out"),
            }
            if ledger:
                sections |= {
                    "provider": {"kind": "gateway", "base_url": url},
                    "ledger": ledger,
                }
            limits = {"qps": QPS, "concurrency": IN_FLIGHT}
            jobs = int(QPS * (seconds + 2 * START))
            processes.enter_context(
                running(
                    write_config(folder / f"{number}", url, jobs, limits, **sections)
                )
            )
        while not lines(bill):
            time.sleep(0.5)
        time.sleep(START)
        begin = time.time()
        time.sleep(seconds)
        end = time.time()
    counted = [
        call
        for call in lines(bill)
        if begin <= datetime.fromisoformat(call["time"]).timestamp() < end
    ]
    good = sum(call["charged"] for call in counted)
    return good / seconds / min(QPS, IN_FLIGHT / latency), 1 - good / len(counted)


def lines(bill: Path) -> Sequence[dict[str, Any]]:
    """Return what the simulator has answered so far."""
    return (
        [json.loads(line) for line in bill.read_text().splitlines()]
        if bill.exists()
        else []
    )


def main() -> None:
    """Print one line for each ledger and each binding limit."""
    os.environ["PIXMILL_API_KEY"] = KEY
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_file():
        with begun(Path(sys.argv[1])) as run:
            pay(run)
        return
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 40.0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for kind in ("SQLite", "PostgreSQL"):
        for binding, latency in (("rate", 0.3), ("places", 1.0)):
            with tempfile.TemporaryDirectory() as name, ExitStack() as server:
                folder = Path(name)
                folder.chmod(0o755)  # PostgreSQL's user looks into it
                ledger = (
                    server.enter_context(postgres(folder / "postgres"))
                    if kind == "PostgreSQL"
                    else None
                )
                used, refused = measured(folder, latency, ledger, seconds)
                print(
                    f"{kind:10} {binding:6} binds: {used:6.1%} of it used, {refused:5.2%} refused",
                    flush=True,
                )


if __name__ == "__main__":
    main()
