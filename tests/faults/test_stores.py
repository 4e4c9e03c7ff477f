"""Stores that can't be written, or can't do what others can: found or made up for before anything is paid."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pixmill.config.loading import load_config
from pixmill.datasets.publishing import check_publishable
from pixmill.datasets.verification import verify
from pixmill.errors import UserError
from pixmill.storage import open_store
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.datasets.publishing import publish_versions
from tests.postgres import database_url, postgres

__all__ = ["database_url", "postgres"]


def no_folder(path: Path) -> None:
    """A file where a folder should be: refused to the administrator as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")


@pytest.mark.stack
@pytest.mark.parametrize("mode", ["download", "url", "inline"])
@pytest.mark.parametrize("what", ["pets", "pets/runs", "pets/history"])
def test_a_store_that_can_not_be_written_beside_a_ledger_elsewhere_costs_nothing(
    project: Project, simulated: Simulated, database_url: str, mode: str, what: str
) -> None:
    """B18: the ledger in PostgreSQL takes every claim, and says nothing of the folder."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(ledger=database_url, output={"images": mode})
    path = project.folder / "out" / what
    no_folder(path)
    with pytest.raises(UserError, match=f"{what} can't be written: ") as refused:
        run_config(project.path)
    assert "nothing was paid" in refused.value.hint
    assert simulated.bill.calls == 0
    path.unlink()
    report = run_config(project.path)
    assert (report["exit_code"], report["calls"]) == (0, 3)


@pytest.mark.stack
@pytest.mark.parametrize("mode", ["download", "url", "inline"])
def test_a_store_that_can_not_be_made_beside_a_ledger_elsewhere_costs_nothing(
    project: Project, simulated: Simulated, database_url: str, mode: str
) -> None:
    """B18: a folder that nobody can make, not even the administrator."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    project.write_config(
        store="/proc/pixmill-store", ledger=database_url, output={"images": mode}
    )
    with pytest.raises(UserError, match="/proc/pixmill-store can't be written: "):
        run_config(project.path)
    assert simulated.bill.calls == 0


@pytest.mark.parametrize("what", ["pets", "pets/runs", "pets/history"])
def test_a_dataset_that_can_not_be_written_costs_nothing(
    project: Project, simulated: Simulated, what: str
) -> None:
    """B18: with the ledger in the same folder, which can be written."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    no_folder(project.folder / "out" / what)
    with pytest.raises(UserError, match=f"{what} can't be written: "):
        run_config(project.path)
    assert simulated.bill.calls == 0


def test_a_file_where_the_images_belong_costs_nothing(
    project: Project, simulated: Simulated
) -> None:
    """B18: otherwise it would be found with the first picture, which is paid for by then."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    no_folder(project.folder / "out" / "images")
    with pytest.raises(UserError, match="images is a file, so no image could be") as no:
        run_config(project.path)
    assert "nothing was paid" in no.value.hint
    assert simulated.bill.calls == 0


def test_looking_whether_a_store_can_be_written_leaves_nothing_in_it(
    project: Project, simulated: Simulated
) -> None:
    project.write_rows(project.rows(1))
    project.use_simulator(simulated)
    run_config(project.path)
    before = sorted((project.folder / "out").rglob("*"))
    config = load_config(project.path)
    open_store(config).check_writable()
    check_publishable(config)
    assert sorted((project.folder / "out").rglob("*")) == before


def no_links(number: int) -> Callable[..., None]:
    """What a file system without hard links says."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    "number",
    [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS],
    ids=errno.errorcode.get,
)
def test_a_store_without_hard_links_keeps_its_history(
    project: Project,
    simulated: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """B19: exFAT, FUSE and some mounts have none; the second publication is the first that would want one."""
    project.write_rows(project.rows(3))
    project.use_simulator(simulated)
    run_config(project.path)
    monkeypatch.setattr(os, "link", no_links(number))
    config = load_config(project.path)
    publish_versions(config, "ab")
    kept = sorted((config.dataset_folder / "history").glob("*.parquet"))
    assert [pq.read_table(path).num_rows for path in kept] == [3, 3]
    assert set(pq.read_table(kept[1])["rephraser_result"].to_pylist()) == {"a"}
    assert [
        json.loads(path.with_suffix(".json").read_text())["rows"] for path in kept
    ] == [3, 3]
    assert not list(config.dataset_folder.rglob("*.tmp"))
    publish_versions(config, "c")
    assert verify(config).problems == {}


def test_a_store_whose_history_is_on_another_disk_keeps_it_there(
    project: Project, simulated: Simulated, tmp_path: Path
) -> None:
    """B19: a real EXDEV, of a folder that leads elsewhere."""
    here = tmp_path.stat().st_dev
    others = [
        disk
        for disk in (Path("/dev/shm"), Path("/var/tmp"))
        if disk.is_dir() and disk.stat().st_dev != here
    ]
    if not others:
        pytest.skip("there is no other disk")
    elsewhere = others[0] / f"pixmill-{os.getpid()}"
    elsewhere.mkdir()
    try:
        project.write_rows(project.rows(2))
        project.use_simulator(simulated)
        run_config(project.path)
        config = load_config(project.path)
        (config.dataset_folder / "history").symlink_to(elsewhere)
        publish_versions(config, "ab")
        assert len(list(elsewhere.glob("*.parquet"))) == 2
    finally:
        for path in elsewhere.iterdir():
            path.unlink()
        elsewhere.rmdir()


@pytest.mark.parametrize("call", ["fchmod", "chmod"])
def test_a_store_that_has_modes_of_its_own_takes_images(
    project: Project, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """B19: such disks refuse chmod as well."""
    project.write_rows(project.rows(2))
    project.use_simulator(simulated)
    monkeypatch.setattr(os, call, no_links(errno.EPERM))
    report = run_config(project.path)
    assert (report["exit_code"], report["images_missing"]) == (0, 0)
