"""The tables of the ledger, and the connection settings that make its commits durable.

`jobs` holds one row a job key with the flat columns of its outcome; its primary key and the conditional claim
are what refuses a second payment. `owner` and the `claim…` columns are about the call in flight; `again` says that a
person asked for one more payment (`pixmill.ledger.again`). `attempts` is append-only: one row a call that ended.
Instants are integer microseconds since 1970 UTC, so that they are read back columnar without conversion.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    text,
)

from pixmill.errors import LedgerError

SCHEMA_VERSION = 2
BUSY_SECONDS = 60

metadata = MetaData()

meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

jobs = Table(
    "jobs",
    metadata,
    Column("job_key", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("transient", Integer, nullable=False, server_default="0"),
    Column("runs", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("lease_until", BigInteger),
    Column("run_id", Text, nullable=False),
    Column("outcome_run", Text),
    Column("provider", Text),
    Column("account", Text),
    Column("req_key", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("request_id", Text),
    Column("rephraser_result", Text),
    Column("output_urls", Text),
    Column("url_expires_at", BigInteger),
    Column("images", Text),
    Column("image_error", Text),
    Column("image_run", Text),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("queue_ms", Float),
    Column("latency_ms", Float),
    Column("provider_ms", Float),
    Column("download_ms", Float),
    Column("cost", Float),
    Column("currency", Text),
    Column("effective_seed", BigInteger),
    Column("rerolls", Integer, nullable=False, server_default="0"),
    Column("again", Integer, nullable=False, server_default="0"),
    Column("claim_run", Text),
    Column("claim_account", Text),
    Column("claimed_at", BigInteger),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_key", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("account", Text),
    Column("sent_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("verdict", Text, nullable=False),
    Column("http_status", Integer),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),
    Column("charged", Text, nullable=False),
    Column("price", Float),
    Column("latency_ms", Float),
    Column("provider_ms", Float),
    Column("answer", LargeBinary),
    Column("seed", BigInteger),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("calls", Integer, nullable=False, server_default="0"),
    Column("summary", Text),
)

Index("attempts_of_run", attempts.c.run_id)
Index("attempts_by_time", attempts.c.answered_at)
Index("jobs_in_flight", jobs.c.owner, sqlite_where=jobs.c.owner.is_not(None))
DOUBTFUL = "jobs.state = 'in_doubt'"
"""As text, because SQLite uses a partial index only where a query repeats its condition to the letter."""

Index("jobs_in_doubt", jobs.c.run_id, sqlite_where=text("state = 'in_doubt'"))
Index("runs_of_config", runs.c.name, runs.c.started_at)


UPGRADES = {
    1: (
        "ALTER TABLE jobs ADD COLUMN effective_seed BIGINT",
        "ALTER TABLE jobs ADD COLUMN rerolls INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE attempts ADD COLUMN seed BIGINT",
        "ALTER TABLE jobs ADD COLUMN again INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE jobs ADD COLUMN claim_run TEXT",
        "ALTER TABLE jobs ADD COLUMN claim_account TEXT",
        "ALTER TABLE jobs ADD COLUMN claimed_at BIGINT",
    ),
}
"""The statements that bring a ledger from a schema version to the next one; missing tables are made besides."""


def now_micros() -> int:
    """The wall clock in microseconds since 1970 UTC, for display and expiry only."""
    return time.time_ns() // 1000


def connect(path: Path, *, writing: bool) -> Engine:
    """Return an engine on the SQLite file at `path`.

    A writing one begins every transaction with BEGIN IMMEDIATE: a deferred one that reads first fails at once
    when another process writes, whatever the busy timeout says. `synchronous=FULL` makes a commit survive a
    power loss; the default for WAL does not.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        pool_use_lifo=True,  # one after another uses the same connection, whose page cache is warm and large
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's begin event decides, not the driver
        for pragma in ("synchronous=FULL", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def use_write_ahead_log(path: Path) -> None:
    """Switch the file at `path` to WAL, which it stays in. Raises LedgerError where that can't be.

    The switch does not wait for a lock by itself, and where the disk fails it says nothing and does not happen.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with closing(sqlite3.connect(path)) as raw:
        while True:
            try:
                (mode,) = raw.execute("PRAGMA journal_mode=WAL").fetchone()
            except sqlite3.OperationalError as problem:
                if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise LedgerError(f"{path} can't be made: {problem}") from None
                time.sleep(0.05)
            else:
                if mode != "wal":
                    raise LedgerError(f"{path} can't be made: its disk takes no write-ahead log")
                return
