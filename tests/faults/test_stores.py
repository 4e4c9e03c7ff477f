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
from tests.conftest import Simulated, Workshop, carry_out
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
    workshop: Workshop, simulated: Simulated, database_url: str, mode: str, what: str
) -> None:
    """B18: the ledger in PostgreSQL takes every claim, and says nothing of the folder."""
    workshop.write_rows(workshop.rows(3))
    workshop.use(simulated)
    workshop.write_config(ledger=database_url, output={"images": mode})
    path = workshop.folder / "out" / what
    no_folder(path)
    with pytest.raises(UserError, match=f"{what} can't be written: ") as refused:
        carry_out(workshop.path)
    assert "nothing was paid" in refused.value.hint
    assert simulated.bill.calls == 0
    path.unlink()
    report = carry_out(workshop.path)
    assert (report["exit_code"], report["calls"]) == (0, 3)


@pytest.mark.stack
@pytest.mark.parametrize("mode", ["download", "url", "inline"])
def test_a_store_that_can_not_be_made_beside_a_ledger_elsewhere_costs_nothing(
    workshop: Workshop, simulated: Simulated, database_url: str, mode: str
) -> None:
    """B18: a folder that nobody can make, not even the administrator."""
    workshop.write_rows(workshop.rows(3))
    workshop.use(simulated)
    workshop.write_config(
        store="/proc/pixmill-store", ledger=database_url, output={"images": mode}
    )
    with pytest.raises(UserError, match="/proc/pixmill-store can't be written: "):
        carry_out(workshop.path)
    assert simulated.bill.calls == 0


@pytest.mark.parametrize("what", ["pets", "pets/runs", "pets/history"])
def test_a_dataset_that_can_not_be_written_costs_nothing(
    workshop: Workshop, simulated: Simulated, what: str
) -> None:
    """B18: with the ledger in the same folder, which can be written."""
    workshop.write_rows(workshop.rows(3))
    workshop.use(simulated)
    no_folder(workshop.folder / "out" / what)
    with pytest.raises(UserError, match=f"{what} can't be written: "):
        carry_out(workshop.path)
    assert simulated.bill.calls == 0


def test_looking_whether_a_store_can_be_written_leaves_nothing_in_it(
    workshop: Workshop, simulated: Simulated
) -> None:
    workshop.write_rows(workshop.rows(1))
    workshop.use(simulated)
    carry_out(workshop.path)
    before = sorted((workshop.folder / "out").rglob("*"))
    config = load_config(workshop.path)
    open_store(config).check_writable()
    check_publishable(config)
    assert sorted((workshop.folder / "out").rglob("*")) == before


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
    workshop: Workshop,
    simulated: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """B19: exFAT, FUSE and some mounts have none; the second publication is the first that would want one."""
    workshop.write_rows(workshop.rows(3))
    workshop.use(simulated)
    carry_out(workshop.path)
    monkeypatch.setattr(os, "link", no_links(number))
    config = load_config(workshop.path)
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
    workshop: Workshop, simulated: Simulated, tmp_path: Path
) -> None:
    """B19: a real EXDEV, of a folder that leads elsewhere."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk")
    elsewhere = memory / f"pixmill-{os.getpid()}"
    elsewhere.mkdir()
    try:
        workshop.write_rows(workshop.rows(2))
        workshop.use(simulated)
        carry_out(workshop.path)
        config = load_config(workshop.path)
        (config.dataset_folder / "history").symlink_to(elsewhere)
        publish_versions(config, "ab")
        assert len(list(elsewhere.glob("*.parquet"))) == 2
    finally:
        for path in elsewhere.iterdir():
            path.unlink()
        elsewhere.rmdir()


@pytest.mark.parametrize("call", ["fchmod", "chmod"])
def test_a_store_that_has_modes_of_its_own_takes_images(
    workshop: Workshop, simulated: Simulated, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """B19: such disks refuse chmod as well."""
    workshop.write_rows(workshop.rows(2))
    workshop.use(simulated)
    monkeypatch.setattr(os, call, no_links(errno.EPERM))
    report = carry_out(workshop.path)
    assert (report["exit_code"], report["images_missing"]) == (0, 0)
