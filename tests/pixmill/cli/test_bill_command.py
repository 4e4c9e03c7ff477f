"""`pixmill bill` and `pixmill ledger` as people and programs use them."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixmill.ledger.schema import SCHEMA_VERSION
from tests.conftest import Project, run_config, simulator
from tests.pixmill.ledger.billing.billing import books
from tests.real_command import Command


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A ledger of November 2026: 62 calls at 0.20 that were charged, 4 that may be, and 2 that were not."""
    with books(tmp_path / "out") as book:
        for at in range(68):
            charged = "yes" if at < 62 else "unknown" if at < 66 else "no"
            book.call(f"2026-11-{at % 28 + 1:02}T12:00", charged)
    return tmp_path / "out"


def test_people_get_one_sentence_and_a_table(store: Path, pixmill: Command) -> None:
    shown = pixmill("bill", str(store), "--month", "2026-11")
    assert (shown.exit_code, shown.stdout) == (0, "")
    lines = shown.stderr.splitlines()
    assert (
        lines[0]
        == "2026-11 (Asia/Shanghai): 12.40 to 13.20 CNY for 62 charged of 68 calls"
    )
    assert lines[1] == "  4 calls may have been charged or not"
    assert lines[-1].split() == [
        "total",
        "68",
        "62",
        "12.40",
        "4",
        "0.80",
        "2",
        "12.40",
        "to",
        "13.20",
        "CNY",
    ]
    assert "\x1b" not in shown.stderr


def test_a_program_gets_all_of_it_on_one_line(store: Path, pixmill: Command) -> None:
    shown = pixmill(
        "bill",
        str(store / "ledger.db"),
        "--month",
        "2026-11",
        "--by",
        "code,day",
        "--json",
    )
    assert shown.stdout.count("\n") == 1
    said = shown.report
    assert (said["period"], said["timezone"], said["by"]) == (
        "2026-11",
        "Asia/Shanghai",
        ["code", "day"],
    )
    (total,) = said["totals"]
    assert total["cost"] == {"least": 12.4, "most": 13.2, "currency": "CNY"}
    assert (
        total["calls"],
        total["yes"]["calls"],
        total["no"],
        total["unknown"]["calls"],
    ) == (
        68,
        62,
        {"calls": 2},
        4,
    )
    assert sum(line["calls"] for line in said["lines"]) == 68
    assert {line["code"] for line in said["lines"]} == {"10000", "50400", "http_504"}


def test_an_unknown_price_is_printed_as_unknown(
    tmp_path: Path, pixmill: Command
) -> None:
    with books(tmp_path) as book:
        book.call("2026-11-05T12:00", price=None)
    lines = pixmill("bill", str(tmp_path), "--month", "2026-11").stderr.splitlines()
    assert lines[0] == "2026-11 (Asia/Shanghai): unknown for 1 charged of 1 call"
    assert "budget.price_per_call" in lines[1]
    assert "0.00" not in "".join(lines)


def test_an_export_that_differs_exits_3_and_says_where(
    store: Path, tmp_path: Path, pixmill: Command
) -> None:
    export = tmp_path / "console.csv"
    days = [(at, 4 if at == 3 else 3 if at <= 6 else 2) for at in range(1, 29)]
    export.write_text(
        "日期,调用次数\n"
        + "".join(f"2026-11-{day:02},{calls}\n" for day, calls in days)
    )
    shown = pixmill("bill", str(store), "--against", str(export), "--json")
    assert shown.exit_code == 3
    assert "day from 日期, calls from 调用次数" in shown.stderr
    assert [
        day["day"] for day in shown.report["against"]["days"] if day["differs"]
    ] == ["2026-11-03"]
    row = next(
        line for line in shown.stderr.splitlines() if line.startswith("2026-11-03")
    )
    assert row.endswith("+1 calls")


def test_text_of_an_export_can_t_move_the_cursor(
    store: Path, tmp_path: Path, pixmill: Command
) -> None:
    export = tmp_path / "console.csv"
    export.write_text("date \x1b[2J,request_id\n2026-11-01,\x1b]0;title\x07[bold]x\n")
    shown = pixmill("bill", str(store), "--against", str(export))
    assert shown.exit_code == 3
    assert not {"\x1b", "\x07"} & set(shown.stderr)
    assert "[bold]x" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("{tmp}/nowhere",), "there is no ledger"),
        (("{tmp}/out", "--month", "2026-13"), "not a month"),
        (("{tmp}/out", "--by", "hour"), "is not a valid group"),
        (("{tmp}/out", "--timezone", "Mars/Olympus"), "not a valid time zone"),
        (("{tmp}/out", "--against", "{tmp}/nothing.csv"), "no such file"),
    ],
)
def test_what_can_t_be_answered_exits_2(
    store: Path,
    tmp_path: Path,
    pixmill: Command,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    shown = pixmill(
        "bill", *(argument.format(tmp=tmp_path) for argument in arguments), "--json"
    )
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert complaint in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_store_whose_only_ledger_is_the_simulator_s_says_so(
    tmp_path: Path, pixmill: Command
) -> None:
    with books(tmp_path / "out" / "simulated"):
        pass
    assert (
        f"{tmp_path}/out/simulated/ledger.db"
        in pixmill("bill", str(tmp_path / "out")).stderr
    )


def test_the_bill_is_the_provider_s_own_to_the_call(
    project: Project, tmp_path: Path, pixmill: Command
) -> None:
    """The simulator's bill, as a console would export it: every call is explained, those in doubt are named."""
    lines = _run_with_faults(project, tmp_path)
    lost = [line["request_id"] for line in lines if line["code"] is None]
    charged = sum(line["charged"] for line in lines)
    assert len(lost) == 3
    export = tmp_path / "console.csv"
    export.write_text(f"calls,amount\n{charged},{charged * 2 / 10}\n")
    shown = pixmill(
        "bill",
        project.path,
        "--month",
        "all",
        "--by",
        "code",
        "--against",
        str(export),
        "--json",
    )
    assert shown.exit_code == 0, shown.stderr
    (total,) = shown.report["totals"]
    assert (total["calls"], total["yes"]["calls"], total["unknown"]["calls"]) == (
        len(lines),
        charged - 3,
        3,
    )
    assert total["cost"] == {
        "least": (charged - 3) * 2 / 10,
        "most": charged * 2 / 10,
        "currency": "CNY",
    }
    codes = Counter(str(line["code"] or "http_504") for line in lines)
    assert {line["code"]: line["calls"] for line in shown.report["lines"]} == codes
    _write_requests(export, lines)
    shown = pixmill("bill", project.path, "--against", str(export), "--json")
    assert shown.exit_code == 3
    found = shown.report["against"]
    assert found["only_console"] == {"number": 3, "ids": sorted(lost)}
    assert found["only_ledger"]["number"] == 0
    assert not any(day["differs"] for day in found["days"])


def _run_with_faults(project: Project, folder: Path) -> list[dict[str, Any]]:
    """Pay for 30 rows, of which the first calls are throttled, one is refused and three get no answer but cost."""
    faults = folder / "faults.yaml"
    faults.write_text(
        '- {calls: "1-3", code: 50429}\n- {prompt: a pet 29, code: 50411}\n'
        '- {calls: "9-11", status: 504, body: <html>Timeout</html>, charged: true}\n'
    )
    project.write_rows(project.rows(30))
    with simulator(folder, "--faults", str(faults)) as simulated:
        project.use_simulator(simulated)
        project.write_config(budget={"price_per_call": 0.2})
        run_config(project.path)
    return simulated.bill.lines()


def _write_requests(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "request_id", "amount"])
        writer.writerows(
            [line["time"], line["request_id"], 0.2 if line["charged"] else 0]
            for line in lines
        )


def test_stats_count_what_is_there(store: Path, pixmill: Command) -> None:
    images = store / "images" / "ab"
    images.mkdir(parents=True)
    (images / "one.jpg").write_bytes(b"x" * 1500)
    shown = pixmill("ledger", "stats", str(store), "--json")
    said = shown.report
    assert (said["jobs"], said["attempts"], said["runs"], said["schema_version"]) == (
        68,
        68,
        1,
        SCHEMA_VERSION,
    )
    assert said["states"] == {"failed": 2, "in_doubt": 4, "succeeded": 62}
    assert (said["images"], said["images_bytes"]) == (1, 1500)
    assert (said["first"], said["last"]) == (
        "2026-11-01T04:00:00+00:00",
        "2026-11-28T04:00:00+00:00",
    )
    assert said["ledger_bytes"] == (store / "ledger.db").stat().st_size
    assert "68 jobs: 2 failed, 4 in doubt, 62 succeeded" in shown.stderr
    assert (
        "68 calls in 1 runs, from 2026-11-01 04:00 to 2026-11-28 04:00 UTC"
        in shown.stderr
    )


def test_a_backup_bills_the_same(store: Path, tmp_path: Path, pixmill: Command) -> None:
    out = tmp_path / "safe" / "ledger.db"
    shown = pixmill("ledger", "backup", str(store), "--out", str(out), "--json")
    assert (shown.exit_code, shown.report["attempts"]) == (0, 68)
    again = pixmill("ledger", "backup", str(store), "--out", str(out))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    bills = [
        pixmill("bill", str(of), "--month", "all", "--json").stdout
        for of in (store, out)
    ]
    assert bills[0] == bills[1]
