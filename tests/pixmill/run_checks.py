"""Runs that are checked after every end: a provider that fails as told and keeps a bill, and what must always hold.

The bill is the worst case: a fault that leaves a call in doubt was charged unless the test says otherwise.
"""

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pixmill.config.loading import load_config
from tests.conftest import Project, Simulated, results, run_config
from tests.faulty_server import Behaviour, FaultyServer, Peer, answer, message
from tests.pixmill.provider.answer_bodies import error, success
from tests.real_command import CommandResult

PATIENCE = 60.0
"""Seconds after which a run counts as hung (I7): many times what any run here takes."""

OUTCOMES = ("succeeded", "failed", "refused", "in_doubt", "invalid", "skipped")


class Charge(NamedTuple):
    """One charged call on the provider's own bill: what was asked for, and the id that the answer carried."""

    asked: str
    request_id: str


class Fault(NamedTuple):
    """What a call meets in place of a picture."""

    behaviour: Behaviour
    charged: bool


def charged_but_lost(behaviour: Behaviour) -> Fault:
    """A call that is charged although its answer never arrives whole."""
    return Fault(behaviour, charged=True)


def error_response(code: object, status: int = 400, **headers: str) -> Fault:
    """A service error as documented, not charged."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(
        answer(json.dumps(error(code, "scripted")).encode(), status, named),
        charged=False,
    )


class Provider(FaultyServer):
    """Answers each call with a picture of its own, but for the `faults` of call numbers (from 1) and prompts.

    A fault is met once, so that a call made again shows; `every` is met by all other calls. `delay` (seconds) is how
    long a call takes, and `close` ends the connection after each picture.
    `body` makes the answer to a prompt. `arrived` has the monotonic time of each call, `together` how many were in
    flight when it came.
    """

    def __init__(
        self,
        faults: Mapping[int | str, Fault] | None = None,
        *,
        every: Fault | None = None,
        delay: float = 0.0,
        close: bool = False,
        body: Callable[[str, int], bytes] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(self._respond, **options)
        self.faults, self.every, self.delay, self.close_each = (
            dict(faults or {}),
            every,
            delay,
            close,
        )
        self.body = body or picture
        self.bill: list[Charge] = []
        self.prompts: list[str] = []
        self.arrived: list[float] = []
        self.together: list[int] = []
        self._in_flight = 0
        self._count = threading.Lock()

    def charges(self) -> list[Charge]:
        return list(self.bill)

    def _respond(self, peer: Peer) -> None:
        asked = json.loads(peer.request.partition(b"\r\n\r\n")[2])
        with self._count:
            self._in_flight += 1
            self.arrived.append(time.monotonic())
            self.together.append(self._in_flight)
            self.prompts.append(asked["prompt"])
            number = len(self.prompts)
            fault = (
                self.faults.pop(number, None)
                or self.faults.pop(asked["prompt"], None)
                or self.every
            )
            if fault is None or fault.charged:
                self.bill.append(
                    Charge(json.dumps(asked, sort_keys=True), f"call-{number}")
                )
        self._stopped.wait(self.delay)
        with self._count:
            self._in_flight -= 1
        if fault:
            fault.behaviour(peer)
        else:
            peer.send(message(self.body(asked["prompt"], number)))
            if self.close_each:
                peer.close()


def picture(prompt: str, number: int = 0) -> bytes:
    """The body of a success whose image URL tells for which prompt it is."""
    url = f"https://images.example.com/{prompt.replace(' ', '-')}.jpg"
    return json.dumps(
        {**success(image_urls=[url]), "request_id": f"call-{number}"}
    ).encode()


def configure_run(project: Project, url: str, rows: int, **changes: Any) -> str:
    """Write a table of `rows` rows and a config that calls the gateway at `url` and fetches no images."""
    project.write_rows(project.rows(rows))
    project.write_config(
        provider={"kind": "gateway", "base_url": url},
        output={"images": "url"},
        budget={"max_calls": 100_000},
    )
    return project.write_config(**changes)


@contextmanager
def images_blocked(project: Project) -> Iterator[None]:
    """A store in which no image can be written until the body ends: a file stands for each of its folders."""
    images = Path(project.config["store"]) / "images"
    images.mkdir(parents=True)
    for number in range(256):
        (images / f"{number:02x}").write_text("in the way")
    yield
    for obstacle in images.iterdir():
        obstacle.unlink()


def faults_file(folder: Path, *rules: dict[str, Any]) -> Path:
    """Write a faults file for the simulator."""
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(list(rules)))
    return path


def simulator_charges(simulated: Simulated) -> Callable[[], list[Charge]]:
    """The charges on a simulator's bill."""
    return lambda: [
        Charge(line["key"], line["request_id"])
        for line in simulated.bill.lines()
        if line["charged"]
    ]


class CheckedRun(NamedTuple):
    """What a run said, and the rows that it published, in input order."""

    report: dict[str, Any]
    rows: list[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


def run_and_check(
    config: str,
    charges: Callable[[], list[Charge]],
    *overrides: str,
    limit: int | None = None,
) -> CheckedRun:
    """Carry a config out to its end and check everything that must hold after any run."""
    report = run_to_end(lambda: run_config(config, *overrides, limit=limit))
    rows = check_run(config, report, charges(), *overrides)
    return CheckedRun(report, rows)


def run_to_end(work: Callable[[], Any]) -> Any:
    """I7: return what `work` returns or raise what it raises; fail where it hangs."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except BaseException as problem:
            outcome.append((None, problem))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, "the run never ended"
    value, problem = outcome[0]
    if problem:
        raise problem
    return value


def check_run(
    config: str, report: Mapping[str, Any], charges: list[Charge], *overrides: str
) -> list[dict[str, Any]]:
    """Check I2, I3 and I4 of a run that ended against the provider's own bill; return the dataset's rows."""
    rows = results(report)
    assert [row["row_number"] for row in rows] == list(range(1, report["rows"] + 1))
    assert report["jobs"] == len(rows) == sum(report[name] for name in OUTCOMES)
    assert Counter(row["status"] for row in rows) == Counter(
        {name: report[name] for name in OUTCOMES if report[name]}
    )
    check_bill(config, charges, *overrides)
    attempts = ledger(
        config,
        "SELECT count(*) FROM attempts WHERE run_id = ?",
        report["run_id"],
        overrides=overrides,
    )
    assert attempts == [(report["calls"],)], (
        "a call was claimed whose end is not in the ledger"
    )
    return rows


def check_bill(config: str, charges: list[Charge], *overrides: str) -> None:
    """I2: nothing is charged twice. I3: what is charged is in the ledger as charged or as unknown, and nothing else."""
    twice = [
        asked
        for asked, count in Counter(charge.asked for charge in charges).items()
        if count > 1
    ]
    assert twice == []
    attempts = ledger(
        config, "SELECT request_id, charged FROM attempts", overrides=overrides
    )
    by_charge: dict[str, set[str]] = {"yes": set(), "no": set(), "unknown": set()}
    for request_id, charged in attempts:
        by_charge[charged].add(request_id)
    on_bill = {charge.request_id for charge in charges}
    assert by_charge["yes"] <= on_bill
    assert not by_charge["no"] & on_bill
    unseen = on_bill - by_charge["yes"] - by_charge["unknown"]
    assert len(unseen) <= sum(
        charged == "unknown" and request_id is None for request_id, charged in attempts
    )
    assert ledger(
        config,
        "SELECT count(*) FROM jobs WHERE state = 'in_flight'",
        overrides=overrides,
    ) == [(0,)]


def ledger(
    config: str, query: str, *values: Any, overrides: tuple[str, ...] = ()
) -> list[tuple[Any, ...]]:
    """What a query on the ledger of a config returns."""
    with closing(
        sqlite3.connect(load_config(config, overrides).store_path / "ledger.db")
    ) as connection:
        return connection.execute(query, values).fetchall()


def assert_usage_error(command: CommandResult, *words: str) -> None:
    """The command ended with 2, one readable complaint and nothing for programs."""
    assert (command.exit_code, command.stdout) == (2, ""), command.stderr
    assert "Traceback" not in command.stderr
    for expected in words:
        assert expected in command.stderr
