"""What all tests share: a clean environment, tables and configs in a temporary folder, the simulator as a server."""

import csv
import gc
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, settings

from pixmill.config.loading import load_config
from pixmill.datasets import dry_publication
from pixmill.execution.prepare import prepare
from pixmill.execution.run import ActiveRun
from pixmill.planning.plan import Plan
from pixmill.simulator import embedded
from tests.fork_server import (
    QUICK_COMMAND,
    close_fork_servers,
    fork_process,
    fork_simulator,
)
from tests.prefect_api import common_server
from tests.real_command import Command

# A loaded machine is no reason for a property to fail.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

# Whoever starts the tests in the background has them ignore Ctrl-C, or hang-ups under nohup, and all that they start
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
KEY = "test-key-0001"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, profile or API of the developer's machine leaks into a test."""
    for name in list(os.environ):
        if name.startswith(("PIXMILL_", "VOLC_", "PREFECT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIXMILL_API_KEY", KEY)


_published_dry: set[tuple[str, str, int]] = set()
"""Columns, output and number of variants of what this process has published dry without a complaint."""


@pytest.fixture(autouse=True)
def dry_publication_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish dry only tables of new types: else that would take a third of what all runs of the tests take.

    What a dry publication is for has tests of its own, which call it directly.
    """
    publish_dry = dry_publication.publish_dry

    def publish_new_types(plan: Plan) -> None:
        for batch in plan.table.batches(1):
            kind = (
                str(batch.rows.schema),
                f"{plan.config.output} {plan.config.quality}",
                len(plan.expander.variants),
            )
            if kind not in _published_dry:
                publish_dry(plan)
                _published_dry.add(kind)
            return

    monkeypatch.setattr(dry_publication, "publish_dry", publish_new_types)


def pytest_collection_finish() -> None:
    """Leave what lives to the end out of each collection of garbage: modules, and thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def fork_servers() -> Iterator[None]:
    """What processes are forked from ends with the session."""
    yield
    close_fork_servers()


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of the Prefect server that all tests share, whatever process they run in."""
    base = tmp_path_factory.getbasetemp()
    with common_server(
        (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
        / "prefect-for-all"
    ) as url:
        yield url


@pytest.fixture(scope="session")
def quick(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command on that server, for tests where neither the server nor a fresh start is what matters."""
    return Command(tmp_path_factory.mktemp("prefect"), prefect_api, forked=True)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A file of real input data; the test is skipped where it is not at hand."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"{name} is not at hand")
        return DATA / name

    return find


class Bill(NamedTuple):
    """The simulator's own record of what it answered."""

    path: Path

    def lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    @property
    def length(self) -> int:
        """How many calls are on it, without a look at them."""
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    @property
    def calls(self) -> int:
        return len(self.lines())

    @property
    def charged(self) -> int:
        return sum(line["charged"] for line in self.lines())

    @property
    def keys(self) -> list[str]:
        return [line["key"] for line in self.lines() if line["charged"]]


class Simulated(NamedTuple):
    """A simulator that runs as a process of its own."""

    url: str
    bill: Bill


@contextmanager
def simulator(folder: Path, *options: str) -> Iterator[Simulated]:
    """Run `pixmill simulate` on a free port until the body ends."""
    bill = folder / "bill.jsonl"
    arguments = (
        "simulate",
        "--port",
        "0",
        "--latency",
        "0",
        "--bill",
        str(bill),
        *options,
    )
    with fork_process(
        QUICK_COMMAND, *arguments, environment={**os.environ, "PIXMILL_API_KEY": KEY}
    ) as process:
        line = next(line for line in process.stderr if "simulator at" in line)
        yield Simulated(line.split()[2], Bill(bill))
        process.terminate()
        process.wait(10)


class Project:
    """A folder with a table and a config to run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: dict[str, Any] = {
            "name": "pets",
            "store": str(folder / "out"),
            "input": {
                "path": str(folder / "pets.csv"),
                "columns": {"image_url": "photo", "prompt": "text"},
            },
            "limits": {"qps": 1000, "concurrency": 4},
        }

    @property
    def path(self) -> str:
        return str(self.folder / "pets.yaml")

    def rows(self, count: int, prefix: str = "a pet") -> list[dict[str, str]]:
        return [
            {
                "id": f"r{at}",
                "photo": f"https://images.example.com/{at}.jpg",
                "text": f"{prefix} {at}",
            }
            for at in range(count)
        ]

    def write_rows(self, rows: Sequence[Mapping[str, str]]) -> None:
        with (self.folder / "pets.csv").open("w", newline="") as file:
            writer = csv.DictWriter(
                file, list(rows[0]) if rows else ["id", "photo", "text"]
            )
            writer.writeheader()
            writer.writerows(rows)

    def write_config(self, **changes: Any) -> str:
        """Write the config with `changes`; those of a section are merged into it."""
        for name, value in changes.items():
            merge = isinstance(value, dict) and isinstance(self.config.get(name), dict)
            self.config[name] = {**self.config[name], **value} if merge else value
        # Thousands of tests write one: libyaml takes a tenth of the time.
        Path(self.path).write_text(yaml.dump(self.config, Dumper=yaml.CSafeDumper))
        return self.path

    def use_simulator(self, simulated: Simulated, **provider: Any) -> None:
        """Let the config call `simulated` through the gateway form."""
        self.write_config(
            provider={"kind": "gateway", "base_url": simulated.url, **provider},
            output={"allow_hosts": ["127.0.0.1"]},
            budget={"max_calls": 100_000},
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    with simulator(tmp_path) as running:
        yield running


def run_config(
    config: str, *overrides: str, limit: int | None = None, painted: bool = False
) -> dict[str, Any]:
    """Run a config through the library, as the flow does but without Prefect; return what `run --json` says.

    Its own simulator is forked and paints quickly, unless the pictures are to be `painted`.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        prepare(load_config(config, overrides), limit) as prepared,
    ):
        if not painted:
            patch.setattr(embedded, "start_child", fork_simulator)
        run = prepared.start()
        pay_for_chunks(run)
        run.fetch_missing()
        return run.finish().as_dict()


def pay_for_chunks(run: ActiveRun) -> None:
    """Pay for what is pending on threads of this process, enough of them to keep all calls in flight."""
    has_more = True
    while has_more:
        with ThreadPoolExecutor(2 * run.config.concurrency) as tasks:
            list(tasks.map(run.process, run.chunks()))
        has_more = run.draw_candidates()


def results(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the dataset that a run published."""
    return pq.read_table(report["dataset"]).to_pylist()  # type: ignore[no-any-return]
