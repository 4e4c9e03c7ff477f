"""From winner to dataset: the full run asks for what the sweep asked for, so that nothing is paid twice."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pixmill.config.loading import load_config
from pixmill.errors import UserError
from pixmill.planning.planner import make_plan
from pixmill.planning.promotion import Promotion, promote_picks, promote_point
from tests.conftest import Project, Simulated, results, run_config
from tests.real_command import Command, CommandResult

STRENGTH = "controlnet_args.0.strength"
STYLES = [{"label": "ink\n# {1}", "value": "in {black} ink 狗"}, "in oil, é", ""]
AXES: dict[str, Any] = {STRENGTH: [0.2, 0.6], "style": STYLES}
SEEDS: list[dict[str, Any]] = [
    {"replicates": 2},
    {"policy": "per_job", "replicates": 2},
    {"policy": "fixed", "base": 3, "replicates": 2},
    {"policy": "column"},
]
Row = Mapping[str, Any]


def swept(project: Project, count: int = 4, **changes: Any) -> str:
    """Write a table and a sweep of six points that may be carried out on a simulator at full speed."""
    project.write_rows(
        [{**row, "luck": str(at)} for at, row in enumerate(project.rows(count))]
    )
    return project.write_config(
        **{
            "request": {"prompt": "{{no}} {text}, {style}"},
            "sweep": {"groups": [{"grid": AXES}]},
            "limits": {"qps": 5000, "concurrency": 8},
            **changes,
        }
    )


def with_seeds(project: Project, seed: Mapping[str, Any]) -> None:
    columns = {
        "image_url": "photo",
        "prompt": "text",
        **({"seed": "luck"} if seed.get("policy") == "column" else {}),
    }
    project.write_config(seed=dict(seed), input={"columns": columns})


def keys_by_point(config: str) -> dict[str, list[str]]:
    """The job keys of each point, in the order of rows and replicates."""
    found: dict[str, list[str]] = {}
    for batch in make_plan(load_config(config), None).batches():
        for at, key in enumerate(batch.keys):
            assert key
            found.setdefault(
                batch.variants[at % len(batch.variants)].point.id, []
            ).append(key)
    return found


def written(made: Promotion, folder: Path) -> str:
    path = folder / "full.yaml"
    path.write_text(made.to_yaml(), encoding="utf-8")
    return str(path)


def picks_table(
    path: Path, rows: Sequence[Row], axes: Mapping[str, str], read: Sequence[str]
) -> str:
    """Write rows of a dataset as the report writes its picks: CSV, every cell a text, the axes by their paths."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row_key", "point_id", *axes, *read])
        named = ["row_key", "point_id", *axes.values(), *read]
        writer.writerows([[row[name] for name in named] for row in rows])
    return str(path)


def picked(project: Project, rows: Sequence[Row]) -> str:
    axes = {STRENGTH: "param_controlnet_args_0_strength", "style": "param_style"}
    return picks_table(
        project.folder / "picks.csv", rows, axes, ["photo", "text", "id"]
    )


def pick(number: int, **changes: Any) -> dict[str, Any]:
    """A row of the sweep's dataset, as far as picks need it."""
    return {
        "id": f"r{number}",
        "row_key": f"r{number}",
        "point_id": "0123456789ab",
        "photo": f"https://images.example.com/{number}.jpg",
        "text": f"a pet {number}",
        "param_controlnet_args_0_strength": 0.2,
        "param_style": "in oil, é",
        **changes,
    }


def point_of(config: str, **values: Any) -> str:
    points = make_plan(load_config(config), None).expander.sweep.points
    return next(point.id for point in points if values.items() <= point.values.items())


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.get("policy", "per_row"))
def test_a_promoted_point_asks_for_exactly_what_the_sweep_asked(
    project: Project, seed: dict[str, Any]
) -> None:
    config = swept(project)
    with_seeds(project, seed)
    keys = keys_by_point(config)
    assert len(keys) == 6
    for point, expected in keys.items():
        promoted = written(promote_point(load_config(config), point), project.folder)
        (found,) = keys_by_point(promoted).values()
        assert found == expected


def test_fields_of_every_kind_are_promoted(project: Project) -> None:
    axes = {
        "use_sr": [None, True],
        "req_key": ["high_aes_scheduler_svr_controlnet_v2.0", "another_v1"],
        "scale": [2],
    }
    config = swept(
        project,
        request={"params": {"use_sr": True}, "prompt": "{text}"},
        sweep={"groups": [{"grid": axes}]},
    )
    keys = keys_by_point(config)
    assert len(keys) == 4
    for point, expected in keys.items():
        assert (
            keys_by_point(
                written(promote_point(load_config(config), point), project.folder)
            )["base"]
            == expected
        )


def test_a_promoted_config_has_no_sweep_the_same_store_and_what_its_owner_wrote(
    project: Project,
) -> None:
    config = swept(project, budget={"max_calls": 9}, output={"images": "url"})
    point = list(keys_by_point(config))[1]
    said = yaml.safe_load(promote_point(load_config(config), point).to_yaml())
    assert set(said) == {
        "version",
        "name",
        "store",
        "input",
        "request",
        "limits",
        "budget",
        "output",
    }
    assert (said["name"], said["store"]) == (f"pets-{point}", project.config["store"])
    assert said["request"]["prompt"] == "{{no}} {text}, in oil, é"
    assert said["request"]["params"]["controlnet_args"] == [
        {"type": "depth", "strength": 0.2, "binary_data_index": 0}
    ]
    assert said["budget"] == {"max_calls": 9}
    assert not {"sweep", "seed"} & said.keys()


def test_under_per_job_a_point_stays_a_sweep_of_one(project: Project) -> None:
    config = swept(project, seed={"policy": "per_job"})
    point = next(iter(keys_by_point(config)))
    made = promote_point(load_config(config), point)
    assert yaml.safe_load(made.to_yaml())["sweep"] == {
        "groups": [
            {
                "list": [
                    {
                        STRENGTH: 0.2,
                        "style": {
                            "label": STYLES[0]["label"],
                            "value": STYLES[0]["value"],
                        },
                    }
                ]
            }
        ]
    }
    assert any("per_job" in note for note in made.notes)
    assert list(keys_by_point(written(made, project.folder))) == [point]


def test_the_plain_request_of_a_per_job_sweep_needs_no_sweep(
    project: Project,
) -> None:
    config = swept(
        project,
        seed={"policy": "per_job"},
        request={"prompt": None},
        sweep={"groups": [{"grid": {"scale": [2, 3]}}]},
    )
    made = promote_point(load_config(config), "base")
    assert "sweep" not in yaml.safe_load(made.to_yaml())
    assert (
        keys_by_point(written(made, project.folder))["base"]
        == keys_by_point(config)["base"]
    )


def test_the_longest_name_leaves_room_for_the_id(project: Project) -> None:
    config = swept(project, name="n" * 100)
    point = next(iter(keys_by_point(config)))
    promoted = load_config(
        written(promote_point(load_config(config), point), project.folder)
    )
    assert (len(promoted.name), promoted.name[-13:]) == (100, f"-{point}")


def test_what_does_not_come_along_is_said(project: Project) -> None:
    sweep = {
        "groups": [{"grid": {"scale": [2, 4]}}],
        "exclude": ["scale == 4 and id == 'r1'", "scale > 4"],
    }
    config = load_config(
        swept(
            project,
            request={"prompt": "{text}"},
            sweep=sweep,
            seed={"replicates": 3},
            input={"where": "id != 'r0'"},
        )
    )
    notes = "\n".join(
        promote_point(config, make_plan(config, None).expander.sweep.points[0].id).notes
    )
    assert "seed.replicates stays: 3" in notes
    assert "input.where stays: id != 'r0'" in notes
    assert "sweep.exclude.0 is left out" in notes
    assert "sweep.exclude.1" not in notes


def test_an_unknown_point_lists_those_that_there_are(project: Project) -> None:
    config = load_config(
        swept(
            project,
            sweep={
                "groups": [{"grid": {"scale": {"range": [1, 25, 1]}, "style": ["ink"]}}]
            },
        )
    )
    points = make_plan(config, None).expander.sweep.points
    with pytest.raises(UserError) as caught:
        promote_point(config, points[0].id[:-1])
    said = str(caught.value)
    assert f"did you mean `{points[0].id}`?" in said
    assert f"  {points[19].id}  scale 20, style ink" in said
    assert points[20].id not in said
    assert "5 more" in caught.value.hint


def test_a_promoted_sweep_pays_for_the_new_rows_only(
    project: Project, simulated: Simulated
) -> None:
    config = swept(project, count=4)
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    assert run_config(config)["calls"] == 24
    pilot = project.config["input"]["path"]
    table = project.folder / "all.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text", "id", "photo"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(reversed(project.rows(10)))
    for number, point in enumerate(keys_by_point(config), 1):
        project.write_config(
            input={"path": str(table), "row_key": ["id"] if number % 2 else []}
        )
        full = run_config(
            written(promote_point(load_config(config), point), project.folder)
        )
        assert (full["jobs"], full["succeeded"], full["cached"], full["calls"]) == (
            10,
            10,
            4,
            6,
        )
        assert simulated.bill.calls == 24 + 6 * number
        assert f"/pets-{point}/" in full["dataset"]
        project.write_config(input={"path": pilot})


def test_picks_that_the_sweep_paid_for_are_cached(
    project: Project, simulated: Simulated
) -> None:
    config = swept(project, count=4, seed={"replicates": 2})
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"})
    rows = [row for row in results(run_config(config)) if row["replicate"] == 0]
    best = [rows[0], rows[6 + 1], rows[12 + 4], rows[18 + 3]]
    new = [
        {
            **best[2],
            "row_key": f"new-{at}",
            "photo": f"https://images.example.com/new/{at}.jpg",
        }
        for at in range(3)
    ]
    made = promote_picks(load_config(config), picked(project, [*best, *new]))
    full = run_config(written(made, project.folder))
    assert (full["jobs"], full["succeeded"], full["cached"], full["calls"]) == (
        14,
        14,
        8,
        6,
    )
    assert simulated.bill.calls == 48 + 6
    found = [row for row in results(full) if row["replicate"] == 0]
    assert [row["job_key"] for row in found[:4]] == [row["job_key"] for row in best]
    assert [row["pixmill_row_key"] for row in found[:4]] == [
        row["row_key"] for row in best
    ]
    sent = [
        json.loads(row["params"])["controlnet_args"][0]["strength"] for row in found[:4]
    ]
    assert sent == [row["param_controlnet_args_0_strength"] for row in best]
    assert len(set(sent)) == 2


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_picks_that_a_spreadsheet_saved_are_read(
    project: Project, mark: str, encoding: str
) -> None:
    config = swept(project)
    path = Path(picked(project, [pick(1), pick(2)]))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    promoted = written(promote_picks(load_config(config), str(path)), project.folder)
    plan = make_plan(load_config(promoted), None).summary()
    assert (plan["rows"], plan["invalid"], plan["distinct"]) == (2, 0, 2)


def test_picks_work_as_an_input_table_of_any_config(
    project: Project, simulated: Simulated
) -> None:
    """The way by hand: a column per dotted path, the variable of the template as one more column."""
    config = swept(project, count=3)
    project.use_simulator(simulated)
    project.write_config(output={"images": "url"}, input={"row_key": ["id"]})
    rows = results(run_config(config))
    axes = {STRENGTH: "param_controlnet_args_0_strength", "style": "param_style"}
    picks = picks_table(
        project.folder / "mine.csv", rows[1:14:6], axes, ["photo", "text", "id"]
    )
    by_hand = {"image_url": "photo", "prompt": "text", STRENGTH: STRENGTH}
    project.write_config(
        name="by-hand",
        sweep={"groups": []},
        input={"path": picks, "columns": by_hand, "row_key": []},
    )
    full = run_config(config)
    assert (full["jobs"], full["cached"], full["calls"]) == (3, 3, 0)
    assert simulated.bill.calls == 18


def test_a_row_that_was_picked_twice_is_two_rows(project: Project) -> None:
    config = swept(project, input={"row_key": ["id"]})
    once, again = (
        pick(1, point_id="aaa"),
        pick(1, point_id="bbb", param_controlnet_args_0_strength=0.6),
    )
    for rows, row_key in (
        ([once, once], ["id"]),
        ([once, once, again], ["id", "point_id"]),
    ):
        promoted = written(
            promote_picks(load_config(config), picked(project, rows)), project.folder
        )
        assert yaml.safe_load(Path(promoted).read_text())["input"]["row_key"] == row_key
        plan = make_plan(load_config(promoted), None).summary()
        assert (plan["invalid"], plan["distinct"]) == (0, len(row_key))


def test_picks_are_read_as_the_table_that_they_are(project: Project) -> None:
    own = {
        "where": "luck == '1'",
        "encoding": "latin-1",
        "delimiter": ";",
        "row_key": ["id"],
        "max_invalid": 0.5,
    }
    config = swept(project, input=own)
    promoted = written(
        promote_picks(load_config(config), picked(project, [pick(1, text="狗, 1")])),
        project.folder,
    )
    assert load_config(promoted).input.max_invalid == 0.5
    (job,) = make_plan(load_config(promoted), None).pending_jobs()
    assert json.loads(job.payload())["prompt"] == "{no} 狗, 1, in oil, é"


def test_picks_name_what_people_should_know(project: Project) -> None:
    config = swept(
        project,
        input={"columns": {"image_file": "photo", "prompt": "text"}, "row_key": ["id"]},
        seed={"replicates": 2},
    )
    notes = promote_picks(load_config(config), picked(project, [pick(1)])).notes
    assert [note.partition(":")[0] for note in notes] == [
        "seed.replicates stays",
        "input images are files beside the table",
    ]


def test_rejected_candidates_among_picks_are_left_out(project: Project) -> None:
    config = swept(project, input={"row_key": ["id"]})
    path = Path(picked(project, [pick(1), pick(2)]))
    [header, first, second] = path.read_text().splitlines()
    path.write_text(f"{header},pick\n{first},star\n{second},reject\n")
    promoted = written(promote_picks(load_config(config), str(path)), project.folder)
    assert make_plan(load_config(promoted), None).rows == 1


def test_picks_may_agree_on_another_req_key(project: Project) -> None:
    known, other = "high_aes_scheduler_svr_controlnet_v2.0", "another_v1"
    config = swept(
        project,
        request={"prompt": "{text}"},
        sweep={"groups": [{"grid": {"req_key": [known, other]}}]},
    )
    axes, read = {"req_key": "param_req_key"}, ["photo", "text"]
    path = project.folder / "picks.csv"
    picks_table(
        path, [pick(1, param_req_key=other), pick(2, param_req_key=other)], axes, read
    )
    promoted = written(promote_picks(load_config(config), str(path)), project.folder)
    assert load_config(promoted).request.req_key == other
    (asked,) = keys_by_point(promoted).values()
    assert asked == keys_by_point(config)[point_of(config, req_key=other)][1:3]
    picks_table(
        path, [pick(1, param_req_key=other), pick(2, param_req_key=known)], axes, read
    )
    with pytest.raises(UserError, match="2 different req_key"):
        promote_picks(load_config(config), str(path))


def test_to_an_unknown_operation_picks_go_with_their_types(project: Project) -> None:
    config = swept(
        project,
        request={"req_key": "another_v1", "prompt": "{text}"},
        sweep={"groups": [{"grid": {"size": [1, 2]}}]},
    )
    rows = [pick(at, size=2) for at in range(4)]
    with pytest.raises(UserError, match="size would be sent as a text"):
        promote_picks(
            load_config(config),
            picks_table(
                project.folder / "picks.csv", rows, {"size": "size"}, ["photo", "text"]
            ),
        )
    path = str(project.folder / "picks.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path)
    promoted = written(promote_picks(load_config(config), path), project.folder)
    assert (
        keys_by_point(promoted)["base"]
        == keys_by_point(config)[point_of(config, size=2)]
    )


def test_picks_can_not_stand_for_seeds_that_depend_on_the_point(
    project: Project,
) -> None:
    config = swept(project, seed={"policy": "per_job"})
    with pytest.raises(UserError, match="per_job") as caught:
        promote_picks(load_config(config), picked(project, [pick(1)]))
    assert "--point" in caught.value.hint


def test_a_table_of_other_picks_is_named(project: Project) -> None:
    config = swept(project)
    with pytest.raises(
        UserError,
        match=r"no column 'row_key', 'point_id', 'controlnet_args.0.strength', 'style'",
    ):
        promote_picks(load_config(config), project.config["input"]["path"])


def test_the_command_prints_a_config_and_nothing_else(
    project: Project, pixmill: Command
) -> None:
    config = swept(project, count=2)
    point = next(iter(keys_by_point(config)))
    shown = pixmill(
        "promote",
        config,
        "--point",
        point,
        "--input",
        "all: #1.csv",
        "--name",
        "full",
        "--set",
        "limits.qps=3",
    )
    assert shown.exit_code == 0, shown.stderr
    said = yaml.safe_load(shown.stdout)
    assert (said["name"], said["input"]["path"], said["limits"]["qps"]) == (
        "full",
        "all: #1.csv",
        3,
    )
    assert "style ink # {1}" in shown.stdout.splitlines()[0]
    assert "pixmill plan" in shown.stderr
    line = pixmill("promote", config, "--picks", picked(project, [pick(1)]), "--json")
    (printed,) = line.stdout.splitlines()
    said = json.loads(printed)
    assert (said["name"], yaml.safe_load(said["config"])["name"]) == (
        "pets-picks",
        "pets-picks",
    )
    assert said["notes"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--point"),
        (["--picks", "x.csv", "--input", "y.csv"], "--picks"),
        (["--point", "base", "--name", "../x"], "name: string should match"),
        (["--point", "base", "--input", "s3://bucket"], "input.path"),
        (["--picks", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_can_not_be_promoted_exits_2(
    project: Project, pixmill: Command, options: list[str], said: str
) -> None:
    shown = pixmill("promote", swept(project), *options)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_promoted_config_is_written_in_one_step_with_the_rows_that_are_wanted(
    project: Project, pixmill: Command
) -> None:
    config = swept(project, 5)
    pilot = {**project.config["input"], "row_key": ["id"], "where": "id == 'r1'"}
    project.write_config(input=pilot)
    point = point_of(config, **{STRENGTH: 0.6})
    out = project.folder / "new" / "full.yaml"

    def promote(*options: str) -> CommandResult:
        return pixmill("promote", config, "--point", point, "--out", str(out), *options)

    done = promote("--where", "")
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert f"next: pixmill plan {out}" in done.stderr
    assert make_plan(load_config(str(out)), None).summary()["jobs"] == 5
    refused = promote("--where", "")
    assert refused.exit_code == 2
    assert f"{out} exists" in refused.stderr
    out.unlink()
    promote("--where", "id in ['r2', 'r3']")
    assert make_plan(load_config(str(out)), None).summary()["jobs"] == 2
