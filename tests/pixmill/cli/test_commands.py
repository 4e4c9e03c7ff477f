"""The commands as people and programs use them: what is printed where, and the exit codes. None of these pays."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from pixmill.cli import app
from pixmill.cli.console import print_json
from pixmill.config.json_schema import schema_text
from tests.conftest import ROOT, Bill, Project, Simulated, run_config
from tests.fork_server import COMMAND, fork_process

ChunkResult = subprocess.CompletedProcess[str]


def pixmill(*arguments: str, cwd: Path = ROOT) -> ChunkResult:
    with fork_process(COMMAND, *arguments, folder=cwd) as process:
        stdout, stderr = process.communicate(60)
    return ChunkResult(arguments, process.wait(), stdout, stderr)


def fresh(*arguments: str) -> ChunkResult:
    """The command in an interpreter of its own, as a shell starts it."""
    command = [sys.executable, "-m", "pixmill", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def json_line(done: ChunkResult) -> dict[str, object]:
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])  # type: ignore[no-any-return]


COMMANDS = list(get_command(app).commands)  # type: ignore[attr-defined]


def test_help_names_every_command() -> None:
    shown = fresh("--help")
    assert shown.returncode == 0
    assert all(f"\n  {command} " in shown.stdout for command in COMMANDS)


def test_the_version_is_that_of_the_package() -> None:
    for flag in ("--version", "-V"):
        shown = pixmill(flag)
        assert (shown.returncode, shown.stdout) == (
            0,
            f"pixmill {version('pixmill')}\n",
        )


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown = pixmill("run", "-h")
        widths.append(max(map(len, shown.stdout.splitlines())))
        assert "-n, --limit N" in shown.stdout
    assert 60 < widths[0] < 80 < widths[1] < 120


def test_a_shell_can_complete_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PIXMILL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "pixmill va")
    monkeypatch.setenv("COMP_CWORD", "1")
    command = [str(Path(sys.executable).with_name("pixmill"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["validate"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_is_documented(command: str) -> None:
    shown = pixmill(command, "--help")
    assert shown.returncode == 0
    assert "Usage:" in shown.stdout
    assert f"`pixmill {command}" in (ROOT / "docs" / "commands.md").read_text()


def test_init_writes_a_config_that_validates_and_plans(tmp_path: Path) -> None:
    assert pixmill("init", "new", cwd=tmp_path).returncode == 0
    folder = tmp_path / "new"
    schema = (folder / "config.schema.json").read_text()
    assert schema == pixmill("schema").stdout == schema_text()
    assert pixmill("validate", "pets.yaml", cwd=folder).returncode == 0
    plan = json_line(pixmill("plan", "pets.yaml", "--json", cwd=folder))
    assert plan["pending"] == plan["rows"] == 6
    again = pixmill("init", "new", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_validate_counts_reasons_and_writes_all_invalid_rows(
    project: Project, tmp_path: Path
) -> None:
    rows = project.rows(10)
    for at in range(4):
        rows[at]["text"] = ""
    rows[9]["photo"] = "http://127.0.0.1/x.jpg"
    project.write_rows(rows)
    shown = pixmill(
        "validate",
        project.write_config(),
        "--out",
        str(tmp_path / "bad.csv"),
        "--json",
    )
    assert shown.returncode == 3
    said = json_line(shown)
    assert (said["rows"], said["invalid"], said["reasons"]) == (
        10,
        5,
        {"empty_prompt": 4, "private_address": 1},
    )
    assert [example["row_number"] for example in said["examples"]["empty_prompt"]] == [
        1,
        2,
        3,
    ]  # type: ignore[index]
    with (tmp_path / "bad.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["row_number"], row["column"]) for row in written] == [
        (str(at), "text") for at in range(1, 5)
    ] + [("10", "photo")]
    assert json.loads(written[4]["values"]) == rows[9]


def test_plan_makes_no_call_and_no_file(project: Project) -> None:
    project.write_rows(project.rows(3))
    shown = fresh("plan", project.write_config(), "--json")
    assert shown.returncode == 0
    assert json_line(shown)["pending"] == 3
    assert not (project.folder / "out").exists()


@pytest.mark.parametrize("run", [fresh, pixmill])
def test_a_mistake_in_the_config_exits_2_without_a_traceback(
    project: Project, run: Callable[..., ChunkResult]
) -> None:
    project.write_rows(project.rows(1))
    shown = run("plan", project.write_config(limits={"qsp": 3}), "--json")
    assert shown.returncode == 2
    assert "did you mean `qps`" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""


def test_a_table_that_is_not_there_exits_2(project: Project) -> None:
    shown = pixmill("plan", project.write_config())
    assert shown.returncode == 2
    assert "pets.csv" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_status_ends_with_what_to_type_next(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    before = pixmill("status", project.path)
    assert before.stderr.splitlines()[-1] == f"next: pixmill run {project.path}"
    run_config(project.path)
    after = pixmill("status", project.path, "--json")
    assert "3 of 3 images stored" in after.stderr
    assert after.stderr.splitlines()[-1].startswith(
        f"next: pixmill export {project.path}"
    )
    assert after.stderr.endswith("-export.csv\n")
    said = json_line(after)
    assert said["runs"][0]["summary"]["calls"] == 3  # type: ignore[index]


def test_the_command_to_type_next_has_the_overrides_of_the_one_before(
    project: Project,
) -> None:
    """A store or a provider that was given by `--set` would be another one without it."""
    project.write_rows(project.rows(3))
    project.write_config()
    override = f"store={project.folder / 'a store'}"
    for command, following in (("validate", "plan"), ("status", "run")):
        shown = pixmill(command, project.path, "--set", override)
        assert (
            shown.stderr.splitlines()[-1]
            == f"next: pixmill {following} {project.path} --set '{override}'"
        )


def test_exports_hold_every_row_and_column(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(5))
    project.use_simulator(simulated)
    dataset = pd.read_parquet(run_config(project.path)["dataset"])
    readers = {
        "parquet": pd.read_parquet,
        "csv": pd.read_csv,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }
    for kind, read in readers.items():
        out = project.folder / "export" / f"pets.{kind}"
        shown = pixmill(
            "export", project.path, "--format", kind, "--out", str(out), "--json"
        )
        assert shown.returncode == 0, shown.stderr
        exported = read(out)
        assert list(exported.columns) == list(dataset.columns), kind
        assert list(exported["job_key"]) == list(dataset["job_key"]), kind
        images = exported["images"].iloc[0]
        first = (json.loads(images) if kind == "csv" else images)[0]
        assert first["sha256"] == dataset["images"].iloc[0][0]["sha256"], kind


def test_cells_that_a_spreadsheet_would_run_are_disarmed(
    project: Project, simulated: Simulated
) -> None:
    """G19: data unchanged in Parquet, escaped in CSV."""
    cells = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        " =1+1",
        "\uff1d1+1",
        '=HYPERLINK("http://x","y")',
    ]
    project.write_rows(
        [
            {**row, "text": cell}
            for row, cell in zip(project.rows(len(cells)), cells, strict=True)
        ]
    )
    project.use_simulator(simulated)
    dataset = pd.read_parquet(run_config(project.path)["dataset"])
    assert list(dataset["text"]) == cells
    out = project.folder / "pets.csv.out"
    assert (
        pixmill("export", project.path, "--format", "csv", "--out", str(out)).returncode
        == 0
    )
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (
        [row["text"] for row in rows]
        == [row["prompt"] for row in rows]
        == [f"'{cell}" for cell in cells]
    )
    assert all(row["seed"].isdecimal() for row in rows)


def test_export_before_the_first_run_says_what_to_do(project: Project) -> None:
    project.write_rows(project.rows(1))
    shown = pixmill(
        "export", project.write_config(), "--out", str(project.folder / "x.parquet")
    )
    assert shown.returncode == 2
    assert "pixmill run" in shown.stderr


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        pytest.param("validate", "prefect pandas", marks=pytest.mark.slow),
        ("plan", "prefect pandas"),
        pytest.param("status", "prefect pandas", marks=pytest.mark.slow),
    ],
)
def test_commands_that_look_never_import_prefect_or_pandas(
    project: Project, command: str, heavy: str
) -> None:
    project.write_rows(project.rows(2))
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print(*sorted(set({heavy.split()!r}) & set(sys.modules)), file=sys.stdout))\n"
        "from pixmill.cli import main\nmain()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, command, project.write_config()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == []


@pytest.mark.parametrize(
    "signal_number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_a_signal_before_anything_is_sent_exits_130_with_its_json_line(
    project: Project, signal_number: signal.Signals
) -> None:
    """A6: while it plans or waits for Prefect, a run has nothing to drain."""
    project.write_rows(project.rows(3))
    command = [
        sys.executable,
        "-m",
        "pixmill",
        "run",
        project.write_config(),
        "--yes",
        "--json",
    ]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert running.stderr
    assert any("starting a Prefect server" in line for line in running.stderr)
    running.send_signal(signal_number)
    stdout, _ = running.communicate(timeout=60)
    said = json.loads(stdout)
    assert (running.returncode, said["exit_code"], said["calls"]) == (130, 130, 0)
    assert not Bill(project.folder / "out" / "simulated" / "bill.jsonl").lines()


def test_a_number_that_json_has_no_word_for_is_null_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """G28."""
    print_json({"mean": float("nan"), "of": [float("inf"), {"a": 0.5}], "n": 2**64})
    said = capsys.readouterr().out
    assert (
        said == '{"mean": null, "of": [null, {"a": 0.5}], "n": 18446744073709551616}\n'
    )


def test_the_page_about_sweeps_shows_what_plan_prints(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(ROOT / "data", tmp_path / "data")
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    command, output = re.findall(
        r"^```console\n\$ pixmill (plan .*?)\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    )[0]
    printed = pixmill(*command.split(), cwd=tmp_path).stderr.splitlines()
    shown = [line for line in output.splitlines() if line.strip() != "…"]
    assert len(shown) > 10
    assert [line for line in shown if line not in printed] == []


def test_what_is_given_instead_of_a_config_leads_to_what_was_meant(
    tmp_path: Path,
) -> None:
    (tmp_path / "out" / "pets").mkdir(parents=True)
    (tmp_path / "out" / "pets" / "config.yaml").touch()
    (tmp_path / "pets.yaml").touch()
    (tmp_path / "pets.csv").write_text("id\n1\n")
    (tmp_path / "latin.csv").write_bytes(b"id,text\n1,caf\xe9 noir\n")
    for arguments, said in (
        ("status out", "error: out is a folder, and a config is needed\n"),
        (
            "status out",
            "`pixmill bill out` show all; configs in it: out/pets/config.yaml",
        ),
        ("run pets.csv", "error: pets.csv is a table, and a config is needed\n"),
        ("run pets.csv", "hint: `pixmill init pets.csv` writes one for it\n"),
        ("plan pet.yaml", "No such file or directory; did you mean `pets.yaml`?\n"),
        ("init latin.csv", "iconv -f latin1 -t utf-8"),
    ):
        done = pixmill(*arguments.split(), cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


def test_a_sweep_with_the_rephraser_on_is_warned_of(tmp_path: Path) -> None:
    arguments = ("plan", "configs/control-strength.yaml", "--set", f"store={tmp_path}")
    on = "request.params.use_rephraser=true"
    assert "the rephraser is on" in pixmill(*arguments, "--set", on).stderr
    assert "the rephraser is on" not in pixmill(*arguments).stderr


def test_the_bill_of_simulated_calls_says_that_nothing_was_paid(
    project: Project,
) -> None:
    project.write_rows(project.rows(2))
    run_config(project.write_config(output={"images": "url"}))
    shown = pixmill("bill", f"{project.folder}/out/simulated").stderr
    assert "2 calls of the simulator, nothing was paid" in shown
    assert "unknown" not in shown
