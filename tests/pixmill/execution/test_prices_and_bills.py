"""What a plan says, what the simulator charges and what the ledger adds up: the same to the cent, whoever is killed."""

import subprocess
import sys
from collections import Counter
from contextlib import closing
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pixmill.config.loading import load_config
from pixmill.ledger import open_ledger, queries
from pixmill.ledger.billing.bill import BillLine, Period, make_bill
from pixmill.planning.planner import plan_config
from tests.conftest import ROOT, Project, Simulated, results, run_config, simulator
from tests.pixmill.execution.test_tasks import RUN, tasks_out
from tests.pixmill.run_checks import ledger
from tests.real_command import wait_until

PRICES = {
    ("jimeng_t2i_v40", 1024): "0.22",
    ("jimeng_t2i_v40", 1152): "0.4",
    ("jimeng_t2i_v31", 1024): "0.1",
    ("jimeng_t2i_v31", 1152): "0.2",
    ("jimeng_t2i_v30", 1024): "0.0155",
    ("jimeng_t2i_v30", 1152): "0.07",
}
"""Of an image, by operation and width."""

ROWS = 6


def write_sweep(project: Project, simulated: Simulated, **changes: Any) -> str:
    """Write a config of three operations and two sizes, six prices in all, for 64 threads."""
    project.write_rows(
        [{"id": f"r{at}", "text": f"a lighthouse {at}"} for at in range(ROWS)]
    )
    project.config["input"] = {
        "path": str(project.folder / "pets.csv"),
        "columns": {"prompt": "text"},
    }
    project.use_simulator(simulated)
    req_keys = list(dict.fromkeys(req_key for req_key, _ in PRICES))
    prices = [
        {
            "req_key": req_key,
            "where": f"width == {width}",
            "price": float(price),
            "per": "image",
        }
        for (req_key, width), price in PRICES.items()
    ]
    project.write_config(
        request={"req_key": req_keys[0], "params": {"width": 1024, "height": 1024}},
        sweep={"groups": [{"grid": {"req_key": req_keys, "width": [1024, 1152]}}]},
        limits={"poll_seconds": 0.05, "poll_qps": 1000, "concurrency": 64},
        budget={"prices": prices, "price_per_call": 0.4},
        output={"images": "url"},
        stop={"failed_fraction": 1},
    )
    return project.write_config(**changes)


def charged(lines: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Decimal:
    """What lines of the simulator's bill come to, at the price of the row that each task was for.

    At the lowest price where nobody knows: the process died before it had the task's id on disk.
    """
    widths = {row["task_id"]: row["param_width"] for row in rows}
    total = Decimal(0)
    for line in lines:
        if line["charged"]:
            price = min(
                Decimal(price)
                for (req_key, width), price in PRICES.items()
                if req_key == line["req_key"]
                and widths.get(line["task_id"], width) == width
            )
            total += price * line["images"]
    return total


def spent(config: str) -> dict[str, Decimal]:
    opened = open_ledger(load_config(config).ledger_address, read_only=True)
    assert opened
    with closing(opened):
        return opened.read(queries.spent)


def kill_when(config: str, tasks: int) -> None:
    """Run in a process that is killed once so many tasks are out."""
    process = subprocess.Popen([sys.executable, "-c", RUN, config], cwd=ROOT)
    try:
        wait_until(
            lambda: tasks_out(config) >= tasks or process.poll() is not None, "tasks"
        )
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_six_prices_come_to_what_the_plan_said_through_two_kills(
    project: Project,
) -> None:
    with simulator(project.folder, "--latency", "0.4") as simulated:
        config = write_sweep(project, simulated)
        plan = plan_config(load_config(config))
        wanted = ROWS * sum(map(Decimal, PRICES.values()))
        assert plan.least_cost == plan.most_cost == wanted
        for tasks in (5, 3):
            kill_when(config, tasks)
        report = run_config(config)
        rows = results(report)
        # A submit whose process died before its answer was on disk may have been charged; what is
        # not known of it is its task.
        doubtful = [row for row in rows if row["status"] == "in_doubt"]
        lines = simulated.bill.lines()
        sent = {line["task_id"] for line in lines if line["charged"]}
        known = {row["task_id"] for row in rows if row["task_id"]}
        assert len(sent - known) <= len(doubtful)
        assert Counter(row["status"] for row in rows).keys() <= {
            "succeeded",
            "in_doubt",
        }
        money = spent(config)
        unsure = [
            Decimal(PRICES[row["req_key"], row["param_width"]]) for row in doubtful
        ]
        assert money["yes"] + money.get("unknown", Decimal(0)) == wanted
        assert money.get("unknown", Decimal(0)) == sum(unsure)
        assert sum(Decimal(str(row["cost"] or 0)) for row in rows) == money["yes"]
        told = [line for line in lines if line["task_id"] in known]
        assert charged(told, rows) == money["yes"]
        opened = open_ledger(load_config(config).ledger_address, read_only=True)
        assert opened
        with closing(opened):
            period = Period("all", ZoneInfo("Asia/Shanghai"))
            (total,) = make_bill(opened, period).totals
        assert (total.least, total.most) == (money["yes"], wanted)
        assert total.no == BillLine(total.no.calls)


@pytest.mark.slow
@pytest.mark.parametrize("cap", ["max_cost", "max_cost_per_month"])
def test_groups_of_images_never_pass_a_cap_by_a_cent(
    project: Project, cap: str
) -> None:
    """One to four images a call, fourteen or fifteen at most: what may come is reserved until it is here."""
    limit = Decimal("9.13")
    with simulator(project.folder, "--latency", "0.2") as simulated:
        config = write_sweep(project, simulated)
        request = {
            "req_key": "jimeng_t2i_v40",
            "params": {"width": 1024, "height": 1024, "force_single": False},
        }
        only_v40 = {"groups": [{"grid": {"width": [1024, 1152]}}]}
        project.write_config(request=request, sweep=only_v40)
        budget = {**project.config["budget"], cap: float(limit)}
        config = project.write_config(budget=budget)
        project.write_rows(
            [{"id": f"r{at}", "text": f"a lighthouse {at}"} for at in range(40)]
        )
        plan = plan_config(load_config(config))
        assert plan.least_cost == 40 * Decimal("0.62")
        assert plan.most_cost == 40 * 15 * Decimal("0.62")
        kill_when(config, 1)
        for _ in range(3):
            report = run_config(config)
            assert report["exit_code"] == 4
            bill = charged(simulated.bill.lines(), results(report))
            if cap == "max_cost_per_month":
                assert bill <= limit
            of_runs = ledger(
                config,
                "SELECT run_id, sum(amount) FROM attempts WHERE charged <> 'no' GROUP BY run_id",
            )
            assert all(units <= limit * 10**9 for _, units in of_runs)
        counts = [row["image_count"] for row in results(report) if row["image_count"]]
        assert len(set(counts)) > 1
        assert max(counts) <= 4
        in_all = spent(config)
        if cap == "max_cost_per_month":
            assert sum(in_all.values()) <= limit
            # Less than the dearest call could cost is left of it.
            assert sum(in_all.values()) > limit - 15 * Decimal("0.4")
