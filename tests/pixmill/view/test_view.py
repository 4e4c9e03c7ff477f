"""`pixmill view` over HTTP: what it shows, while runs go on, and whom it lets in."""

import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.dataset_files import RUNNING
from pixmill.datasets.publishing import Published
from pixmill.datasets.running_note import read_running
from pixmill.execution import run as run_module
from pixmill.execution import run_plan
from pixmill.execution.prepare import prepare
from pixmill.ledger import Ledger
from pixmill.view import site as site_module
from pixmill.view import store_ledgers
from pixmill.view.live_jobs import LiveJobs
from pixmill.view.site import open_site
from tests.conftest import Project, Simulated, pay_for_chunks
from tests.pixmill.datasets.published import Shelf
from tests.pixmill.view.open_view import Answer, View
from tests.real_command import Command, wait_until

ROWS = 2_345


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A dataset of several pages, of whose jobs a few have a picture."""
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    jobs = [shelf.job(at, cost=0.2) for at in range(ROWS)]
    for at in (0, 1, 1_500):
        jobs[at]["file_name"] = shelf.image(at)
    jobs[3] = shelf.job(3, status="failed", error_code="50412")
    shelf.publish(jobs)
    (shelf.folder / "secret.txt").write_text("nobody's business")
    (shelf.store / "pets" / "secret.txt").write_text("nobody's business")
    return shelf


@pytest.fixture(scope="module")
def view(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    command = Command(tmp_path_factory.mktemp("home"), forked=True)
    with command.started("view", str(shelf.store), "--no-browser") as process:
        yield View(process)


def jobs_of(page: Answer) -> list[dict[str, Any]]:
    """The texts of a page in which its jobs are."""
    found = re.findall(r'<div class="jobs" hidden>(.*?)</div>', page.text, re.DOTALL)
    return [
        json.loads(text.replace("&#34;", '"').replace("&#39;", "'")) for text in found
    ]


def row_numbers_of(jobs: dict[str, Any]) -> list[int]:
    """All are different, so that they are written as they are."""
    numbers: list[int] = jobs["ours"]["row_number"]
    return numbers


def test_the_page_of_a_store_lists_its_datasets(view: View) -> None:
    page = view.get()
    assert page.status == 200
    assert '<a href="d/pets/">pets</a>' in page.text
    assert page.text.count("<img src=") == 3
    assert "script" not in page.headers.get("Content-Security-Policy", "")


def test_a_dataset_is_shown_page_by_page_as_the_report_shows_it(
    view: View, shelf: Shelf
) -> None:
    first = view.get("d/pets/")
    assert first.status == 200
    assert "Jobs 1 to 1,000 of 2,345. The figures are about all of them" in first.text
    # The figures are about the whole dataset, on each page.
    assert "2,344 of 2,345 images" in first.text
    assert sum(int(str(part["rows"])) for part in jobs_of(first)) == 1_000
    last = view.get("d/pets/?page=3")
    (part,) = jobs_of(last)
    assert part["rows"] == 345
    assert "Jobs 2,001 to 2,345 of 2,345" in last.text
    assert "r2344" in last.text
    assert not jobs_of(view.get("d/pets/?page=9"))
    assert jobs_of(view.get("d/pets/?page=0")) == jobs_of(first)


def test_an_address_without_its_last_slash_leads_to_the_same_page(view: View) -> None:
    answer = view.get("d/pets?page=3")
    assert answer.status == 307
    place = urljoin(f"{view.base}d/pets?page=3", answer.headers["location"])
    assert place == f"{view.base}d/pets/?page=3"


def test_pictures_and_their_thumbnails_are_served_and_none_is_written(
    view: View, shelf: Shelf
) -> None:
    """A view only reads: small pictures are made in memory."""
    name = shelf.image(1_500)
    digest = Path(name).stem
    small = f"d/pets/store/thumbs/{digest[:2]}/{digest}.webp"
    view.get("d/pets/?page=2")
    image = view.get(f"d/pets/store/{name}")
    assert image.body == (shelf.store / name).read_bytes()
    thumbnail = view.get(small)
    assert (thumbnail.status, thumbnail.body[:4]) == (200, b"RIFF")
    assert not (shelf.store / "thumbs").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/d/pets/",
        "/favicon.ico",
        "{token}x/",
        "{short}/d/pets/",
        "{base}d/pets/store/../secret.txt",
        "{base}d/pets/store/../../secret.txt",
        "{base}d/pets/store/%2e%2e/%2e%2e/secret.txt",
        "{base}d/pets/store//etc/passwd",
        "{base}d/pets/store/pets/secret.txt",
        "{base}d/pets/store/pets/dataset.parquet",
        "{base}d/pets/store/ledger.db",
        "{base}d/pets/inputs/%2fetc%2fpasswd",
        "{base}d/pets/store/images/ab/" + "0" * 64 + ".png",
        "{base}d/..%2f../",
        "{base}d/nobody/",
        "{base}d/nobody",
        "{base}d/pets/live/",
        "{base}icon.svg/",
        "{base}s/pets/",
        "{base}d/pets/dataset.parquet",
        "{base}docs",
        "{base}openapi.json",
        "http://169.254.169.254/",
    ],
)
def test_nothing_else_is_reachable(view: View, path: str) -> None:
    """Paths outside, and all of them without the token."""
    token = view.base.rstrip("/")
    asked = path.format(base=view.base, token=token, short=token[:-1])
    answer = view.ask(asked)
    assert answer.status == 404
    assert b"business" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:{port}",
        "0.0.0.0:{port}",
    ],
)
def test_only_its_own_name_leads_to_a_view(view: View, host: str) -> None:
    """Another page of the browser whose name leads here (DNS rebinding) reads nothing."""
    answer = view.ask(view.base, host=host.format(port=view.address.port))
    assert answer.status == 421
    assert b"pets" not in answer.body


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"]
)
def test_nothing_can_be_changed_through_a_view(view: View, method: str) -> None:
    assert view.ask(f"{view.base}d/pets/", method).status in (400, 405)


def test_every_answer_says_that_no_other_page_may_use_it(view: View) -> None:
    for path in (view.base, f"{view.base}d/pets/", "/nothing"):
        headers = {name.lower(): of for name, of in view.ask(path).headers.items()}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_ctrl_c_ends_a_view_well(shelf: Shelf, pixmill: Command) -> None:
    with pixmill.started("view", str(shelf.store), "--no-browser") as process:
        assert View(process).get().status == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(60)
        assert (process.returncode, said) == (0, "")


def test_a_view_of_nothing_says_how_there_is_something(
    pixmill: Command, tmp_path: Path
) -> None:
    missing = pixmill("view", str(tmp_path / "out"), "--no-browser")
    assert missing.exit_code == 2
    assert "there is no store at" in missing.stderr


def test_a_run_is_shown_from_its_first_picture_on_until_it_is_published(
    project: Project, simulated: Simulated, pixmill: Command
) -> None:
    """Nothing is published before a first run has ended, and its jobs are shown all the same."""
    project.write_rows(project.rows(6))
    project.use_simulator(simulated)
    project.write_config(
        input={"row_key": ["id"]},
        budget={"price_per_call": 0.5},
        execution={"jobs_per_task": 2},
    )
    with prepare(load_config(project.path)) as prepared:
        run = prepared.start()
        with pixmill.started("view", project.path, "--no-browser") as process:
            view = View(process)
            chunks = run.chunks()
            run.process(next(chunks))
            wait_until(lambda: view.get().text.count("<img src=") == 2, "two pictures")
            assert "2 of 6 jobs made · 1.00 CNY" in view.get().text
            page = view.get("d/pets/")
            # What the run has not come to yet is no problem that anybody has to look into.
            assert "4 waiting" in page.text
            assert "pixmill repair" not in page.text
            (jobs,) = jobs_of(page)
            assert jobs["rows"] == 6
            assert f'"run": "{run.run_id}"' in page.text.replace("&#34;", '"')
            state = json.loads(view.get("d/pets/live?page=1&seen=0").body)
            assert state["words"].startswith("2 of 6 jobs made · 1.00 CNY")
            # Nothing has ended since: the jobs are not sent again.
            again = f"d/pets/live?page=1&seen={state['seen']}"
            assert "chunks" not in json.loads(view.get(again).body)
            for chunk in chunks:
                run.process(chunk)
            state = json.loads(view.get(again).body)
            assert state["share"] == 1
            (jobs,) = state["chunks"]
            assert jobs["ours"]["status"] == {"values": ["succeeded"], "at": [0] * 6}
            run.finish()
            over = json.loads(view.get(again).body)
            assert over == {"run": None}
            assert "6 of 6 images" in view.get("d/pets/").text
            assert "spent: 3.00 CNY" in view.get().text


def test_a_page_follows_its_run_while_the_dataset_is_published(
    project: Project,
    simulated: Simulated,
    pixmill: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores and a publication take minutes: neither a missing page nor the old dataset is shown."""
    project.use_simulator(simulated)
    publish_plan = run_plan.publish_plan
    seen: list[tuple[int, object, int]] = []

    def look_and_publish(*args: Any, **options: Any) -> Published:
        page = shown.get("d/pets/")
        state = json.loads(shown.get("d/pets/live?page=1&seen=0").body)
        (jobs,) = jobs_of(page)
        seen.append((page.status, state["run"], int(str(jobs["rows"]))))
        return publish_plan(*args, **options)

    monkeypatch.setattr(run_module, "publish_plan", look_and_publish)
    store = project.folder / "out"
    store.mkdir()
    with pixmill.started("view", str(store), "--no-browser") as server:
        shown = View(server)
        for rows in (2, 3):
            project.write_rows(project.rows(rows))
            with prepare(load_config(project.path)) as prepared:
                run = prepared.start()
                pay_for_chunks(run)
                run.finish()
            assert seen.pop() == (200, run.run_id, rows)


def test_the_end_of_a_run_leaves_what_another_run_of_its_config_has_noted(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    config = load_config(project.path)
    with prepare(config) as later:
        with prepare(config) as earlier:
            earlier.start()
            later.start()
        assert read_running(config.dataset_folder)["run_id"] == later.run_id
    assert not (config.dataset_folder / RUNNING).exists()


def test_a_run_that_changes_nothing_notes_nothing(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    config = load_config(project.path)
    # The second leaves the note by which the third knows that nothing is to be done.
    for is_noted in (True, True, False):
        with prepare(config) as prepared:
            run = prepared.start()
            assert (config.dataset_folder / RUNNING).exists() is is_noted
            pay_for_chunks(run)
            run.finish()


def test_the_pages_of_a_run_are_of_the_rows_that_are_selected(
    project: Project, simulated: Simulated, pixmill: Command
) -> None:
    """Rows that `input.where` leaves out take no place on a page, wherever they are in the table."""
    rows = [
        {**row, "wanted": "yes" if at % 2 and at > 500 else "no"}
        for at, row in enumerate(project.rows(2_600))
    ]
    project.write_rows(rows)
    project.use_simulator(simulated)
    project.write_config(input={"where": "wanted == 'yes'"})
    with prepare(load_config(project.path)) as prepared:
        prepared.start()
        with pixmill.started("view", project.path, "--no-browser") as process:
            view = View(process)
            pages = [view.get(f"d/pets/?page={number}") for number in (1, 2, 3)]
    assert "Rows 1 to 1,000 of 1,050" in pages[0].text
    assert "Rows 1,001 to 1,050 of 1,050" in pages[1].text
    found = [
        number
        for page in pages
        for part in jobs_of(page)
        for number in row_numbers_of(part)
    ]
    assert found == [at + 1 for at, row in enumerate(rows) if row["wanted"] == "yes"]


def test_a_run_that_asks_for_candidates_shows_the_newest_of_each_row(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(5))
    project.use_simulator(simulated)
    until = {"candidates": 4, "where": "score_blank > 2"}
    project.write_config(quality={"checks": ["blank"], "until": until})
    config = load_config(project.path)
    # A candidate of each row, and for what is left another of the first two.
    with prepare(config, limit=7) as prepared:
        run = prepared.start()
        pay_for_chunks(run)
        noted = read_running(config.dataset_folder)
        live = LiveJobs(config, page_jobs=8)
        pages = [live.read_page(number, prepared.ledger) for number in range(1, 5)]
        run.finish()
    assert (noted["rows"], live.page_rows) == (5, 2)
    shown = pa.concat_tables(pages).select(["row_number", "candidate", "status"])
    assert shown.to_pylist() == [
        {"row_number": row, "candidate": candidate, "status": "succeeded"}
        for row, candidate in [(1, 1), (2, 1), (3, 0), (4, 0), (5, 0)]
    ]


@pytest.mark.parametrize("slow", ["summarize", "make_bill"])
def test_other_pages_are_sent_while_a_request_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """The figures of a large dataset and the bill of a long ledger take seconds."""
    shelf = Shelf(tmp_path)
    shelf.publish([shelf.job(0)])
    Ledger(load_config(shelf.path).ledger_address).close()
    module = {"summarize": site_module, "make_bill": store_ledgers}[slow]
    add_up = getattr(module, slow)
    during: list[str] = []

    def look_and_add_up(*of: Any) -> Any:
        monkeypatch.setattr(module, slow, add_up)
        during.append(others.submit(site.index_page).result(timeout=30))
        return add_up(*of)

    with open_site(shelf.store) as site, ThreadPoolExecutor(1) as others:
        pets = site.datasets.find("d/pets")
        assert pets
        monkeypatch.setattr(module, slow, look_and_add_up)
        if slow == "summarize":
            "".join(site.dataset_page(pets, 1))
        else:
            site.index_page()
        assert ">pets</a>" in during[0]
