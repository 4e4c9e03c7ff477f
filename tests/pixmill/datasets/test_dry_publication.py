"""Before anything is paid, some rows go through all that is made of rows afterwards."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.dry_publication import publish_dry
from pixmill.datasets.export import formats as exporting
from pixmill.datasets.report import job_data as chunks
from pixmill.errors import TableError
from pixmill.execution.prepare import prepare_flow_run
from pixmill.planning.planner import make_plan
from tests.conftest import Project, Simulated, run_config
from tests.real_command import Command

TWICE = pa.StructArray.from_arrays(
    [pa.array([1, 2]), pa.array([3, 4])], names=["size", "size"]
)


@pytest.fixture
def config(project: Project, simulated: Simulated) -> str:
    """A table with an object that no JSON can hold, beside a column that is fine."""
    own = {
        name: [row[name] for row in project.rows(2)] for name in ("id", "photo", "text")
    }
    table = pa.table({**own, "fine": [1, 2], "shape": TWICE})
    pq.write_table(table, project.folder / "pets.parquet")
    project.use_simulator(simulated)
    return project.write_config(input={"path": str(project.folder / "pets.parquet")})


def test_a_table_that_can_t_be_published_is_refused_before_anything_is_paid(
    config: str, simulated: Simulated
) -> None:
    """G29."""
    with pytest.raises(
        TableError, match=r"column 'shape' \(struct<size: int64, size: int64>\)"
    ):
        run_config(config)
    assert simulated.bill.calls == 0


def test_a_flow_run_refuses_it_as_well(config: str, simulated: Simulated) -> None:
    """G29."""
    by_itself = prepare_flow_run(config, [], None, new_store=True, deployed=False)
    with pytest.raises(TableError, match="column 'shape'"), by_itself as prepared:
        prepared.start()
    assert simulated.bill.calls == 0


@pytest.mark.slow
def test_the_command_line_says_which_column_and_exits_2(
    config: str, simulated: Simulated, quick: Command
) -> None:
    """G29."""
    for command in (
        ("validate", config),
        ("plan", config),
        ("run", config, "--yes", "--new-store"),
    ):
        said = quick(*command)
        assert said.exit_code == 2, said
        assert (
            "column 'shape' (struct<size: int64, size: int64>) can't be published"
            in said.stderr
        )
        assert "Traceback" not in said.stderr
        assert "fine" not in said.stderr
    assert simulated.bill.calls == 0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (chunks, "as_text"),
        *((exporting.TABLE_WRITERS, kind) for kind in exporting.TABLE_WRITERS),
        *((exporting.FOLDER_WRITERS, kind) for kind in exporting.FOLDER_WRITERS),
    ],
)
def test_whatever_fails_later_fails_before_anything_is_paid(
    place: object, name: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G29: the report and every export are tried, by the code that writes them later."""

    def fail(*_: object) -> None:
        raise pa.ArrowNotImplementedError("no kernel")

    if isinstance(place, dict):
        monkeypatch.setitem(place, name, fail)
    else:
        monkeypatch.setattr(place, name, fail)
    project.write_rows(project.rows(3))
    with pytest.raises(TableError, match="can't be published: no kernel"):
        publish_dry(make_plan(load_config(project.write_config()), None))


def test_a_dry_publication_leaves_nothing_behind(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G29."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "aside"))
    (tmp_path / "aside").mkdir()
    project.write_rows([*project.rows(3), {"id": "bad", "photo": "", "text": "a barn"}])
    publish_dry(make_plan(load_config(project.write_config()), None))
    assert not list((tmp_path / "aside").iterdir())
    assert not (project.folder / "out").exists()


def test_a_machine_without_room_for_it_says_nothing_about_the_table(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G29."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    project.write_rows(project.rows(3))
    publish_dry(make_plan(load_config(project.write_config()), None))
    assert "the dry publication is left out" in caplog.text


def test_a_table_without_rows_needs_none(project: Project) -> None:
    project.write_rows([])
    publish_dry(make_plan(load_config(project.write_config()), None))


def test_rows_that_are_selected_late_in_a_table_are_the_ones_that_are_tried(
    project: Project,
) -> None:
    project.write_rows(project.rows(100))
    project.write_config(input={"where": "id == 'r99'"})
    plan = make_plan(load_config(project.path), None)
    assert plan.to_pay == 1
    publish_dry(plan)
