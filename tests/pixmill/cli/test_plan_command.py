"""What `pixmill plan` tells a person about a sweep before anything is paid."""

import json
from pathlib import Path

import pytest
import yaml

from pixmill.config.loading import config_changes, load_config
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.cli.test_commands import pixmill

STRENGTH = "controlnet_args.0.strength"


def swept(project: Project, **changes: object) -> str:
    project.write_rows(project.rows(5))
    return project.write_config(
        sweep={
            "groups": [
                {
                    "grid": {
                        "scale": [2, 4],
                        STRENGTH: [0.25, {"label": "strong", "value": 0.9}],
                    }
                }
            ]
        },
        seed={"replicates": 3},
        **changes,
    )


def test_a_plan_shows_the_product_the_axes_and_one_request(project: Project) -> None:
    shown = pixmill("plan", swept(project, input={"row_key": ["id"]})).stderr
    assert "5 rows × 4 points × 3 replicates = 60 jobs, 60 of them distinct" in shown
    assert "          60  to make" in shown
    assert f"{STRENGTH}  0.25  strong" in shown
    assert "scale                       2  4" in shown
    assert "the request of row 1 · r0 · strength 0.25, scale 2, replicate 0:" in shown
    assert 'prompt           "a pet 0"' in shown
    assert '[{"binary_data_index": 0, "strength": 0.25, "type": "depth"}]' in shown


def test_the_product_of_a_plan_counts_valid_rows_alone(project: Project) -> None:
    rows = project.rows(5)
    rows[1]["text"] = ""
    project.write_rows(rows)
    config = project.write_config(
        sweep={"scale": [2, 4], "exclude": ["scale == 4 and id == 'r3'"]}
    )
    shown = pixmill("plan", config).stderr
    assert "4 valid rows × 2 points = 7 jobs (1 left out by conditions), 7 of them distinct" in shown  # fmt: skip
    assert "  1  invalid row, never sent" in shown


def test_a_plan_says_what_conditions_leave_out(project: Project) -> None:
    config = swept(project)
    shown = pixmill(
        "plan", config, "--set", "sweep.exclude=[\"scale == 4 and id == 'r1'\"]"
    ).stderr
    assert "= 54 jobs (6 left out by conditions), 54 of them distinct" in shown


def test_a_plan_says_what_bounds_the_time_and_what_would_lift_it(
    project: Project,
) -> None:
    config = swept(
        project,
        provider={"kind": "gateway", "base_url": "https://gateway.example.com"},
        limits={"qps": 2, "concurrency": 4},
        budget={"price_per_call": 0.2},
    )
    shown = pixmill("plan", config).stderr
    assert (
        "4 calls in flight at 5.9 s each are 0.68 calls/s; 12 in flight would reach your 2 calls/s"
        in shown
    )
    assert "cost: 12.00 CNY" in shown


def test_a_plan_says_what_changed_since_the_last_run(
    project: Project, simulated: Simulated
) -> None:
    project.use_simulator(simulated)
    config = swept(project, output={"images": "url"})
    run_config(config)
    shown = pixmill("plan", config, "--set", "request.params={ddim_steps: 20}").stderr
    assert "changed since the last run: request.params.ddim_steps" in shown
    # As a version wrote it that had fewer keys.
    written = load_config(config).dataset_folder / "config.yaml"
    older = yaml.safe_load(written.read_text())
    del older["stop"]["images"], older["input"]["allow_empty"], older["notify"]
    written.write_text(yaml.safe_dump(older))
    assert "changed since" not in pixmill("plan", config).stderr
    shown = pixmill("plan", config, "--set", "seed.replicates=4").stderr
    assert "          60  already paid for" in shown
    assert "          20  to pay for" in shown


def test_what_fills_an_empty_list_is_one_change() -> None:
    before = {"quality": {"gate": []}, "request": {"params": {}}, "x": [], "y": []}
    after = {"quality": {"gate": ["a"]}, "request": {"params": {"scale": 2}}, "x": []}
    changes = [
        "quality.gate.0: unset → a",
        "request.params.scale: unset → 2",
        "y: [] → unset",
    ]
    assert config_changes(before, after) == changes
    back = ["quality.gate.0: a → unset", "request.params.scale: 2 → unset"]
    assert config_changes(after, before)[:2] == back


def test_a_plan_finds_a_gate_column_that_there_is_not_also_with_nothing_to_pay(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    run_config(project.path)
    gate = "quality.gate=['share(flag_blnk) <= 0.1']"
    shown = pixmill("plan", project.path, "--set", gate)
    assert shown.returncode == 2
    assert "quality.gate.0: 'share(flag_blnk) <= 0.1' reads" in shown.stderr


def test_one_prompt_for_all_rows_is_a_warning_where_a_column_is_mapped(
    project: Project,
) -> None:
    project.write_rows(project.rows(3))
    config = project.write_config()
    warning = (
        "  warning: request.prompt reads no column, so all rows get the same prompt, and 'text' of "
        "input.columns.prompt is not used; write {text} into it; rows of the same image are the "
        "same request"
    )
    for prompt, is_same in (("in ink", True), ("{text} in ink", False), (None, False)):
        override = f"request.prompt={json.dumps(prompt)}"
        for command in ("validate", "plan"):
            shown = pixmill(command, config, "--set", override)
            assert (warning in shown.stderr) == is_same, (prompt, shown.stderr)


def test_a_plan_says_how_many_calls_further_candidates_may_take(
    project: Project,
) -> None:
    project.write_rows(project.rows(3))
    config = project.write_config(
        quality={
            "checks": ["blank"],
            "until": {"where": "flag_blank == false", "candidates": 4},
        }
    )
    later = ", then up to 9 more for further candidates"
    for flags, said in (
        ((), f"run would make 3 calls, of row 1, row 2, row 3{later}"),
        (
            ("--limit", "5"),
            "of row 1, row 2, row 3, then up to 2 more for further candidates",
        ),
        (("--limit", "2"), "run would make 2 calls, of row 1, row 2\n"),
    ):
        assert said in pixmill("plan", config, *flags).stderr


@pytest.mark.parametrize(
    ("flags", "calls", "cost", "most_calls", "most_cost"),
    [
        ((), 2, 3.0, 6, 9.0),
        (("--limit", "1"), 1, 1.0, 1, 1.0),
        (("--limit", "2"), 2, 3.0, 2, 3.0),
        # The dearer ones may be the first to be drawn.
        (("--limit", "3"), 2, 3.0, 3, 5.0),
        (("--limit", "5"), 2, 3.0, 5, 8.0),
    ],
)
def test_a_plan_says_what_a_run_with_a_limit_may_cost_with_all_its_candidates(
    project: Project,
    flags: tuple[str, ...],
    calls: int,
    cost: float,
    most_calls: int,
    most_cost: float,
) -> None:
    project.write_rows(project.rows(1))
    dear = {"where": "scale == 3", "price": 2}
    config = project.write_config(
        provider={"kind": "gateway", "base_url": "https://gateway.example.com"},
        budget={"price_per_call": 1, "prices": [dear]},
        sweep={"groups": [{"grid": {"scale": [2, 3]}}]},
        quality={"until": {"where": "status == 'succeeded'", "candidates": 3}},
    )
    planned = pixmill("plan", config, "--json", *flags)
    would = json.loads(planned.stdout)["run"]
    assert (would["calls"], would["cost"]) == (calls, cost)
    assert (would["most_calls"], would["most_cost"]) == (most_calls, most_cost)
    in_all = f"at most {most_cost:.2f} CNY in all"
    assert (in_all in planned.stderr) == (most_calls > calls)


def test_validate_and_plan_print_notes_on_valid_rows(project: Project) -> None:
    rows = project.rows(3)
    rows[0]["photo"] += " "
    project.write_rows(rows)
    config = project.write_config()
    for command in ("validate", "plan"):
        shown = pixmill(command, config)
        assert shown.returncode == 0
        assert (
            "  note: 1 image URLs had blanks or invisible characters around"
            in shown.stderr
        )
        assert shown.stderr.count("note:") == 1


def test_files_of_a_folder_that_are_not_read_are_named(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    project.write_rows(project.rows(2))
    (tmp_path / "pets.csv").rename(folder / "pets.csv")
    for name in ("more.csv.bak", "a.jpg", "_SUCCESS", ".hidden"):
        (folder / name).write_bytes(b"")
    config = project.write_config(input={"path": str(folder)})
    for command in ("validate", "plan"):
        shown = pixmill(command, config).stderr
        assert (
            "note: 1 file beside the table not read, because of the name: more.csv.bak\n"
            in shown
        )
