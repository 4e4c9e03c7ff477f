"""A ledger in PostgreSQL: what a server adds to what holds for every ledger (`tests/pixmill/ledger` runs on both)."""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from sqlalchemy import text

from pixmill.config.loading import load_config
from pixmill.datasets.verification import verify
from pixmill.errors import LedgerError
from pixmill.execution.prepare import prepare
from pixmill.execution.status import read_status
from pixmill.ledger import (
    Claim,
    ClaimDenied,
    Ledger,
    State,
    open_ledger,
    queries,
    schema,
)
from pixmill.ledger import ledger as ledger_module
from pixmill.ledger.backup import back_up
from pixmill.ledger.dialects import clock
from tests.conftest import ROOT, Project, run_config
from tests.pixmill.ledger.billing.billing import TERMS, being_written, books
from tests.pixmill.ledger.test_ledger import ended
from tests.pixmill.run_checks import Provider, check_run, configure_run, run_to_end
from tests.postgres import Postgres
from tests.real_command import Command, wait_until
from tests.stack.lossy_proxy import CommitDroppingProxy, Moment

pytestmark = pytest.mark.stack
DAY = 24 * 3600 * 1_000_000


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    opened = open_ledger(database_url)
    assert opened
    opened.begin_run("run-1", "pets")
    yield opened
    opened.close()


def count(ledger: Ledger, query: str) -> int:
    return ledger.read(
        lambda connection: int(connection.execute(text(query)).scalar_one())
    )


# Away


def test_paying_pauses_while_the_server_is_stopped_and_nothing_is_lost(
    project: Project,
    postgres: Postgres,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """C3: calls that were out are recorded once it is back, no new one is made meanwhile, and the run goes on alone."""
    caplog.set_level(logging.WARNING, "pixmill")
    with Provider(delay=0.02) as provider:
        config = configure_run(project, provider.url, 120, ledger=database_url)
        reports: list[dict[str, object]] = []
        run = threading.Thread(target=lambda: reports.append(run_config(config)))
        run.start()
        try:
            wait_until(lambda: len(provider.bill) >= 30, "the first calls")
            postgres.stop()
            wait_until(lambda: "is unavailable" in caplog.text, "the pause")
            wait_until(lambda: not provider._in_flight, "the calls that were out")
            paused_at = len(provider.bill)
            threading.Event().wait(2)
            assert len(provider.bill) == paused_at
        finally:
            postgres.start()
        run.join(60)
        assert caplog.text.count("is unavailable") == 1, "said once, not every second"
        (report,) = reports
        assert (report["exit_code"], report["succeeded"], report["calls"]) == (
            0,
            120,
            120,
        )
        _as_file(database_url, load_config(config).store_path)
        check_run(config, report, provider.charges(), "ledger=null")
    assert len(provider.bill) == 120


def _as_file(address: str, store: Path) -> None:
    ledger = open_ledger(address, read_only=True)
    assert ledger
    back_up(ledger, store / "ledger.db")
    ledger.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_whose_answer_is_lost_happens_once(
    database_url: str, moment: Moment
) -> None:
    """C3: nobody but the database knows whether it happened; a call is neither granted nor counted twice."""
    with CommitDroppingProxy(database_url) as cut:
        ledger = open_ledger(cut.address)
        assert ledger
        ledger.begin_run("run-1", "pets")
        cut.armed = moment
        assert ledger.claim("k", TERMS) == Claim(1, 0)
        cut.armed = moment
        ledger.record(ended("k", State.FAILED, transient=True))
        assert cut.cuts == 2
        assert (
            count(ledger, "SELECT count(*) FROM attempts"),
            ledger.read(queries.calls_of, "run-1"),
        ) == (1, 1)
        assert count(ledger, "SELECT runs FROM jobs") == 1
        ledger.close()


def test_what_a_lost_commit_would_have_spent_is_not_counted_twice(
    database_url: str,
) -> None:
    """C3, E15: an answer and a claim in one commit; the sum that the claim saw had the answer in it."""
    capped = TERMS._replace(max_cost=Decimal("1.0"), price=Decimal("0.2"))
    with CommitDroppingProxy(database_url) as cut, ThreadPoolExecutor(3) as pool:
        ledger = open_ledger(cut.address)
        other = open_ledger(database_url)
        assert ledger
        assert other
        ledger.begin_run("run-1", "pets")
        ledger.claim("paid", capped)
        with other.database.writing.begin() as held:
            other.database.lock(held)
            first = pool.submit(
                ledger.record_image,
                "none",
                "run-1",
                [],
                images=None,
                error=None,
                download_ms=0.0,
            )
            wait_until(lambda: bool(count(other, _WAITING)), "the first group waits")
            answer = pool.submit(
                ledger.record, ended("paid", State.SUCCEEDED, amount=Decimal("0.2"))
            )
            wait_until(lambda: _queued(ledger) == 1, "the answer waits")
            claim = pool.submit(ledger.claim, "second", capped)
            wait_until(lambda: _queued(ledger) == 2, "the claim waits behind it")
            cut.spared, cut.armed = 1, "before"
        for future in (first, answer, claim):
            future.result(30)
        assert cut.cuts == 1
        granted = [ledger.claim(f"k{at}", capped) for at in range(9)]
        assert sum(isinstance(one, Claim) for one in granted) == 3
        ledger.close()
        other.close()


def _queued(ledger: Ledger) -> int:
    assert ledger._writer
    return ledger._writer._queue.qsize()


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'"


def test_a_look_up_is_made_again_when_the_server_is_back(
    ledger: Ledger, postgres: Postgres
) -> None:
    """C3, B6: what can't be read is waited for, and never counts as unknown."""
    ledger.claim("k", TERMS)
    postgres.stop()
    back = threading.Timer(0.7, postgres.start)
    back.start()
    try:
        assert ledger.known(["k"], max_runs=3).states == [State.IN_FLIGHT]
    finally:
        back.join()


def test_a_server_that_stays_away_ends_a_look_up_by_an_error(
    ledger: Ledger, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7, B6."""
    monkeypatch.setattr(ledger_module, "READ_PATIENCE_SECONDS", 0.2)
    postgres.stop()
    try:
        with pytest.raises(LedgerError, match="can't be read"):
            run_to_end(lambda: ledger.known(["k"], max_runs=3))
    finally:
        postgres.start()


def test_a_server_that_was_never_there_is_an_error_at_once() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(LedgerError) as raised:
        open_ledger("postgresql+psycopg://somebody@127.0.0.1:9/nothing")
    assert "is the server up" in raised.value.hint


# Many processes


def test_four_processes_of_sixteen_threads_never_make_call_101(
    database_url: str, ledger: Ledger
) -> None:
    """E15, H1: a cap on calls and on a month's money, with answers recorded in between, so that ids go on."""
    script = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pixmill.ledger import Claim, State, open_ledger
from tests.pixmill.ledger.billing.billing import TERMS
from tests.pixmill.ledger.test_ledger import ended
capped = TERMS._replace(run_id="run-1", max_calls=100, max_cost_per_month=Decimal("20.0"), price=Decimal("0.2"))
ledger = open_ledger({database_url!r})

def pay(at):
    key = f"k{{(at * 7 + int(sys.argv[1])) % 300}}"
    if not isinstance(ledger.claim(key, capped), Claim):
        return 0
    ledger.record(ended(key, State.SUCCEEDED))
    return 1

with ThreadPoolExecutor(16) as pool:
    print(sum(pool.map(pay, range(300))))
ledger.close()
"""
    command = [sys.executable, "-c", script]
    started = [
        subprocess.Popen(
            [*command, str(number)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for number in range(4)
    ]
    granted = [int(process.communicate(timeout=60)[0]) for process in started]
    assert sum(granted) == 100
    assert (
        ledger.read(queries.calls_of, "run-1"),
        count(ledger, "SELECT count(DISTINCT job_key) FROM attempts"),
    ) == (100, 100)


@pytest.mark.parametrize("ahead", [DAY, -DAY], ids=["a day ahead", "a day behind"])
def test_a_lease_goes_by_the_clock_of_the_database(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """H3: hosts may differ by a day; a claim of another host is given up when its lease is over there."""
    here = time.time_ns
    monkeypatch.setattr(
        schema, "time", SimpleNamespace(time_ns=lambda: here() + ahead * 1000)
    )
    ledger.claim("k", TERMS)
    left = (
        count(
            ledger, "SELECT lease_until - extract(epoch FROM now()) * 1000000 FROM jobs"
        )
        / 1e6
    )
    assert TERMS.lease_seconds - 60 < left <= TERMS.lease_seconds
    _alter(ledger, "UPDATE jobs SET owner = 'elsewhere|boot|1|2'")
    assert ledger.begin_run("run-2", "pets") == 0
    assert ledger.known(["k"], max_runs=3).states == [State.IN_FLIGHT]
    _alter(
        ledger,
        f"UPDATE jobs SET lease_until = {ledger.read(lambda connection: clock(connection)()) - 1}",
    )
    assert ledger.known(["k"], max_runs=3).states == [State.IN_DOUBT]
    assert ledger.begin_run("run-3", "pets") == 1
    assert ledger.claim("k", TERMS) == ClaimDenied(State.IN_DOUBT)


def _alter(ledger: Ledger, statement: str) -> None:
    with ledger.database.writing.begin() as connection:
        connection.execute(text(statement))


def test_a_commit_outlives_a_power_loss_whatever_the_server_s_default(
    postgres: Postgres, database_url: str
) -> None:
    """B1: what was acknowledged is there."""
    postgres.execute("ALTER SYSTEM SET synchronous_commit = off")
    postgres.execute("SELECT pg_reload_conf()")
    try:
        ledger = open_ledger(database_url)
        assert ledger
        with ledger.database.writing.connect() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
        ledger.close()
    finally:
        postgres.execute("ALTER SYSTEM RESET synchronous_commit")
        postgres.execute("SELECT pg_reload_conf()")


def test_an_answer_with_a_character_that_postgresql_can_t_hold_is_recorded(
    ledger: Ledger,
) -> None:
    """Whatever a provider sends, what it cost is written down."""
    ledger.claim("k", TERMS)
    ledger.record(ended("k", State.FAILED, message="a\0b", answer=b"a\0b"))
    assert next(ledger.outcomes(["k"]))["error_message"].to_pylist() == ["a\ufffdb"]


# All commands


def test_every_command_works_on_it_and_a_second_run_pays_for_nothing(
    project: Project, database_url: str
) -> None:
    with Provider() as provider:
        config = configure_run(project, provider.url, 5, ledger=database_url)
        with prepare(load_config(config)) as first:
            assert first.known_ledger.is_new
        run_config(config)
        with prepare(load_config(config)) as second:
            assert (second.known_ledger.is_new, second.to_pay) == (False, 0)
        assert run_config(config)["cached"] == 5
        assert len(provider.bill) == 5
    assert not list((project.folder / "out").glob("ledger.db*"))
    assert [run.calls for run in read_status(load_config(config)).runs] == [0, 5]
    assert verify(load_config(config)).exit_code == 0


def test_a_simulated_run_keeps_its_own_file(
    project: Project, database_url: str
) -> None:
    """A simulated picture never satisfies a real run, whatever `ledger` says."""
    project.write_rows(project.rows(2))
    run_config(project.write_config(ledger=database_url))
    assert (project.folder / "out" / "simulated" / "ledger.db").exists()
    assert open_ledger(database_url, read_only=True) is None


def test_the_commands_that_take_a_store_take_a_url(
    database_url: str, tmp_path: Path, pixmill: Command
) -> None:
    with books(database_url) as book:
        for day in range(1, 4):
            book.call(f"2026-11-0{day}T12:00")
    shown = json.loads(pixmill("ledger", "stats", database_url, "--json").stdout)
    assert (shown["jobs"], shown["states"], "images" in shown) == (
        3,
        {"succeeded": 3},
        False,
    )
    assert shown["ledger_bytes"] > 0
    wrote = pixmill(
        "ledger", "backup", database_url, "--out", str(tmp_path / "copy.db"), "--json"
    )
    assert json.loads(wrote.stdout)["attempts"] == 3
    groups = ("--month", "2026-11", "--by", "day,req_key,code,config", "--json")
    bill, copied = (
        json.loads(pixmill("bill", of, *groups).stdout)
        for of in (database_url, str(tmp_path / "copy.db"))
    )
    assert bill == copied
    assert len(bill["lines"]) == 3


def test_a_copy_in_a_file_is_whole_and_of_one_moment(
    database_url: str, tmp_path: Path
) -> None:
    """A job and its attempt are written by two commits: no copy may have the second without the first."""
    with books(database_url) as book:
        book.ledger.record(
            ended(
                "late", State.SUCCEEDED, answer=bytes(range(256)), message="übel 'x'\n"
            )
        )
        with being_written(book):
            copies = [
                back_up(book.ledger, tmp_path / f"copy-{at}.db") for at in range(3)
            ]
        last = back_up(book.ledger, tmp_path / "last.db")
        for table in ("jobs", "attempts", "runs", "meta"):
            copy = open_ledger(tmp_path / "last.db", read_only=True)
            assert copy
            assert _rows(copy, table) == _rows(book.ledger, table)
            copy.close()
    assert [copy.attempts for copy in copies] == sorted(
        copy.attempts for copy in copies
    )
    assert all(copy.attempts - 1 <= copy.jobs <= copy.attempts for copy in copies)
    assert last.runs == 1


def _rows(ledger: Ledger, table: str) -> list[tuple[object, ...]]:
    rows = ledger.read(
        lambda connection: connection.execute(text(f"SELECT * FROM {table}")).all()
    )
    return sorted(map(tuple, rows), key=repr)


def test_what_is_shown_of_an_address_holds_no_password(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libpq takes the password from the environment; nothing of it is in the ledger's own texts."""
    monkeypatch.setenv("PGPASSWORD", "canary-password-1")
    ledger = open_ledger(database_url)
    assert ledger
    assert "canary" not in f"{ledger.database} {unquote(str(ledger.address))}"
    ledger.close()
