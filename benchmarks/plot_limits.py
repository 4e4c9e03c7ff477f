"""Two real runs against the simulator, drawn: how the limiter finds limits that it is not told, and follows them.

    python benchmarks/plot_limits.py      # about 80 seconds; writes docs/limits.svg

Both runs have ceilings that are far too high. In the middle third the provider halves its limits; then they come
back. One run is bound by the rate, the other by the calls in flight.
"""

import json
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from account import KEY, begun, pay, simulator, write_config

THIRD = 25.0
"""Seconds until the limits halve, and from then until they are back."""
SAMPLE_SECONDS = 0.1
THROTTLED = (50429, 50430)
TARGET = Path(__file__).parent.parent / "docs" / "limits.svg"
WIDTH, HEIGHT = 760, 220
LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 46, 34, 700, 150


class Scenario(NamedTuple):
    """An account whose limits halve for a while, and the ceilings of a config that does not know them."""

    title: str
    qps: int
    concurrency: int
    latency: float
    ceilings: dict[str, int]
    by_rate: bool

    @property
    def bound(self) -> int:
        """The limit that binds."""
        return self.qps if self.by_rate else self.concurrency

    @property
    def calls(self) -> int:
        """As many as the account allows in the three thirds."""
        allowed = self.qps if self.by_rate else self.concurrency / self.latency
        return int(2.5 * THIRD * allowed)


SCENARIOS = (
    Scenario(
        "Rate: the provider allows 20, 10, 20 calls/s; limits.qps is 40",
        20,
        200,
        0.5,
        {"qps": 40, "concurrency": 200},
        by_rate=True,
    ),
    Scenario(
        "Calls in flight: the provider allows 12, 6, 12; limits.concurrency is 48",
        200,
        12,
        0.8,
        {"qps": 200, "concurrency": 48},
        by_rate=False,
    ),
)


class Sample(NamedTuple):
    """A moment: the limit in force, and what was in use of it."""

    at: float
    limit: float
    used: float


class Measured(NamedTuple):
    """A run: samples of it, and when calls were served and throttled, in seconds from its beginning."""

    samples: list[Sample]
    served: list[float]
    throttled: list[float]


def measure(scenario: Scenario) -> Measured:
    """Carry out a run of `scenario`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lower = {
            "between": f"{THIRD}s-{2 * THIRD}s",
            "qps": scenario.qps / 2,
            "concurrency": scenario.concurrency // 2,
        }
        (folder / "faults.yaml").write_text(json.dumps({"limits": [lower]}))
        options = {
            "latency": scenario.latency,
            "qps": scenario.qps,
            "concurrency": scenario.concurrency,
            "faults": folder / "faults.yaml",
        }
        samples: list[Sample] = []
        over = threading.Event()
        with (
            simulator(folder / "bill.jsonl", **options) as url,
            begun(write_config(folder, url, scenario.calls, scenario.ceilings)) as run,
        ):
            began = time.time()

            def sample() -> None:
                while not over.wait(SAMPLE_SECONDS):
                    assert run.executor
                    now = run.executor.progress()
                    limit = now.qps if scenario.by_rate else now.limit
                    samples.append(Sample(time.time() - began, limit, now.in_flight))

            sampler = threading.Thread(target=sample)
            sampler.start()
            pay(run)
            over.set()
            sampler.join()
        lines = [
            json.loads(line)
            for line in (folder / "bill.jsonl").read_text().splitlines()
        ]
    served: list[float] = []
    throttled: list[float] = []
    for line in lines:
        at = datetime.fromisoformat(line["time"]).timestamp() - began
        (throttled if line["code"] in THROTTLED else served).append(at)
    return Measured(samples, served, throttled)


def draw(scenario: Scenario, measured: Measured, top: float) -> list[str]:
    """Return one panel as SVG elements, `top` pixels from the top."""
    seconds = 3 * THIRD + 2
    most = 1.7 * scenario.bound

    def x(at: float) -> float:
        return round(LEFT + PLOT_WIDTH * min(max(at, 0.0), seconds) / seconds, 1)

    def y(value: float) -> float:
        return round(top + TOP + PLOT_HEIGHT * (1 - min(value, most) / most), 1)

    def line(points: list[tuple[float, float]], style: str) -> str:
        path = " ".join(f"{x(at)},{y(value)}" for at, value in points)
        return f'<polyline fill="none" {style} points="{path}"/>'

    bound = scenario.bound
    allowed = [
        (0, bound),
        (THIRD, bound),
        (THIRD, bound / 2),
        (2 * THIRD, bound / 2),
        (2 * THIRD, bound),
        (seconds, bound),
    ]
    used = [(sample.at, sample.used) for sample in measured.samples]
    if scenario.by_rate:
        used = [
            (second + 0.5, sum(second <= at < second + 1 for at in measured.served))
            for second in range(int(seconds))
        ]
    parts = [
        f'<text x="{LEFT}" y="{top + 20}" font-weight="bold">{scenario.title}</text>'
    ]
    for value in (0, bound / 2, bound, 1.5 * bound):
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + PLOT_WIDTH}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
        )
    parts.append(line(used, 'stroke="#9ecae1" stroke-width="3"'))
    parts.append(line(allowed, 'stroke="#555" stroke-dasharray="5 4"'))
    limits = [(sample.at, sample.limit) for sample in measured.samples]
    parts.append(line(limits, 'stroke="#08519c" stroke-width="1.5"'))
    for at in measured.throttled:
        parts.append(
            f'<line x1="{x(at)}" x2="{x(at)}" y1="{y(0)}" y2="{y(0) - 10}" stroke="#d7301f"/>'
        )
    return parts


def main() -> None:
    """Measure both runs at once, and write the picture."""
    os.environ["PIXMILL_API_KEY"] = KEY
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        runs = list(pool.map(measure, SCENARIOS))
    height = HEIGHT * len(SCENARIOS) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        f' font-size="12"><rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    ]
    for at, (scenario, measured) in enumerate(zip(SCENARIOS, runs, strict=True)):
        parts += draw(scenario, measured, at * HEIGHT)
        calls = len(measured.served) + len(measured.throttled)
        print(
            f"{scenario.title}: {len(measured.throttled) / calls:.1%} of {calls} calls throttled"
        )
    legend = (
        "dark: limit in force · light: in use (served each second, or in flight) · "
        "dashed: allowed · red: throttled · 77 seconds"
    )
    parts.append(
        f'<text x="{LEFT}" y="{height - 12}" fill="#333">{legend}</text></svg>'
    )
    TARGET.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
