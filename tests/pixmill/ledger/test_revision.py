"""The log of what was written to a ledger's jobs: whoever writes, and whatever became of the ledger."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pixmill.ledger import Ledger, open_ledger
from pixmill.ledger.revision import ENTRIES, changed_since, revision_of

KEYS = [f"{at:02x}" * 32 for at in range(1, 9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with eight jobs."""
    path = tmp_path / "ledger.db"
    opened(path).close()
    for key in KEYS:
        write(
            path, "INSERT INTO jobs (job_key, state, run_id) VALUES (?, 'x', 'r')", key
        )
    return path


def opened(path: Path) -> Ledger:
    ledger = open_ledger(path)
    assert ledger
    return ledger


def write(path: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute(statement, values)


def revision(path: Path) -> str:
    with closing(opened(path)) as ledger:
        found = ledger.read(revision_of)
    assert found
    return found


def changes(path: Path, since: str) -> set[int] | None:
    with closing(opened(path)) as ledger:
        found = ledger.read(changed_since, since)
    return None if found is None else {*found.tolist()}


def beginnings(*keys: str) -> set[int]:
    return {int(key[:16], 16) for key in keys}


WRITES = {
    "UPDATE jobs SET state = 'y' WHERE job_key = :key": KEYS[:1],
    "UPDATE jobs SET state = state WHERE job_key >= :key": KEYS,
    f"UPDATE jobs SET job_key = '{'ff' * 32}' WHERE job_key = :key": [
        KEYS[0],
        "ff" * 32,
    ],
    "DELETE FROM jobs WHERE job_key = :key": KEYS[:1],
    "DELETE FROM jobs": KEYS,
    f"INSERT INTO jobs (job_key, state, run_id) VALUES ('{'ee' * 32}', 'x', 'r')": [
        "ee" * 32
    ],
    "REPLACE INTO jobs (job_key, state, run_id) VALUES (:key, 'z', 'r')": KEYS[:1],
    "INSERT INTO jobs (job_key, state, run_id) VALUES (:key, 'z', 'r')"
    " ON CONFLICT DO UPDATE SET state = 'z'": KEYS[:1],
    "INSERT INTO jobs (job_key, state, run_id) VALUES ('no key', 'z', 'r')": [],
}


@pytest.mark.parametrize("statement", WRITES)
def test_every_write_to_a_job_is_logged_by_the_key_that_it_had_and_has(
    path: Path, statement: str
) -> None:
    before = revision(path)
    assert changes(path, before) == set()
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute(statement, {"key": KEYS[0]})
    assert changes(path, before) == beginnings(*WRITES[statement])
    assert revision(path) != before


SCORE = "INSERT INTO scores (sha256, scorer, version, part, value) VALUES (?, 'x', '1', '', 1)"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (SCORE, set()),
        ("DELETE FROM scores WHERE sha256 = ?", None),
        ("UPDATE scores SET value = 0 WHERE sha256 = ?", None),
    ],
)
def test_a_score_that_is_not_what_it_was_ends_what_is_known_of_all_jobs(
    path: Path, statement: str, expected: set[int] | None
) -> None:
    write(path, SCORE, "ab")
    before = revision(path)
    write(path, statement, "cd" if statement == SCORE else "ab")
    assert changes(path, before) == expected
    assert changes(path, revision(path)) == set()


def test_a_write_that_was_undone_is_not_logged(path: Path) -> None:
    before = revision(path)
    with closing(sqlite3.connect(path)) as ledger:
        ledger.execute("UPDATE jobs SET state = 'y'")
        ledger.rollback()
    assert (changes(path, before), revision(path)) == (set(), before)


def test_the_log_is_bounded_and_says_what_it_knows_no_more(path: Path) -> None:
    before = revision(path)
    with closing(sqlite3.connect(path)) as ledger, ledger:
        filler = "INSERT INTO job_changes (job, revision) VALUES ('', randomblob(8))"
        ledger.executemany(filler, [()] * (ENTRIES - 2))
        ledger.execute("UPDATE jobs SET state = 'y' WHERE job_key = ?", KEYS[:1])
        counted = ledger.execute("SELECT count(*) FROM job_changes")
        assert counted.fetchone() == (ENTRIES,)
    assert changes(path, before) == beginnings(KEYS[0])
    write(path, "DELETE FROM jobs WHERE job_key = ?", KEYS[1])
    assert changes(path, before) is None


def test_a_copy_that_went_another_way_does_not_know_the_revisions_of_the_other(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    common = revision(path)
    for of in (path, copy):
        write(of, "UPDATE jobs SET state = 'y' WHERE job_key = ?", KEYS[0])
    assert changes(copy, revision(path)) is None
    assert changes(copy, common) == beginnings(KEYS[0])


def test_what_was_written_while_nobody_watched_ends_the_log(path: Path) -> None:
    before = revision(path)
    write(path, "DROP TRIGGER jobs_revised_by_update")
    write(path, "UPDATE jobs SET state = 'y'")
    assert changes(path, before) is None
    assert changes(path, revision(path)) == set()


def test_a_ledger_of_the_version_before_the_log_is_watched_from_now_on(
    path: Path,
) -> None:
    """Its triggers have the same names, and write to a table of their own."""
    write(path, "CREATE TABLE revision (value TEXT NOT NULL)")
    write(path, "INSERT INTO revision VALUES ('a')")
    for event in ("insert", "update", "delete"):
        write(path, f"DROP TRIGGER jobs_revised_by_{event}")
        write(
            path,
            f"CREATE TRIGGER jobs_revised_by_{event} AFTER {event} ON jobs"
            " BEGIN UPDATE revision SET value = 'b'; END",
        )
    write(path, "DROP TABLE job_changes")
    first = revision(path)
    write(path, "DELETE FROM jobs WHERE job_key = ?", KEYS[0])
    assert changes(path, first) == beginnings(KEYS[0])
    with closing(sqlite3.connect(path)) as ledger:
        tables = ledger.execute(
            "SELECT name FROM sqlite_master WHERE name = 'revision'"
        )
        assert tables.fetchall() == []


@pytest.mark.parametrize("text", ["", "None", "x:AB", "1", "1:", "99999999:AB", "-1:A"])
def test_a_text_that_is_no_revision_of_this_ledger_is_not_known(
    path: Path, text: str
) -> None:
    assert changes(path, text) is None
