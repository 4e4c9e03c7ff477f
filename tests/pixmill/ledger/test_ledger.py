"""The ledger: what refuses a second payment, and what survives."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from pixmill.errors import LedgerError, UserError
from pixmill.ledger import (
    Attempt,
    Claim,
    ClaimDenied,
    Ledger,
    State,
    open_ledger,
    queries,
)
from pixmill.ledger.schema import SCHEMA_VERSION
from tests.fork_server import fork_code
from tests.pixmill.ledger.billing.billing import ANSWERED, TERMS
from tests.pixmill.ledger.conftest import IN_A_FILE

NEXT_RUN = TERMS._replace(run_id="run-2")


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    for run in ("run-1", "run-2", "run-3", "run-4"):
        ledger.begin_run(run, "pets")
    return ledger


def ended(key: str, state: State, **changes: object) -> Attempt:
    recorded = ANSWERED._replace(
        job_key=key,
        state=state,
        verdict=state.value,
        output_urls='["https://x/1"]',
        url_expires_at=3,
    )
    return recorded._replace(**changes)  # type: ignore[arg-type]


def alter(ledger: Ledger, statement: str) -> None:
    """Do something to a ledger that it does not do itself."""
    with ledger.database.writing.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "state", [State.SUCCEEDED, State.REFUSED, State.FAILED, State.IN_DOUBT]
)
def test_a_settled_key_can_never_be_claimed_again(ledger: Ledger, state: State) -> None:
    """I2: the database itself refuses a second payment."""
    assert ledger.claim("k", TERMS) == Claim(1, 0)
    ledger.record(ended("k", state))
    assert ledger.claim("k", TERMS) == ClaimDenied(state)
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(state)


def test_a_key_in_flight_can_not_be_claimed(ledger: Ledger) -> None:
    assert ledger.claim("k", TERMS) == Claim(1, 0)
    assert ledger.claim("k", NEXT_RUN) == ClaimDenied(State.IN_FLIGHT)


def test_a_released_key_is_claimed_again_and_its_calls_are_counted(
    ledger: Ledger,
) -> None:
    for number in (1, 2, 3):
        assert ledger.claim("k", TERMS) == Claim(number, 0)
        ledger.record(ended("k", State.PENDING, charged="no", code="50429"))


def test_a_transient_failure_comes_back_in_the_next_runs_until_max_runs(
    ledger: Ledger,
) -> None:
    """retry.max_runs: the run that gave up does not try again, two later ones do."""
    for number, run in enumerate(("run-1", "run-2", "run-3"), 1):
        terms = TERMS._replace(run_id=run)
        assert ledger.known(["k"], max_runs=3).states in ([None], [State.PENDING])
        assert ledger.claim("k", terms) == Claim(number, 0)
        ledger.record(ended("k", State.FAILED, transient=True, run_id=run))
        assert ledger.claim("k", terms) == ClaimDenied(State.FAILED)
    assert ledger.known(["k"], max_runs=3).states == [State.FAILED]
    assert ledger.claim("k", TERMS._replace(run_id="run-4")) == ClaimDenied(
        State.FAILED
    )


def test_sixty_four_threads_never_claim_a_key_twice_nor_pass_the_cap(
    ledger: Ledger,
) -> None:
    """E15: with a cap of 100 calls there is no call 101, however many threads ask."""
    capped = TERMS._replace(max_calls=100)
    granted: list[str] = []

    def claim_all() -> None:
        for at in range(150):
            if isinstance(ledger.claim(f"k{at}", capped), Claim):
                granted.append(f"k{at}")

    threads = [threading.Thread(target=claim_all) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == len(set(granted)) == 100
    assert ledger.read(queries.calls_of, "run-1") == 100
    assert ledger.claim("one more", capped) == ClaimDenied(None, "max_calls")


def test_two_processes_never_claim_the_same_key(ledger: Ledger) -> None:
    """H1: safe sharing by claims."""
    script = f"""
from pixmill.ledger import Claim, open_ledger, ClaimTerms
ledger = open_ledger({str(ledger.address)!r})
terms = ClaimTerms("run-2", "gateway", "main", "k", None, 3, 300)
print(sum(isinstance(ledger.claim(f"k{{at}}", terms), Claim) for at in range(300)))
ledger.close()
"""
    with fork_code(script) as other:
        ours = sum(
            isinstance(ledger.claim(f"k{at}", TERMS), Claim) for at in range(300)
        )
        theirs = int(other.communicate(timeout=60)[0])
    assert ours + theirs == 300


def test_jobs_of_a_killed_process_are_in_doubt_at_once(ledger: Ledger) -> None:
    """A1: a dead owner on this host is recognised by the next run, not after a lease."""
    script = f"""
import os, signal
from pixmill.ledger import open_ledger, ClaimTerms
ledger = open_ledger({str(ledger.address)!r})
terms = ClaimTerms("run-2", "gateway", "main", "k", None, 3, 300)
ledger.claim("a", terms)
ledger.claim("b", terms)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with fork_code(script) as killed:
        assert killed.wait(60) == -9
    ledger.claim("ours", TERMS)
    assert ledger.known(["a"], max_runs=3).states == [State.IN_DOUBT]
    assert ledger.begin_run("run-5", "pets") == 2
    assert ledger.claim("a", TERMS) == ClaimDenied(State.IN_DOUBT)
    assert ledger.known(["ours"], max_runs=3).states == [State.IN_FLIGHT]
    assert ledger.begin_run("run-6", "pets") == 0


def test_a_late_answer_to_a_job_given_up_is_kept(ledger: Ledger) -> None:
    """H4: it was paid for."""
    ledger.claim("k", TERMS)
    alter(ledger, "UPDATE jobs SET state = 'in_doubt', owner = NULL")
    ledger.record(ended("k", State.SUCCEEDED))
    assert ledger.known(["k"], max_runs=3).states == [State.SUCCEEDED]


@IN_A_FILE
def test_what_was_recorded_is_there_for_the_next_process(ledger: Ledger) -> None:
    ledger.claim("k", TERMS)
    ledger.record(ended("k", State.SUCCEEDED))
    ledger.close()
    copy = ledger.path.with_name("copy.db")
    copy.write_bytes(
        ledger.path.read_bytes()
    )  # closing folds the log in: the file alone is the ledger
    again = Ledger(copy)
    assert again.known(["k"], max_runs=3).states == [State.SUCCEEDED]
    assert again.read(queries.spent, run_id="run-1") == {"yes": Decimal("0.2")}
    again.close()


def test_a_newer_ledger_is_refused_and_not_touched(ledger: Ledger) -> None:
    """I5f: a downgrade of the program."""
    alter(
        ledger,
        f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE name = 'schema_version'",
    )
    with pytest.raises(UserError, match="newer pixmill"):
        open_ledger(ledger.address)


def test_a_file_that_is_no_ledger_is_a_ledger_error(tmp_path: Path) -> None:
    """B6: an unreadable ledger stops everything; it never counts as an empty one."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError):
        open_ledger(path)


def test_a_ledger_that_can_not_be_written_pays_for_nothing(ledger: Ledger) -> None:
    """B1, B3: the claim fails, so no call is made; and so does every later one."""
    ledger.claim("before", TERMS)
    alter(ledger, "DROP TABLE jobs")
    for _ in range(2):
        with pytest.raises(LedgerError, match="could not be written"):
            ledger.claim("k", TERMS)
    with pytest.raises(LedgerError):
        ledger.known(["k"], max_runs=3)


def test_looking_at_a_store_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert open_ledger(tmp_path / "none" / "ledger.db", read_only=True) is None
    assert list(tmp_path.iterdir()) == []


def test_a_locked_ledger_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """C4: nothing was begun, so waiting loses nothing, and giving up would lose answers that were paid for."""
    monkeypatch.setattr("pixmill.ledger.sqlite.BUSY_SECONDS", 0.2)
    patient = Ledger(tmp_path / "ledger.db")
    patient.begin_run("run-1", "pets")
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        claim = pool.submit(patient.claim, "k", TERMS)
        while "locked by another process" not in caplog.text:
            assert not claim.done()
        holder.execute("ROLLBACK")
        assert claim.result(timeout=30) == Claim(1, 0)
    holder.close()
    patient.close()


def test_processes_that_make_a_ledger_at_once_all_get_it(address: str) -> None:
    """H1: neither the switch to a write-ahead log nor CREATE TABLE waits by itself."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_ledger(address), range(8)))
    for ledger in opened:
        assert ledger
        assert ledger.read(queries.is_empty)
        ledger.close()


def test_who_writes_to_a_closed_ledger_is_told_and_does_not_wait(
    ledger: Ledger,
) -> None:
    """I7: also who comes while it closes."""

    def write() -> str:
        try:
            while True:
                ledger.finish_run("run-1", {})
        except LedgerError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write) for _ in range(8)]
        ledger.close()
        assert {writer.result(timeout=30) for writer in writers} == {
            "the ledger is closed: nothing more is written to it"
        }
    with pytest.raises(LedgerError, match="closed"):
        ledger.claim("k", TERMS)


@IN_A_FILE
def test_a_reader_of_the_file_keeps_neither_the_end_of_a_run_nor_other_writers_waiting(
    ledger: Ledger,
) -> None:
    """C19: a shell, a database browser, a backup. What it still needs of the log stays there and is not lost."""
    ledger.claim("k", TERMS)
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchall()
        ledger.record(ended("k", State.SUCCEEDED))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ledger.close).result(timeout=30)
        after = Ledger(ledger.path)
        assert after.claim("k2", TERMS) == Claim(1, 0)
        after.close()
    whole = Ledger(ledger.path)
    assert whole.known(["k", "k2"], max_runs=3).states == [
        State.SUCCEEDED,
        State.IN_FLIGHT,
    ]
    whole.close()
    assert not ledger.path.with_name("ledger.db-wal").exists()


def test_the_check_of_a_ledger_goes_on_beside_and_is_waited_for(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B6: a large one takes seconds, which a person and Prefect's server need as well."""
    checked = threading.Event()

    def damage(_: object) -> str:
        checked.wait()
        return "row 7 missing from index"

    monkeypatch.setattr(ledger.database, "damage", damage)
    ledger.begin_check()
    ledger.begin_check()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ledger.check_sound)
        assert ledger.read(queries.is_empty)
        assert not waiting.done()
        checked.set()
        with pytest.raises(LedgerError, match="row 7 missing from index"):
            waiting.result(timeout=30)
