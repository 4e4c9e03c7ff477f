"""`pixmill verify` and `pixmill repair` as people and programs use them."""

import signal
import threading
from collections.abc import Iterator

import pytest

from tests.conftest import Project, Simulated, run_config, simulator
from tests.faulty_server import FaultyServer, Peer, answer, message
from tests.pixmill.damage import (
    ROWS,
    copied,
    edit_ledger,
    flip,
    image_files,
    paid_store,
    rows,
)
from tests.pixmill.run_checks import assert_usage_error
from tests.pixmill.sample_pictures import JPEG
from tests.real_command import PATIENCE, Command, wait_for_result, wait_until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    with simulator(tmp_path_factory.mktemp("simulator")) as started:
        yield started


@pytest.fixture
def paid(project: Project, running: Simulated) -> Project:
    """A project whose rows are paid for, with their images."""
    return copied(project, paid_store(project.folder / "paid", running), running)


@pytest.fixture
def imageless(project: Project, running: Simulated) -> Project:
    """A project whose thirty rows are paid for, and none of whose images is there."""
    project.write_rows(project.rows(30))
    project.use_simulator(running)
    run_config(project.path, "output.images=url")
    return project


def test_verify_repair_verify(
    paid: Project, pixmill: Command, running: Simulated
) -> None:
    calls = running.bill.calls
    good = pixmill("verify", paid.path, "--json")
    assert (good.exit_code, good.report["wrong"], good.report["findings"]) == (0, 0, [])
    assert good.stderr.splitlines()[-1] == "everything is as it was stored"
    broken, gone = image_files(paid)[:2]
    flip(broken, 500)
    gone.unlink()

    bad = pixmill("verify", paid.path, "--json")
    assert (bad.exit_code, bad.report["exit_code"], bad.report["images"]) == (
        3,
        3,
        ROWS,
    )
    assert {found["file"]: found["problem"] for found in bad.report["findings"]} == {
        str(broken): "damaged",
        str(gone): "missing",
    }
    assert str(broken) in bad.stderr
    assert bad.stderr.splitlines()[-1] == f"next: pixmill repair {paid.path}"

    mended = pixmill("repair", paid.path, "--json")
    said = mended.report
    assert (mended.exit_code, said["forgotten"], said["fetched"], said["missing"]) == (
        0,
        2,
        2,
        [],
    )
    assert pixmill("verify", paid.path).exit_code == 0
    assert running.bill.calls == calls


def test_what_is_lost_is_listed_in_full_for_programs_and_in_part_for_people(
    imageless: Project, pixmill: Command
) -> None:
    with FaultyServer(answer(b"", 403)) as album:
        edit_ledger(
            imageless,
            "UPDATE jobs SET url_expires_at = 1, output_urls = ?",
            f'["{album.url}/x"]',
        )
        lost = pixmill("repair", imageless.path, "--json")
    assert (
        lost.exit_code,
        lost.report["image_lost"],
        lost.report["image_pending"],
    ) == (3, 30, 0)
    assert [row["row_number"] for row in lost.report["missing"]] == list(range(1, 31))
    assert lost.stderr.count("image_lost") == 20
    assert "… and 10 more" in lost.stderr
    assert {row["error_code"] for row in rows(imageless)} == {"image_lost"}
    status = pixmill("status", imageless.path, "--json")
    assert "  repair: 0 images fetched, 30 rows without their image\n" in status.stderr
    assert status.report["runs"][0]["summary"]["exit_code"] == 3


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_before_the_first_run_there_is_nothing_to_look_after(
    project: Project, pixmill: Command, command: str
) -> None:
    project.write_rows(project.rows(1))
    assert_usage_error(pixmill(command, project.write_config(), "--json"), "hint: ")
    assert not (project.folder / "out").exists()


def test_a_row_does_not_print_what_a_terminal_would_obey(
    paid: Project, pixmill: Command
) -> None:
    """G17: row keys come from the table."""
    paid.write_rows(
        [{**row, "id": f"{row['id']}\x1b]0;x\x07\r"} for row in paid.rows(3)]
    )
    paid.write_config(input={"row_key": ["id"]})
    image_files(paid)[0].unlink()
    paid.write_config(output={"allow_hosts": []})
    shown = pixmill("repair", paid.path)
    assert shown.exit_code == 3
    assert "r0" in shown.stderr
    assert not {"\x1b", "\x07", "\r"} & set(shown.stderr)


def test_a_signal_ends_a_repair_with_its_json_line(
    imageless: Project, pixmill: Command
) -> None:
    """A6: what is being fetched comes in, what is here is published, the rest stays pending."""
    interrupted = threading.Event()

    def slow(peer: Peer) -> None:
        interrupted.wait(PATIENCE)
        peer.send(message(JPEG))

    with FaultyServer(slow) as album:
        edit_ledger(imageless, "UPDATE jobs SET output_urls = ?", f'["{album.url}/x"]')
        with pixmill.started("repair", imageless.path, "--json") as process:
            wait_until(
                lambda: len(album.requests) >= 8, "as many fetches as there are threads"
            )
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not interrupted.wait(0.5), "a moment for the signal")
            interrupted.set()
            done = wait_for_result(process)
    assert (done.exit_code, done.report["exit_code"]) == (130, 130)
    assert 8 <= done.report["fetched"] < 30
    assert done.report["image_pending"] == 30 - done.report["fetched"]
    assert (
        sum(row["file_name"] is not None for row in rows(imageless))
        == done.report["fetched"]
    )
