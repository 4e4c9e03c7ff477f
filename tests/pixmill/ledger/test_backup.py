"""A backup: whole, consistent while others write, and never half there."""

import fcntl
import shutil
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.errors import LedgerError, UserError
from pixmill.ledger import open_ledger
from pixmill.ledger.backup import back_up
from pixmill.ledger.stats import row_counts
from tests.pixmill.ledger.billing.billing import being_written, books


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_copy_holds_what_is_still_in_the_write_ahead_log(tmp_path: Path) -> None:
    """Of the open ledger the file alone has nothing yet."""
    out = tmp_path / "copy" / "ledger.db"
    with books(tmp_path) as book:
        for at in range(5):
            book.call(f"2026-11-0{at + 1}T12:00")
        done = back_up(book.ledger, out)
    assert (done.jobs, done.attempts, done.runs, done.bytes) == (
        5,
        5,
        1,
        out.stat().st_size,
    )
    assert names(out.parent) == ["ledger.db"], "nothing else is left beside it"


def test_a_copy_goes_on_as_a_ledger(tmp_path: Path) -> None:
    with books(tmp_path) as book:
        book.call("2026-11-01T12:00")
        back_up(book.ledger, tmp_path / "copy" / "ledger.db")
    with books(tmp_path / "copy", run="run-2") as copy:
        copy.calls = 1
        copy.call("2026-11-02T12:00", run="run-2")
        assert copy.ledger.read(row_counts) == {"jobs": 2, "attempts": 2, "runs": 2}
    with closing(sqlite3.connect(tmp_path / "copy" / "ledger.db")) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_copies_are_consistent_while_runs_go_on(tmp_path: Path) -> None:
    """A job and its attempt are written by two commits: no copy may have the second without the first."""
    with books(tmp_path) as book:
        with being_written(book):
            copies = [
                back_up(book.ledger, tmp_path / f"copy-{at}.db") for at in range(8)
            ]
        total = book.calls
    seen = [copy.attempts for copy in copies]
    assert seen == sorted(seen)
    assert seen[-1] <= total
    assert all(copy.attempts <= copy.jobs <= copy.attempts + 1 for copy in copies)


def test_a_copy_is_never_written_over_unasked(tmp_path: Path) -> None:
    out = tmp_path / "copy.db"
    with books(tmp_path) as book:
        out.write_bytes(b"precious")
        with pytest.raises(UserError, match="exists already"):
            back_up(book.ledger, out)
        assert out.read_bytes() == b"precious"
        assert back_up(book.ledger, out, overwrite=True).runs == 1


@pytest.mark.parametrize("name", ["ledger.db", "link.db", "folder"])
def test_what_must_not_be_replaced_is_refused_whatever_was_agreed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    with books(tmp_path) as book:
        (tmp_path / "link.db").hardlink_to(tmp_path / "ledger.db")
        with pytest.raises(UserError):
            back_up(book.ledger, tmp_path / name, overwrite=True)


def test_a_ledger_in_use_is_not_replaced(tmp_path: Path) -> None:
    """Its write-ahead log would be read into the copy."""
    with (
        books(tmp_path / "a") as one,
        books(tmp_path / "b") as other,
        pytest.raises(UserError, match="in use"),
    ):
        back_up(one.ledger, other.ledger.path, overwrite=True)


def test_a_damaged_ledger_gives_no_copy(tmp_path: Path) -> None:
    with books(tmp_path) as book:
        for at in range(300):
            book.call(f"2026-11-01T12:{at % 60:02}")
    path = tmp_path / "ledger.db"
    pages = bytearray(path.read_bytes())
    pages[len(pages) // 2 : len(pages) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(pages)
    damaged = open_ledger(path, read_only=True)
    assert damaged
    with (
        closing(damaged),
        pytest.raises(LedgerError, match="failed its integrity check"),
    ):
        back_up(damaged, tmp_path / "copies" / "copy.db")
    assert names(tmp_path / "copies") == []


def test_what_a_killed_backup_left_does_no_harm(tmp_path: Path) -> None:
    with books(tmp_path) as book:
        book.call("2026-11-01T12:00")
        for ending in ("", "-wal", "-shm"):
            shutil.copyfile(
                tmp_path / "ledger.db-wal", tmp_path / f".copy.db.tmp{ending}"
            )
        assert back_up(book.ledger, tmp_path / "copy.db").attempts == 1
    assert [name for name in names(tmp_path) if "copy" in name] == ["copy.db"]


def test_of_backups_to_one_file_at_once_one_is_made_and_the_others_say_so(
    tmp_path: Path,
) -> None:
    """C20: each would remove and rename what the others write aside."""
    out = tmp_path / "copy" / "ledger.db"
    together = threading.Barrier(8)

    def try_it(_: int) -> str:
        together.wait()
        try:
            back_up(book.ledger, out, overwrite=True)
        except UserError as error:
            return str(error)
        return "made"

    with books(tmp_path) as book:
        for at in range(50):
            book.call(f"2026-11-01T12:{at:02}")
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(try_it, range(8)))
        assert "made" in said
        others = {*said} - {"made", f"another backup is writing {out}"}
        # One that looks at the copy while another looks at it, too.
        assert all(problem.startswith(f"{out} is in use") for problem in others)
        lock = out.parent / ".ledger.db.lock"
        with lock.open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(UserError, match="another backup is writing"):
                back_up(book.ledger, out, overwrite=True)
        # It stays, as one does that was killed.
        assert lock.exists()
        assert back_up(book.ledger, out, overwrite=True).jobs == 50
    assert names(out.parent) == ["ledger.db"]
