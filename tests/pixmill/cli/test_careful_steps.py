"""No wrong step costs money: a plan says what its run would do, and nothing is asked or shown where nothing is paid."""

import os
import sys
from typing import Any

import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.problem_rows import find_problem_rows
from pixmill.execution.prepare import prepare
from pixmill.execution.status import read_status
from pixmill.ledger import open_ledger
from tests.conftest import Project, pay_for_chunks, results, run_config
from tests.pixmill.cli.test_commands import json_line, pixmill


def gateway(project: Project, **changes: Any) -> str:
    """A config that pays a provider that is not there."""
    return project.write_config(
        provider={"kind": "gateway", "base_url": "http://127.0.0.1:9"},
        input={"row_key": ["id"]},
        budget={"max_calls": 100, "price_per_call": 0.2},
        **changes,
    )


@pytest.mark.parametrize(
    ("flags", "calls", "cost", "rows"),
    [
        ((), 7, 1.4, ["r0", "r1", "r2", "r3", "r4"]),
        (("--limit", "2"), 2, 0.4, ["r0", "r1"]),
        (("-n", "100"), 7, 1.4, ["r0", "r1", "r2", "r3", "r4"]),
        (("--rows", "3"), 3, 0.6, ["r0", "r1", "r2"]),
        (("--limit", "1", "--rows", "3"), 1, 0.2, ["r0"]),
        (("--rows", "0"), 0, 0.0, []),
    ],
)
def test_a_plan_says_what_its_run_would_pay_for(
    project: Project, flags: tuple[str, ...], calls: int, cost: float, rows: list[str]
) -> None:
    project.write_rows(project.rows(7))
    path = gateway(project)
    shown = pixmill("plan", path, *flags, "--json")
    said: Any = json_line(shown)["run"]
    assert (said["calls"], said["refused"], said["first_rows"]) == (calls, None, rows)
    assert said["cost"] == pytest.approx(cost)
    if calls:
        more = ", …" if calls > len(rows) else ""
        assert f", {cost:.2f} CNY, of {', '.join(rows)}{more}\n" in shown.stderr
        assert f"run would start a new ledger: {project.folder}/out/" in shown.stderr
        long = " ".join(flags).replace("-n ", "--limit ")
        assert (
            shown.stderr.splitlines()[-1].strip()
            == f"next: pixmill run {path} {long}".strip()
        )


def test_of_a_sweep_the_rows_are_named_once(project: Project) -> None:
    project.write_rows(project.rows(7))
    path = gateway(project, sweep={"scale": [2, 3, 4]})
    assert ", of r0, r1\n" in pixmill("plan", path, "--rows", "2").stderr
    assert ", of r0, r1, r2, r3, r4, …\n" in pixmill("plan", path).stderr


def test_every_condition_has_its_count_in_the_plan_and_a_warning_where_it_never_holds(
    project: Project,
) -> None:
    rows = [
        {**row, "kind": kind} for row, kind in zip(project.rows(4), "aabb", strict=True)
    ]
    project.write_rows(rows)
    path = project.write_config(
        input={"where": "kind in ['a', 'b'] and id != 'r3'"},
        sweep={
            "scale": [2, 3, 4],
            "exclude": ["scale > 9", "scale == 4 and kind == 'c'", "scale == 3"],
            "only": ["scale < 4 or kind == 'a'"],
        },
    )
    shown = pixmill("plan", path, "--json")
    said: Any = json_line(shown)
    assert [
        (of["config_path"], of["matched"], of["of"], of["unit"])
        for of in said["conditions"]
    ] == [
        ("input.where", 3, 4, "rows"),
        ("sweep.exclude.0", 0, 3, "points"),
        ("sweep.exclude.1", 0, 6, "jobs"),
        ("sweep.exclude.2", 1, 3, "points"),
        ("sweep.only.0", 5, 6, "jobs"),
    ]
    assert "      input.where: kind in ['a', 'b']" in shown.stderr
    assert "holds for 3 of 4 rows\n" in shown.stderr
    for command in ("plan", "run"):
        shown = pixmill(command, path, *(("--rows", "0") if command == "run" else ()))
        assert (
            "  warning: sweep.exclude.0: scale > 9   holds for 0 of 3 points"
            in shown.stderr
        )
        assert "  warning: sweep.exclude.1: " in shown.stderr
        assert shown.stderr.count("warning: sweep.") == 2
    nothing = pixmill("plan", path, "--set", "input.where=\"kind == 'z'\"")
    assert "warning: input.where: kind == 'z'   holds for 0 of 4 rows" in nothing.stderr


def test_a_plan_says_that_its_run_would_refuse(project: Project) -> None:
    rows = project.rows(4)
    rows[1]["text"] = ""
    project.write_rows(rows)
    shown = pixmill("plan", gateway(project), "--json")
    assert shown.returncode == 0
    assert "run would refuse: 1 of 4 rows is invalid (1 empty_prompt)" in shown.stderr
    said: Any = json_line(shown)["run"]
    assert "1 of 4 rows" in said.pop("refused")
    assert not said.pop("first_rows")
    assert said.keys() > {"calls", "cost", "most_calls"}
    assert set(said.values()) == {0}
    assert "next: " not in shown.stderr


def test_a_missing_key_is_said_before_anybody_has_to_agree_to_pay(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIXMILL_API_KEY")
    project.write_rows(project.rows(2))
    path = gateway(project)
    # With a ledger that exists, no server is started beforehand.
    open_ledger(load_config(path).ledger_address).close()
    said = pixmill("run", path)
    assert said.returncode == 2
    assert "PIXMILL_API_KEY is not set" in said.stderr
    assert "--yes" not in said.stderr


def test_the_first_rows_are_those_of_the_table_and_not_the_next_ones(
    project: Project,
) -> None:
    rows = project.rows(6)
    rows[1]["text"] = " "
    project.write_rows(rows)
    path = project.write_config(input={"row_key": ["id"], "max_invalid": 1})
    assert run_config(path, limit=1)["calls"] == 1

    def pay(count: int) -> dict[str, Any]:
        with prepare(load_config(path), rows=count) as prepared:
            run = prepared.start()
            pay_for_chunks(run)
            return run.finish().as_dict()

    report = pay(3)
    assert (report["calls"], report["succeeded"], report["skipped"]) == (1, 2, 3)
    assert [row["row_key"] for row in results(report) if row["status"] == "succeeded"] == ["r0", "r2"]  # fmt: skip
    assert pay(3)["calls"] == 0


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("per_row", False), ("per_key", True), ("fixed", True)],
)
def test_an_edited_prompt_keeps_its_seed_where_seeds_are_of_keys(
    project: Project, policy: str, kept: bool
) -> None:
    rows = project.rows(3)
    project.write_rows(rows)
    path = project.write_config(
        input={"row_key": ["id"]},
        seed={"policy": policy, "replicates": 2},
        sweep={"scale": [2, 3]},
    )
    before = results(run_config(path))
    if policy == "per_key":
        # Points share the seed of their row and replicate; rows and replicates have their own.
        drawn = {(row["row_key"], row["replicate"], row["seed"]) for row in before}
        assert len(drawn) == len({seed for *_, seed in drawn}) == 3 * 2
    rows[1]["text"] = "another pet"
    rows[1]["photo"] = "https://images.example.com/new.jpg"
    rows.reverse()
    project.write_rows(rows)
    shown = pixmill("plan", path)
    changed = "note: 4 jobs to pay for would be drawn with another seed"
    assert (changed in shown.stderr) is not kept
    # What the other policy costs is said with it: of 3 rows × 2 points × 2 replicates all keys change.
    price = "per_key keeps the seed of an edited row, but is for new datasets: switching now pays for all 12 again"
    assert (price in shown.stderr) is not kept
    after = results(run_config(path))

    def seeds(dataset: list[dict[str, Any]]) -> dict[tuple[Any, ...], int]:
        return {
            (row["row_key"], row["point_id"], row["replicate"]): row["seed"]
            for row in dataset
        }

    assert (seeds(after) == seeds(before)) is kept


def test_a_switch_of_the_seed_policy_is_not_recommended_to_whoever_has_switched(
    project: Project,
) -> None:
    project.write_rows(project.rows(2))
    path = project.write_config(input={"row_key": ["id"]})
    run_config(path)
    shown = pixmill("plan", path, "--set", "seed.policy=per_key").stderr
    assert "note: 2 jobs to pay for would be drawn with another seed than the" in shown
    assert "per_key keeps" not in shown
    assert "changed since the last run: seed.policy: per_row → per_key" in shown


def test_invalid_rows_that_are_accepted_or_were_told_of_are_no_next_step(
    project: Project,
) -> None:
    rows = project.rows(4)
    rows[1]["text"] = ""
    project.write_rows(rows)
    path = project.write_config(input={"max_invalid": 1})
    validate = "pixmill validate c.yaml"
    export = "pixmill export c.yaml --format csv --out pets-export.csv"
    assert run_config(path)["exit_code"] == 3
    # The run has named the row.
    assert read_status(load_config(path)).next_command("c.yaml") == export
    # Another one is news, unless a share of them is accepted.
    rows[2]["text"] = ""
    project.write_rows(rows)
    assert read_status(load_config(path)).next_command("c.yaml") == validate
    accepting = load_config(path, ["accept.invalid=0.5"])
    assert read_status(accepting).next_command("c.yaml") == export


def test_seeds_of_keys_need_keys(project: Project) -> None:
    project.write_rows(project.rows(1))
    shown = pixmill("plan", project.write_config(seed={"policy": "per_key"}))
    assert shown.returncode == 2
    assert "seed.policy: 'per_key' needs input.row_key" in shown.stderr


@pytest.mark.slow
def test_a_simulated_run_asks_nothing_shows_no_money_and_names_rows_without_an_image(
    project: Project,
) -> None:
    rows = project.rows(15)
    for at, row in enumerate(rows[:13]):
        row["text"] = f"{'refuse' if at > 8 else 'break'} this {at}"
    project.write_rows(rows)
    faults = project.folder / "faults.yaml"
    faults.write_text(
        "rules:\n"
        "- {prompt: refuse, code: 50511}\n"
        "- {prompt: break, code: 50400, message: no such thing}\n"
    )
    path = project.write_config(
        input={"row_key": ["id"]},
        budget={"price_per_call": 0.2},
        retry={"rerolls": 0, "codes": {"50400": "failed"}},
        stop={"failed_fraction": 1, "refused_fraction": 1},
    )
    shown = pixmill("run", path, "--rehearse", str(faults), "--rows", "14", "--json")
    said = json_line(shown)
    counts = [said[name] for name in ("failed", "refused", "succeeded", "skipped")]
    assert counts == [9, 4, 1, 1], shown.stderr
    assert "[simulated] pets: 15 rows" in shown.stderr
    assert "15  to make, by the simulator" in shown.stderr
    assert "[simulated] finished with new problems" in shown.stderr
    by_status = pixmill("status", path)
    assert "[simulated] pets: 1 of 15" in by_status.stderr
    for text in (shown.stderr, by_status.stderr):
        assert "CNY" not in text
        assert "      row 1 · r0: failed, 50400: no such thing\n" in text
        assert "      row 10 · r9: refused, 50511: " in text
        assert "      … and 3 more; the report has all of them\n" in text
        assert text.count("      row ") == 10
    assert len(find_problem_rows(load_config(path), ("refused",))) == 4
    assert find_problem_rows(load_config(path, ["name=new"]), ("refused",)) == []


def test_a_warning_stays_on_the_screen_while_progress_is_drawn() -> None:
    """The block is drawn over its own lines only: what is said meanwhile is above it."""
    program = """
import logging, threading, time
from rich.console import Console
from rich.live import Live
from rich.text import Text
from pixmill.cli.console import echo, show_warnings
import sys
show_warnings()
with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
    for at in range(4):
        live.update(Text(f"frame {at}\\nsecond line"), refresh=True)
        logging.getLogger("pixmill.x").warning("the image of job %s is gone", at)
        echo(f"plain {at}")
echo("the end")
"""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "30"}
        os.execv(sys.executable, [sys.executable, "-c", program])
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        # Linux: everybody on the other side has left.
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    lines = [line for line in screen(shown.decode()) if line]
    expected = [
        line
        for at in range(4)
        for line in (f"warning: the image of job {at} is gone", f"plain {at}")
    ]
    assert lines == [*expected, "the end"]


def screen(shown: str) -> list[str]:
    """What stands on a terminal in the end: lines, returns, the cursor up, and lines erased."""
    lines = [""]
    at = 0
    rest = shown
    while rest:
        if rest.startswith("\x1b["):
            length = next(n for n, char in enumerate(rest[2:]) if char.isalpha())
            code, kind = rest[2 : 2 + length], rest[2 + length]
            rest = rest[3 + length :]
            if kind == "A":
                at = max(0, at - int(code or 1))
            elif kind == "K":
                lines[at] = ""
        else:
            char, rest = rest[0], rest[1:]
            if char == "\n":
                at += 1
                lines += [""] * (at + 1 - len(lines))
            elif char != "\r":
                lines[at] += char
    return [line.rstrip() for line in lines]
