"""Whole runs that look at their input images first: a bad one costs nothing, a good one is asked for once."""

import hashlib
import json
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pixmill.cli.run import REHEARSAL
from pixmill.config.loading import load_config
from pixmill.errors import PixmillError, TableError
from pixmill.execution.prepare import prepare
from pixmill.ledger.input_images import InputImage
from pixmill.planning.input_images import HOLDS_MICROS
from pixmill.planning.planner import plan_config
from pixmill.planning.row_checks import REASONS
from pixmill.storage.image_decoding import INPUT_BYTES
from tests.conftest import Project, Simulated, results, run_config, simulator
from tests.faulty_server import Behaviour, FaultyServer, Peer, answer, stall
from tests.pixmill.run_checks import (
    CheckedRun,
    assert_usage_error,
    check_run,
    ledger,
    run_and_check,
    simulator_charges,
)
from tests.pixmill.sample_pictures import JPEG, NO_IMAGES, picture
from tests.real_command import Command, run_arguments, wait_for_result, wait_until

PNG = picture("PNG")


class Album(FaultyServer):
    """Serves a page for each path; a path without one is a 404."""

    def __init__(self, pages: Mapping[str, Behaviour]) -> None:
        super().__init__(self._show)
        self.pages = dict(pages)

    def _show(self, peer: Peer) -> None:
        path = peer.request.split()[1].decode().removeprefix("/")
        self.pages.get(path, answer(b"", 404))(peer)

    @property
    def asked(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(
            request.split()[1].decode().removeprefix("/")
            for request in list(self.requests)
        )


@pytest.fixture
def album() -> Iterator[Album]:
    with Album({"a": answer(JPEG), "b": answer(PNG), "c": answer(JPEG)}) as serving:
        yield serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


@pytest.fixture
def simulated(running: Simulated) -> Simulated:
    """The simulator of all tests here, with a new bill."""
    running.bill.path.write_bytes(b"")
    return running


@pytest.fixture
def shop(project: Project, simulated: Simulated) -> Project:
    """A project that checks its images and bears with every row that is invalid."""
    project.use_simulator(simulated)
    project.write_config(input={"row_key": ["id"], "images": "check", "max_invalid": 1})
    return project


def show(project: Project, album: Album, *paths: str, **more: str) -> None:
    """Write a table with a row for each path in the album, named after it."""
    rows = [
        {
            "id": path,
            "photo": f"{album.url}/{path}",
            "text": f"a pet called {path}",
            **more,
        }
        for path in paths
    ]
    project.write_rows(rows)


def statuses(of: CheckedRun) -> list[tuple[str, str | None]]:
    return list(zip(of.column("status"), of.column("error_code"), strict=True))


def good(count: int) -> list[tuple[str, None]]:
    return [("succeeded", None)] * count


# Addresses inside.


@pytest.mark.parametrize("images", ["check", "keep"])
@pytest.mark.parametrize("rehearsed", [False, True], ids=["simulated", "rehearsed"])
def test_a_table_reaches_no_service_of_this_machine_through_a_simulated_run(
    project: Project, album: Album, images: str, rehearsed: bool
) -> None:
    show(project, album, "a", "b")
    project.write_config(input={"images": images, "max_invalid": 1})
    if rehearsed:
        project.write_config(
            provider={"kind": "gateway", "base_url": "https://gateway.invalid"}
        )
    report = run_config(project.path, *(REHEARSAL if rehearsed else ()))
    assert (report["invalid"], report["calls"]) == (2, 0)
    assert {row["error_code"] for row in results(report)} == {"private_address"}
    assert album.connections == 0


def test_a_host_of_the_table_is_looked_at_in_a_simulated_run_where_the_config_names_it(
    project: Project, album: Album
) -> None:
    show(project, album, "a")
    project.write_config(
        input={"images": "check"}, output={"allow_hosts": ["127.0.0.1"]}
    )
    assert run_config(project.path)["succeeded"] == 1
    assert album.asked == {"a": 1}


# Check.

BAD: dict[str, tuple[str, Behaviour]] = {
    "gone": ("input_not_found", answer(b"", 404)),
    "page": (
        "input_type",
        answer(NO_IMAGES["html"], headers={"Content-Type": "image/jpeg"}),
    ),
    "gif": ("input_type", answer(NO_IMAGES["gif"])),
    "cut": ("input_damaged", answer(JPEG[:-200])),
    "large": ("input_too_large", answer(bytes(INPUT_BYTES + 1))),
    "secret": ("input_forbidden", answer(JPEG, 403)),
}


def test_a_row_with_a_bad_image_is_invalid_and_nothing_is_paid_for_it(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    album.pages |= {path: page for path, (_, page) in BAD.items()}
    show(shop, album, "a", *BAD, "b")
    first = run_and_check(shop.path, simulator_charges(simulated))
    problems = [problem for problem, _ in BAD.values()]
    assert statuses(first) == [
        *good(1),
        *(("invalid", problem) for problem in problems),
        *good(1),
    ]
    assert (
        first.report["exit_code"],
        first.report["invalid"],
        first.report["calls"],
    ) == (
        3,
        len(BAD),
        2,
    )
    assert simulated.bill.calls == 2
    assert album.asked == dict.fromkeys(["a", *BAD, "b"], 1)
    messages = first.column("error_message")[1:-1]
    assert all(
        text.startswith(f"{REASONS[of]} (")
        for text, of in zip(messages, problems, strict=True)
    )
    listed = pq.read_table(
        Path(first.report["dataset"]).with_name("invalid.parquet")
    ).to_pylist()
    assert [
        (row["row_number"], row["column"], row["reason"], row["message"])
        for row in listed
    ] == [
        (number, "photo", *said)
        for number, said in enumerate(zip(problems, messages, strict=True), 2)
    ]
    assert [json.loads(row["values"])["id"] for row in listed] == list(BAD)


def test_what_is_at_fault_of_several_images_is_named_by_its_column(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    shop.write_config(
        input={"columns": {"image_url": ["photo", "style"], "prompt": "text"}}
    )
    show(shop, album, "a", "b", "gone", style=f"{album.url}/nowhere")
    first = run_and_check(shop.path, simulator_charges(simulated))
    listed = pq.read_table(
        Path(first.report["dataset"]).with_name("invalid.parquet")
    ).to_pylist()
    assert [(row["column"], row["reason"]) for row in listed] == [
        (column, "input_not_found") for column in ("style", "style", "photo")
    ]
    assert album.asked == {"a": 1, "b": 1, "gone": 1, "nowhere": 1}


def test_too_many_bad_images_stop_the_run_before_it_pays(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "b", "gone", "lost")
    shop.write_config(input={"max_invalid": 0.49})
    with pytest.raises(
        TableError,
        match=r"2 of 4 rows are invalid \(2 input_not_found\).*nothing was sent",
    ):
        run_config(shop.path)
    assert simulated.bill.calls == 0
    assert (
        run_and_check(
            shop.path, simulator_charges(simulated), "input.max_invalid=0.5"
        ).report["calls"]
        == 2
    )


def test_a_second_run_asks_for_no_image_and_pays_nothing(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "gone", "b")
    first = run_and_check(shop.path, simulator_charges(simulated))
    looked = album.asked
    second = run_and_check(shop.path, simulator_charges(simulated))
    assert (
        second.report["exit_code"],
        second.report["calls"],
        second.report["cached"],
    ) == (
        0,
        0,
        2,
    )
    assert (
        statuses(second)
        == statuses(first)
        == [("succeeded", None), ("invalid", "input_not_found"), *good(1)]
    )
    assert album.asked == looked


@pytest.mark.parametrize("others", [["a"], []], ids=["among good ones", "alone"])
def test_an_image_that_was_unreachable_is_asked_for_again_and_paid_for(
    shop: Project, simulated: Simulated, album: Album, others: list[str]
) -> None:
    album.pages["flaky"] = answer(b"", 503)
    show(shop, album, *others, "flaky")
    assert statuses(run_and_check(shop.path, simulator_charges(simulated)))[-1] == (
        "invalid",
        "input_unreachable",
    )
    album.pages["flaky"] = answer(JPEG)
    repaired = run_and_check(shop.path, simulator_charges(simulated))
    assert statuses(repaired) == good(1 + len(others))
    assert (repaired.report["exit_code"], repaired.report["calls"]) == (0, 1)
    assert album.asked == {**dict.fromkeys(others, 1), "flaky": 3}
    assert simulated.bill.calls == 1 + len(others)


def test_an_image_that_was_not_found_is_asked_for_again_after_a_day(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "gone")
    run_and_check(shop.path, simulator_charges(simulated))
    album.pages["gone"] = answer(JPEG)
    assert statuses(run_and_check(shop.path, simulator_charges(simulated)))[1] == (
        "invalid",
        "input_not_found",
    )
    with closing(
        sqlite3.connect(load_config(shop.path).store_path / "ledger.db")
    ) as aged:
        aged.execute("UPDATE inputs SET checked_at = checked_at - ?", (HOLDS_MICROS,))
        aged.commit()
    assert statuses(run_and_check(shop.path, simulator_charges(simulated))) == good(2)
    assert album.asked == {"a": 1, "gone": 2}


def test_only_rows_that_would_be_paid_for_are_looked_at(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "b")
    pay_and_forget(shop, simulated, album)
    rows = [
        {"id": path, "photo": f"{album.url}/{path}", "text": f"a pet called {path}"}
        for path in "abcde"
    ]
    rows[3]["text"] = " "
    shop.write_rows(rows)
    where = """input.where='id != "e"'"""
    second = ran_some(shop.path, simulated, where)
    assert second.column("status") == ["succeeded", "succeeded", "succeeded", "invalid"]
    assert second.report["calls"] == 1
    assert album.asked == {"c": 1}


def pay_and_forget(shop: Project, simulated: Simulated, album: Album) -> None:
    """Pay for the whole table, as if without a look at its images."""
    run_and_check(shop.path, simulator_charges(simulated))
    with closing(
        sqlite3.connect(load_config(shop.path).store_path / "ledger.db")
    ) as forgetful:
        forgetful.execute("DELETE FROM inputs")
        forgetful.commit()
    album.requests.clear()


def ran_some(
    config: str, simulated: Simulated, *overrides: str, limit: int | None = None
) -> CheckedRun:
    """Like `ran`, where rows of the dataset are not one for each of the table."""
    report = run_config(config, *overrides, limit=limit)
    assert (
        simulated.bill.calls == simulated.bill.charged == len(set(simulated.bill.keys))
    )
    return CheckedRun(report, results(report))


def test_each_image_is_asked_for_once_however_many_points_and_rows_have_it(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "gone", "b")
    with (shop.folder / "pets.csv").open("a") as table:
        table.write(f"again,{album.url}/a,another pet\n")
    shop.write_config(
        sweep={"groups": [{"grid": {"scale": [2, 3, 4], "ddim_steps": [16, 25]}}]},
        seed={"replicates": 2},
    )
    swept = ran_some(shop.path, simulated)
    assert (swept.report["jobs"], swept.report["invalid"], simulated.bill.calls) == (
        3 * 12 + 1,
        1,
        36,
    )
    assert album.asked == {"a": 1, "gone": 1, "b": 1}
    assert statuses(swept) == [*good(12), ("invalid", "input_not_found"), *good(24)]


def test_a_limit_lets_only_so_many_images_be_looked_at_and_none_is_paid_for_unseen(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    """Where one is bad, the next row moves up, and is looked at as well."""
    paths = ["x", "y", "z", *map(str, range(17))]
    album.pages |= dict.fromkeys(paths[3:], answer(JPEG))
    show(shop, album, *paths)
    assert ran_some(shop.path, simulated, limit=0).report["calls"] == 0
    assert album.asked == {}
    first = ran_some(shop.path, simulated, limit=2)
    assert Counter(first.column("status")) == {
        "invalid": 3,
        "succeeded": 2,
        "skipped": 15,
    }
    paid = {row["id"] for row in first.rows if row["status"] == "succeeded"}
    assert paid == {"0", "1"} <= album.asked.keys()
    assert len(album.asked) <= 10
    assert set(album.asked.values()) == {1}
    assert Counter(ran_some(shop.path, simulated).column("status")) == {
        "invalid": 3,
        "succeeded": 17,
    }
    assert album.asked == dict.fromkeys(paths, 1)


def test_of_equal_requests_the_one_that_is_paid_for_has_been_looked_at(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    """Two signatures of one image: where the first has expired, the second stands for both."""
    shop.write_config(input={"ignore_url_params": ["sign"]})
    album.pages["a?sign=new"] = answer(JPEG)
    rows = [
        {"id": sign, "photo": f"{album.url}/a?sign={sign}", "text": "a pet"}
        for sign in ("old", "new", "newer")
    ]
    shop.write_rows(rows[:2])
    first = run_and_check(shop.path, simulator_charges(simulated))
    assert statuses(first) == [("invalid", "input_not_found"), *good(1)]
    assert album.asked == {"a?sign=old": 1, "a?sign=new": 1}
    shop.write_rows(rows)
    assert statuses(run_and_check(shop.path, simulator_charges(simulated))) == good(3)
    assert simulated.bill.calls == 1
    assert "a?sign=newer" not in album.asked


def test_what_was_paid_for_stays_when_its_image_is_gone(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    """And nothing more is paid for such a row."""
    show(shop, album, "a", "b")
    pay_and_forget(shop, simulated, album)
    del album.pages["b"]
    for images in ("keep", "check"):
        later = run_and_check(
            shop.path, simulator_charges(simulated), f"input.images={images}"
        )
        assert (statuses(later), later.report["exit_code"], later.report["calls"]) == (
            good(2),
            0,
            0,
        )
        assert later.column("input_image")[1] is None
    shop.write_config(sweep={"groups": [{"grid": {"scale": [3, 4]}}]})
    swept = ran_some(shop.path, simulated)
    assert statuses(swept) == [*good(2), ("invalid", "input_not_found")]
    assert simulated.bill.calls == 3


def test_a_run_goes_by_what_was_known_when_it_was_planned(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    """Another run may look at the same images meanwhile, and find one gone."""
    show(shop, album, "a", "b")
    with prepare(load_config(shop.path)) as prepared:
        prepared.ledger.record_input(
            InputImage(f"{album.url}/b", 1, "input_not_found", "gone meanwhile")
        )
        run = prepared.start()
        for chunk in run.chunks():
            run.process(chunk)
        report = run.finish().as_dict()
    assert [row["status"] for row in results(report)] == ["succeeded", "succeeded"]


def test_a_plan_asks_for_no_image_and_counts_what_is_known(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "gone", "b")
    config = load_config(shop.path)
    before = plan_config(config).summary()
    assert (before["pending"], before["invalid"]) == (3, 0)
    assert album.asked == {}
    run_and_check(shop.path, simulator_charges(simulated))
    looked = album.asked
    after = plan_config(config)
    assert (after.to_pay, after.invalid, after.reasons) == (
        0,
        1,
        {"input_not_found": 1},
    )
    assert [shown.row_number for shown in after.examples["input_not_found"]] == [2]
    assert album.asked == looked


def test_without_check_and_keep_nothing_is_asked_for_and_nothing_known_matters(
    shop: Project, simulated: Simulated
) -> None:
    shop.write_rows(shop.rows(2))
    gone, kept = (row["photo"] for row in shop.rows(2))
    with prepare(load_config(shop.path, ["input.images=url"])) as run:
        run.ledger.record_input(InputImage(gone, 1, "input_not_found", "gone"))
        run.ledger.record_input(InputImage(kept, 1, file_name="images/ab/ab.jpg"))
    unseen = run_and_check(shop.path, simulator_charges(simulated), "input.images=url")
    assert (statuses(unseen), unseen.column("input_image")) == (good(2), [None, None])


def test_an_image_inside_is_not_asked_for_unless_its_host_is_allowed(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a")
    first = run_and_check(
        shop.path,
        simulator_charges(simulated),
        "output.allow_hosts=[]",
        "output.images=url",
    )
    assert statuses(first) == [("invalid", "private_address")]
    assert album.requests == []


# Keep.


def test_kept_images_stand_in_the_store_under_their_hash_and_equal_ones_once(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    show(shop, album, "a", "b", "c", "gone")
    kept = run_and_check(shop.path, simulator_charges(simulated), "input.images=keep")
    names = kept.column("input_image")
    assert [digest_of(name) for name in names[:3]] == [
        hashlib.sha256(data).hexdigest() for data in (JPEG, PNG, JPEG)
    ]
    assert names[0] == names[2]
    assert (names[3], statuses(kept)[3]) == (None, ("invalid", "input_not_found"))
    store = load_config(shop.path).store_path
    for name in names[:3]:
        assert hashlib.sha256((store / name).read_bytes()).hexdigest() == digest_of(
            name
        )
    again = run_and_check(shop.path, simulator_charges(simulated), "input.images=keep")
    assert (again.report["calls"], again.column("input_image")) == (0, names)
    assert album.asked == dict.fromkeys(["a", "b", "c", "gone"], 1)


def digest_of(name: str) -> str:
    return Path(name).stem


def test_all_valid_rows_are_kept_though_all_is_paid_for(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    rows = [
        {
            "id": path,
            "photo": f"{album.url}/{path}",
            "text": "" if path == "c" else path,
        }
        for path in "abc"
    ]
    shop.write_rows(rows)
    run_and_check(shop.path, simulator_charges(simulated))
    assert set(album.asked) == {"a", "b"}
    kept = run_and_check(shop.path, simulator_charges(simulated), "input.images=keep")
    assert (kept.report["calls"], set(album.asked)) == (0, {"a", "b"})
    assert [name is not None for name in kept.column("input_image")] == [
        True,
        True,
        False,
    ]
    (load_config(shop.path).store_path / kept.column("input_image")[0]).unlink()
    again = run_and_check(shop.path, simulator_charges(simulated), "input.images=keep")
    assert again.column("input_image") == kept.column("input_image")
    assert album.asked == {"a": 3, "b": 2}


def test_a_sweep_over_several_images_names_the_first_ones_file(
    shop: Project, simulated: Simulated, album: Album
) -> None:
    shop.write_config(
        input={
            "columns": {"image_url": ["photo", "style"], "prompt": "text"},
            "images": "keep",
        },
        sweep={"groups": [{"grid": {"scale": [2, 3, 4]}}]},
    )
    show(shop, album, "a", "b", style=f"{album.url}/b")
    kept = ran_some(shop.path, simulated)
    of_row = [hashlib.sha256(data).hexdigest() for data in (JPEG, PNG)]
    assert [digest_of(name) for name in kept.column("input_image")] == [
        of_row[0]
    ] * 3 + [of_row[1]] * 3
    assert album.asked == {"a": 1, "b": 1}


def test_image_files_are_kept_as_well_and_need_no_look(
    shop: Project, simulated: Simulated
) -> None:
    for name, data in (
        ("a.jpg", JPEG),
        ("b.png", PNG),
        ("copy.jpg", JPEG),
        ("no.jpg", b""),
    ):
        (shop.folder / name).write_bytes(data)
    names = ["a.jpg", "b.png", "copy.jpg", "no.jpg"]
    shop.write_rows(
        [{"id": name, "photo": name, "text": f"a pet in {name}"} for name in names]
    )
    shop.write_config(input={"columns": {"prompt": "text"}})
    shop.config["input"]["columns"]["image_file"] = shop.config["input"]["columns"].pop(
        "image_url", "photo"
    )
    checked = run_and_check(shop.write_config(), simulator_charges(simulated))
    assert checked.column("input_image") == [None] * 4
    kept = run_and_check(
        shop.write_config(), simulator_charges(simulated), "input.images=keep"
    )
    files = kept.column("input_image")
    assert [digest_of(file) for file in files[:3]] == [
        hashlib.sha256(of).hexdigest() for of in (JPEG, PNG, JPEG)
    ]
    assert (kept.report["calls"], files[3], statuses(kept)[3][0]) == (
        0,
        None,
        "invalid",
    )
    store = load_config(shop.path).store_path
    assert [(store / file).read_bytes() for file in files[:3]] == [JPEG, PNG, JPEG]
    (store / files[1]).unlink()
    assert (
        run_and_check(
            shop.path, simulator_charges(simulated), "input.images=keep"
        ).column("input_image")
        == files
    )
    assert (store / files[1]).read_bytes() == PNG


@pytest.mark.parametrize("images", ["url", "check", "keep"])
def test_a_cut_image_file_costs_nothing_and_the_row_beside_it_goes_on(
    shop: Project, simulated: Simulated, images: str
) -> None:
    for name, data in (("whole.jpg", JPEG), ("cut.jpg", JPEG[:-200])):
        (shop.folder / name).write_bytes(data)
    (shop.folder / "itself.jpg").symlink_to("itself.jpg")
    odd = {
        "cut.jpg": "input_damaged",
        "itself.jpg": "image_file_missing",
        "n" * 300: "image_file_missing",
    }
    rows = [
        {"id": name, "photo": name, "text": "a pet"} for name in (*odd, "whole.jpg")
    ]
    shop.write_rows(rows)
    shop.config["input"]["columns"] = {"image_file": "photo", "prompt": "text"}
    done = run_and_check(
        shop.write_config(input={"images": images}), simulator_charges(simulated)
    )
    assert statuses(done) == [
        *(("invalid", reason) for reason in odd.values()),
        *good(1),
    ]
    assert simulated.bill.charged == 1


@pytest.mark.parametrize("images", ["url", "keep"])
def test_what_was_paid_for_a_damaged_image_file_before_stays_a_success(
    shop: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, images: str
) -> None:
    (shop.folder / "cut.jpg").write_bytes(JPEG[:-200])
    shop.write_rows([{"id": "1", "photo": "cut.jpg", "text": "a pet"}])
    shop.config["input"]["columns"] = {"image_file": "photo", "prompt": "text"}
    with monkeypatch.context() as earlier:  # versions that looked at the header only
        earlier.setattr("pixmill.planning.batch_plan.damaged_files", lambda *_: {})
        assert run_config(shop.write_config(input={"images": "url"}))["succeeded"] == 1
    again = run_and_check(
        shop.write_config(input={"images": images}), simulator_charges(simulated)
    )
    assert statuses(again) == good(1)
    assert simulated.bill.charged == 1


@pytest.mark.parametrize("local", [False, True], ids=["URLs", "files"])
def test_a_store_that_takes_no_images_is_named_before_anything_is_paid(
    shop: Project, simulated: Simulated, album: Album, local: bool
) -> None:
    show(shop, album, "a")
    if local:
        (shop.folder / "a.jpg").write_bytes(JPEG)
        shop.write_rows([{"id": "a", "photo": "a.jpg", "text": "a pet"}])
        shop.config["input"]["columns"] = {"image_file": "photo", "prompt": "text"}
    store = load_config(shop.write_config()).store_path
    store.mkdir(exist_ok=True)
    (store / "images").write_bytes(b"")
    with pytest.raises(PixmillError, match="input images can't be stored"):
        run_config(shop.path, "input.images=keep")
    assert simulated.bill.calls == 0


# The command.


def test_the_command_says_what_it_looked_at_before_it_asks_for_leave_to_pay(
    shop: Project, simulated: Simulated, album: Album, pixmill: Command
) -> None:
    show(shop, album, "a", "gone", "lost", "b")
    first, second = (pixmill("run", shop.path, "--json") for _ in range(2))
    assert_usage_error(
        first, "checked 4 input images: 2 not found", "would pay for 2 calls"
    )
    assert_usage_error(second, "would pay for 2 calls")
    assert "checked " not in second.stderr
    assert album.asked == {"a": 1, "gone": 1, "lost": 1, "b": 1}
    assert simulated.bill.calls == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_look_pays_nothing_and_keeps_what_was_answered(
    shop: Project,
    simulated: Simulated,
    album: Album,
    pixmill: Command,
    number: signal.Signals,
) -> None:
    """Hosts that do not answer hold the end up for nothing: they would have 20 seconds, twice."""
    album.pages |= {"slow": stall(), "slower": stall()}
    show(shop, album, "a", "slow", "gone", "slower", "b")
    known = "SELECT url FROM inputs"
    ledger_file = load_config(shop.path).store_path / "ledger.db"
    with pixmill.started(*run_arguments(shop.path)) as process:
        wait_until(lambda: len(album.requests) == 5, "five images are asked for")
        wait_until(
            lambda: ledger_file.exists() and len(ledger(shop.path, known)) == 3,
            "three answers are known",
        )
        process.send_signal(number)
        process.wait(15)
        interrupted = wait_for_result(process)
    assert (interrupted.exit_code, interrupted.report["exit_code"]) == (130, 130), (
        interrupted.stderr
    )
    assert (interrupted.report["calls"], simulated.bill.calls) == (0, 0)
    assert "Traceback" not in interrupted.stderr
    assert {url.rpartition("/")[2] for (url,) in ledger(shop.path, known)} == {
        "a",
        "gone",
        "b",
    }
    album.pages |= {"slow": answer(JPEG), "slower": answer(JPEG)}
    resumed = run_and_check(shop.path, simulator_charges(simulated))
    assert statuses(resumed) == [*good(2), ("invalid", "input_not_found"), *good(2)]
    assert album.asked == {"a": 1, "gone": 1, "b": 1, "slow": 2, "slower": 2}


@pytest.mark.slow
def test_a_flow_run_looks_by_itself_and_the_command_goes_on(
    shop: Project, simulated: Simulated, album: Album, prefect_api: str, quick: Command
) -> None:
    """Both through Prefect: what one was told of an image, the other knows."""
    show(shop, album, "a", "gone", "b")
    shop.write_config(budget={"max_calls": 2})
    report = flow_of(shop.path, prefect_api)
    assert statuses(
        CheckedRun(report, check_run(shop.path, report, simulator_charges(simulated)()))
    ) == [
        *good(1),
        ("invalid", "input_not_found"),
        *good(1),
    ]
    show(shop, album, "a", "gone", "b", "c", "lost")
    resumed = quick(*run_arguments(shop.path))
    assert (resumed.exit_code, resumed.report["calls"], resumed.report["invalid"]) == (
        3,
        1,
        2,
    ), resumed.stderr
    assert "checked 2 input images: 1 not found" in resumed.stderr
    assert simulated.bill.calls == 3
    assert album.asked == {"a": 1, "gone": 1, "b": 1, "c": 1, "lost": 1}


def flow_of(config: str, url: str) -> dict[str, Any]:
    """Let the flow run in this process with the Prefect API at `url`."""
    from prefect.logging.handlers import (
        APILogHandler,
    )  # only slow tests wait for its import
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_LOGGING_LEVEL,
        temporary_settings,
    )

    from flows.generate import generate_dataset

    with temporary_settings({PREFECT_API_URL: url, PREFECT_LOGGING_LEVEL: "CRITICAL"}):
        report: dict[str, Any] = generate_dataset(config, new_store=True)
        APILogHandler().flush()
    return report
