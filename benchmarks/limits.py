"""An account whose limits the user does not know: pixmill beside what is written without it; all in one run.

    python benchmarks/limits.py [CALLS]      # default: 600

The simulator allows far less than the ceilings that all three are given: four times too much, as a guess would be. In
the last scenario there are three times as many calls: the limits halve after a third of them and come back after two
thirds. Each line says how much of the allowed rate came back as pictures, which share of the calls was throttled, and
how many jobs had none at the end:

* pixmill, whose limiter finds the limits;
* a fixed semaphore: a thread pool of that size over one `requests.Session`, with ten retries by exponential backoff;
* plain Prefect: `task.map` on a thread pool of that size, with ten retries by exponential backoff and jitter.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from account import KEY, ask, begun, pay, session, simulator, write_config

from pixmill.cli.embedded_prefect import EmbeddedServer
from pixmill.cli.prefect_settings import configure_prefect

TOO_HIGH = 4
RETRIES = 10
THROTTLED = (50429, 50430)


class Account(NamedTuple):
    """What the provider allows: calls per second, calls in flight, seconds a call, and moments when that changes."""

    name: str
    qps: float
    concurrency: int
    latency: float
    moving: bool = False

    @property
    def allowed(self) -> float:
        """Calls per second under whichever limit binds."""
        return min(self.qps, self.concurrency / self.latency)

    @property
    def ceiling(self) -> int:
        """Calls in flight that all three ways are told to use."""
        return TOO_HIGH * self.concurrency

    def lowered(self, calls: int) -> tuple[float, float]:
        """Between which seconds a moving limit is halved, in a run of so many calls at the allowed rate."""
        third = calls / self.allowed / 3
        return third, 3 * third


ACCOUNTS = (
    Account("10 calls/s, 20 in flight, 0.5 s", 10, 20, 0.5),
    Account("50 calls/s, 8 in flight, 0.5 s", 50, 8, 0.5),
    Account(
        "20 calls/s, 12 in flight, 0.5 s; half of both in the middle third",
        20,
        12,
        0.5,
        moving=True,
    ),
)


class Figures(NamedTuple):
    """What came of it: the share of the allowed rate that was used, the throttled share of all calls, jobs without."""

    used: float
    throttled: float
    without: int


Way = Callable[[Path, str, Account, int], None]


def options(folder: Path, account: Account, calls: int) -> dict[str, object]:
    """Return the simulator's options for `account`."""
    given: dict[str, object] = {
        "latency": account.latency,
        "qps": account.qps,
        "concurrency": account.concurrency,
    }
    if account.moving:
        begin, end = account.lowered(calls)
        lower = {
            "between": f"{begin:.1f}s-{end:.1f}s",
            "qps": account.qps / 2,
            "concurrency": account.concurrency // 2,
        }
        given["faults"] = folder / "faults.yaml"
        (folder / "faults.yaml").write_text(json.dumps({"limits": [lower]}))
    return given


def ours(folder: Path, url: str, account: Account, calls: int) -> None:
    """Carry a run out with ceilings that are too high."""
    limits = {"qps": TOO_HIGH * account.qps, "concurrency": account.ceiling}
    with begun(write_config(folder, url, calls, limits)) as run:
        pay(run)
        run.finish()


def semaphore(_folder: Path, url: str, account: Account, calls: int) -> None:
    """Call from a pool of a fixed size; a throttled call waits and tries again."""

    def call(at: int) -> None:
        for retry in range(RETRIES + 1):
            if ask(connections, url, at) not in THROTTLED:
                return
            time.sleep(random.random() * min(30.0, 0.5 * 2.0**retry))

    with (
        session(account.ceiling) as connections,
        ThreadPoolExecutor(account.ceiling) as pool,
    ):
        list(pool.map(call, range(calls)))


def task_map(folder: Path, url: str, account: Account, calls: int) -> None:
    """Map a plain Prefect task with retries, as its documentation shows."""
    from prefect import flow, task, unmapped
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect.tasks import exponential_backoff

    os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(folder / "results")

    @task(
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(0.5),
        retry_jitter_factor=1,
        persist_result=True,
    )
    def call(at: int, target: str) -> None:
        code = ask(connections, target, at)
        if code in THROTTLED:
            raise RuntimeError(f"throttled: {code}")

    runner = ThreadPoolTaskRunner[Any](max_workers=account.ceiling)

    # To Prefect's types, a runner with futures of its own kind is not one with futures.
    @flow(task_runner=runner)  # type: ignore[arg-type]
    def everything() -> None:
        for future in call.map(range(calls), unmapped(url)):
            future.wait()

    with session(account.ceiling) as connections:
        everything()


def measured(way: Way, account: Account, calls: int) -> Figures:
    """Let one way make all calls on an account of its own; the simulator's bill says what came of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with simulator(folder / "bill.jsonl", **options(folder, account, calls)) as url:
            before = time.perf_counter()
            way(folder, url, account, calls)
            seconds = time.perf_counter() - before
        lines = [
            json.loads(line)
            for line in (folder / "bill.jsonl").read_text().splitlines()
        ]
    good = len({line["key"] for line in lines if line["charged"]})
    throttled = sum(line["code"] in THROTTLED for line in lines)
    return Figures(
        good / _allowed(account, calls, seconds), throttled / len(lines), calls - good
    )


def _allowed(account: Account, calls: int, seconds: float) -> float:
    """How many calls `account` allows in that time."""
    if not account.moving:
        return account.allowed * seconds
    begin, end = account.lowered(calls)
    return account.allowed * (seconds - max(0.0, min(seconds, end) - begin) / 2)


def main() -> None:
    """Print one line per account and way."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    os.environ["PIXMILL_API_KEY"] = KEY
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    configure_prefect()
    server = EmbeddedServer()
    try:
        server.use()
        for account in ACCOUNTS:
            print(account.name)
            made = 3 * calls if account.moving else calls
            for name, way in (
                ("pixmill", ours),
                ("fixed semaphore", semaphore),
                ("Prefect task.map", task_map),
            ):
                figures = measured(way, account, made)
                print(
                    f"  {name:17} {figures.used:6.1%} of the allowed rate, {figures.throttled:5.1%} throttled, "
                    f"{figures.without} of {made} without a picture",
                    flush=True,
                )
    finally:
        server.close()
    os._exit(0)  # what task.map left undelivered would be retried for minutes


if __name__ == "__main__":
    main()
