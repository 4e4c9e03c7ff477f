"""How runs end: no exit 0 for what nobody tried, no dataset in place of a better one, the record before the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from pixmill.cli.validate import validate
from pixmill.config.loading import load_config
from pixmill.datasets.report import page, thumbnails
from pixmill.errors import TableError
from pixmill.execution import image_downloads as downloads
from pixmill.execution.prepare import PreparedRun, prepare
from pixmill.execution.repair import repair
from pixmill.ledger import ClaimTerms, queries
from tests.conftest import Project, Simulated, results, run_config
from tests.faulty_server import FaultyServer, Peer, answer, stall
from tests.pixmill.provider.answer_bodies import success
from tests.pixmill.run_checks import (
    Provider,
    configure_run,
    error_response,
    run_to_end,
)

ROWS = 6
CHANGE = "request.params.scale=4"
"""Makes another request of every row: nothing of it is paid for yet."""


@pytest.fixture
def paid(project: Project, simulated: Simulated) -> Project:
    """A project with a picture of each row."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    project.write_config(input={"row_key": ["id"]})
    assert run_config(project.path)["succeeded"] == ROWS
    return project


# Rows that nobody tried


def test_jobs_that_were_left_without_a_reason_are_a_problem(
    project: Project, simulated: Simulated
) -> None:
    """C21: a chunk that never came, whoever lost it."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        _, *rest = run.chunks()
        for chunk in rest:
            run.process(chunk)
        report = run.finish().as_dict()
    assert (report["exit_code"], report["succeeded"], report["skipped"]) == (
        3,
        ROWS - 1,
        1,
    )
    assert report["reason"] == "finished with new problems: 1 not attempted"
    assert run_config(project.path)["exit_code"] == 0


@pytest.mark.parametrize("late", [False, True], ids=["before its chunk", "after it"])
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (Path.unlink, "invalid"),
        (lambda image: Image.new("RGB", (8, 8), (9, 9, 9)).save(image), "skipped"),
    ],
    ids=["gone", "another one"],
)
def test_an_input_image_that_changes_in_mid_run_is_a_problem_and_costs_no_other_row(
    project: Project, change: Callable[[Path], None], status: str, late: bool
) -> None:
    """F13: its row has no picture, and nothing but the exit code tells who does not watch."""
    for at in range(2):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(project.folder / f"{at}.png")
    with Provider() as provider:
        configure_run(project, provider.url, 0)
        project.write_rows(
            [{**row, "photo": f"{at}.png"} for at, row in enumerate(project.rows(2))]
        )
        project.config["input"]["columns"] = {"image_file": "photo", "prompt": "text"}
        with prepare(load_config(project.write_config())) as prepared:
            run = prepared.start()
            chunks = list(run.chunks()) if late else run.chunks()
            change(project.folder / "1.png")
            for chunk in chunks:
                run.process(chunk)
            report = run.finish().as_dict()
    if (
        status == "skipped" and not late
    ):  # it was seen in time, and is what the row asks for now
        status = "succeeded"
    assert [row["status"] for row in results(report)] == ["succeeded", status]
    assert report["exit_code"] == (0 if status == "succeeded" else 3)


def test_a_job_that_another_run_has_in_flight_is_no_problem_and_is_told(
    project: Project, simulated: Simulated
) -> None:
    """C21: it is paid for, only not here. Two runs that share a table both end with 0."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    config = load_config(project.path)
    with prepare(config) as other:
        other.ledger.begin_run(other.run_id, config.name)
        theirs = next(other.plan.pending_jobs())
        terms = ClaimTerms(other.run_id, "gateway", "", theirs.req_key, None, 3, 600)
        other.ledger.claim(theirs.key, terms)
        report = run_config(project.path)
    assert (report["exit_code"], report["succeeded"], report["skipped"]) == (
        0,
        ROWS - 1,
        1,
    )
    assert (
        report["reason"] == "finished, except for 1 jobs that another run has in flight"
    )


# A dataset in place of a better one


class Ending(NamedTuple):
    """A run over requests that are not paid for yet, which ends before it gets as many pictures as there are."""

    code: int
    run: Callable[[Project], dict[str, Any]]


def with_a_wrong_key(shop: Project) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXMILL_API_KEY", "not-the-right-key")
        return run_config(shop.path, CHANGE)


def interrupted_at_once(shop: Project) -> dict[str, Any]:
    with prepare(load_config(shop.path, [CHANGE])) as prepared:
        prepared.interrupt("SIGTERM")
        run = prepared.start()
        assert list(run.chunks()) == []
        return run.finish().as_dict()


def with_a_budget_of_one_call(shop: Project) -> dict[str, Any]:
    return run_config(shop.path, CHANGE, "budget.max_calls=1")


def of_which_all_fails(shop: Project) -> dict[str, Any]:
    with Provider(every=error_response(50215)) as provider:
        return run_config(shop.path, CHANGE, f"provider.base_url={provider.url}")


def with_more_rows(shop: Project) -> dict[str, Any]:
    shop.write_rows(shop.rows(ROWS + 2))
    return with_a_wrong_key(shop)


def with_nothing_to_spend(shop: Project) -> dict[str, Any]:
    return run_config(shop.path, CHANGE, limit=0)


ENDINGS = {
    "wrong key": Ending(6, with_a_wrong_key),
    "interrupt": Ending(130, interrupted_at_once),
    "budget": Ending(4, with_a_budget_of_one_call),
    "failures only": Ending(3, of_which_all_fails),
    "more rows": Ending(6, with_more_rows),
    "limit 0": Ending(0, with_nothing_to_spend),
}


def published(shop: Project) -> dict[str, bytes]:
    folder = shop.folder / "out" / "pets"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# Which rows are the same is another question than how a run ends: one ending with each answer.
@pytest.mark.parametrize(
    ("ending", "row_key"),
    [
        *(pytest.param(ENDINGS[name], ["id"], id=name) for name in ENDINGS),
        pytest.param(ENDINGS["more rows"], [], id="more rows, by content"),
    ],
)
def test_a_run_that_got_too_little_leaves_the_dataset_as_it_is(
    paid: Project, ending: Ending, row_key: list[str]
) -> None:
    """I8f: it says so, tells of itself all the same, and the next run that gets its pictures publishes them."""
    paid.config["input"]["row_key"] = row_key
    paid.write_config()
    run_config(paid.path)
    before = published(paid)
    report = ending.run(paid)
    assert published(paid) == before
    assert report["exit_code"] == ending.code
    assert f"is unchanged, with {ROWS} images of these rows" in report["reason"]
    assert report["succeeded"] < ROWS <= report["jobs"]
    assert {row["status"] for row in results(report)} == {"succeeded"}
    record = Path(report["dataset"]).parent / "runs" / f"{report['run_id']}.json"
    assert json.loads(record.read_text())["reason"] == report["reason"]
    after = run_config(paid.path, "request.params.scale=5")
    assert "stays" not in after["reason"]
    assert published(paid) != before


def test_a_repair_does_not_put_what_is_not_paid_for_in_place_of_pictures(
    paid: Project,
) -> None:
    """I8f: it publishes as well, and pays for nothing."""
    before = published(paid)
    repair(load_config(paid.path, [CHANGE]))
    assert published(paid) == before


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda shop: shop.write_rows(shop.rows(2)), ["succeeded"] * 2),
        (lambda shop: shop.write_rows(shop.rows(3, "a cat")[:2]), ["skipped"] * 2),
    ],
    ids=["fewer rows", "fewer rows, not paid for"],
)
def test_rows_that_were_taken_out_of_the_table_leave_the_dataset(
    paid: Project,
    change: Callable[[Project], None],
    status: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(paid)
    monkeypatch.setenv("PIXMILL_API_KEY", "not-the-right-key")
    report = run_config(paid.path)
    assert [row["status"] for row in results(report)] == status


@pytest.mark.parametrize(
    ("rows", "overrides", "what"),
    [
        (0, (), r"pets\.csv has no row, and would replace the dataset pets of 6 rows"),
        (ROWS, ("input.where=\"id == 'none'\"",), "no row of .* meets input.where"),
    ],
    ids=["a header alone", "a condition that never holds"],
)
def test_an_input_without_rows_replaces_no_dataset_that_has_some(
    paid: Project, rows: int, overrides: tuple[str, ...], what: str
) -> None:
    before = published(paid)
    paid.write_rows(paid.rows(rows))
    for attempt in (
        run_config,
        lambda config, *of: validate(config, overrides=list(of)),
        lambda config, *of: repair(load_config(config, of)),
    ):
        with pytest.raises(TableError, match=what) as refused:
            attempt(paid.path, *overrides)
        assert "if no rows are meant" in refused.value.hint
    assert published(paid) == before
    # Of another name nothing is lost.
    assert run_config(paid.path, *overrides, "name=none")["exit_code"] == 0


def test_who_tries_a_change_out_on_a_few_rows_gets_to_see_them(paid: Project) -> None:
    """`--limit` leaves the rest out because it was told to; the version before is in the history."""
    report = run_config(paid.path, CHANGE, limit=1)
    assert (report["exit_code"], report["reason"]) == (0, "finished")
    assert [row["status"] for row in results(report)] == ["succeeded"] + ["skipped"] * (
        ROWS - 1
    )
    assert len(list((paid.folder / "out" / "pets" / "history").glob("*.parquet"))) == 1


def test_a_gateway_that_nobody_reaches_is_named_by_its_key(project: Project) -> None:
    project.write_rows(project.rows(2))
    project.write_config(
        provider={"kind": "gateway", "base_url": "http://127.0.0.1:1"},
        retry={"max_attempts": 1},
        budget={"max_calls": 10},
    )
    report = run_config(project.path)
    assert report["exit_code"] == 3
    assert "check that provider.base_url is right" in report["reason"]


# The record and the page


def test_a_run_is_recorded_before_its_page_is_made(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: a page of many pictures takes minutes, and who sends SIGTERM waits ten seconds."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    seen: list[tuple[Any, Any]] = []
    write = page.write_report

    with prepare(load_config(project.path)) as run:

        def look(*arguments: Any, **named: Any) -> Path:
            (record,) = (project.folder / "out" / "pets" / "runs").glob("*.json")
            (last,) = run.ledger.read(queries.last_runs, "pets")
            seen.append(
                (json.loads(record.read_text())["exit_code"], last["finished_at"])
            )
            return write(*arguments, **named)

        monkeypatch.setattr("pixmill.datasets.report.write_report", look)
        report = paid_out(run)
    (code, finished_at), *_ = seen
    assert code == 0
    assert finished_at
    record = project.folder / "out" / "pets" / "runs" / f"{run.run_id}.json"
    recorded = json.loads(record.read_text())
    assert recorded.pop("at")
    assert recorded.pop("limits")["in_flight"]["cuts"] == 0
    assert recorded == report


def test_no_thumbnail_is_made_after_an_interrupt_and_the_next_run_makes_up_for_it(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A6: the page is there all the same, with the thumbnails that there are."""
    project.write_rows(project.rows(ROWS))
    project.use_simulator(simulated)
    store = project.folder / "out"
    made: list[Path] = []
    save = thumbnails._save

    with prepare(load_config(project.path)) as run:

        def interrupt(image: Image.Image, target: Path) -> None:
            made.append(target)
            save(image, target)
            run.interrupt("SIGTERM")

        monkeypatch.setattr(thumbnails, "_save", interrupt)
        report = paid_out(run)
    assert report["exit_code"] == 0, "all was done when the signal came"
    assert 1 <= len(made) <= thumbnails._THREADS < ROWS
    shown = Path(report["report"])
    assert f"{ROWS} of {ROWS} images" in shown.read_text()
    monkeypatch.setattr(thumbnails, "_save", save)
    run_config(project.path)
    run_config(project.path)
    assert len(list(store.glob("thumbs/*/*.webp"))) == ROWS
    at = shown.stat().st_mtime_ns
    run_config(project.path)
    assert shown.stat().st_mtime_ns == at


def paid_out(prepared: PreparedRun) -> dict[str, Any]:
    """Carry out a run that was prepared."""
    run = prepared.start()
    for chunk in run.chunks():
        run.process(chunk)
    run.fetch_missing()
    return run.finish().as_dict()


# Images that do not come


@pytest.mark.parametrize(
    "paid_before", [False, True], ids=["of this run", "of an earlier run"]
)
def test_an_interrupt_waits_only_a_moment_for_images(
    project: Project, monkeypatch: pytest.MonkeyPatch, paid_before: bool
) -> None:
    """A6: their host takes the request and never answers; they are paid for, pending, and come another time."""
    monkeypatch.setattr(downloads, "END_SECONDS", 0.0)
    current: list[PreparedRun] = []

    def interrupting(peer: Peer) -> None:
        current[0].interrupt("SIGTERM")
        stall()(peer)

    with FaultyServer(interrupting) as images:
        body = json.dumps(success(image_urls=[f"{images.url}/a.jpg"])).encode()
        with FaultyServer(answer(body)) as provider:
            config = configure_run(
                project, provider.url, ROWS, output={"allow_hosts": ["127.0.0.1"]}
            )
            if paid_before:
                run_config(config)
            with prepare(load_config(config, ["output.images=download"])) as run:
                current.append(run)
                report = run_to_end(lambda: paid_out(run))
    rows = results(report)
    paid = [row for row in rows if row["status"] == "succeeded"]
    assert report["exit_code"] == 130
    assert (
        len(paid)
        == report["images_missing"]
        == (ROWS if paid_before else report["calls"])
    )
    assert {row["error_code"] for row in paid} == {"image_pending"}
