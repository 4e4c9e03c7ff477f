"""The tables of the ledger. Four more are defined beside the code that uses them:

| table         | where             | it holds                                              |
|---------------|-------------------|-------------------------------------------------------|
| `scores`      | `scores.py`       | what scorers said of images                           |
| `inputs`      | `input_images.py` | the answers to GETs of input images                   |
| `job_changes` | `revision.py`     | which jobs were written to, and in which order        |
| `writers`     | `postgres.py`     | the number of the last group that a process committed |

No migration knows the last two: they are made where they are missing, and a dataset needs no row of
them.

`jobs` holds one row a job key with the flat columns of its outcome; its primary key and the
conditional claim are what refuses a second payment. `owner` and the `claim…` columns are about the
call in flight, `claim_task` being the task that its submit started at the provider
(`pixmill.ledger.tasks`); `again` says that a person asked for one more payment
(`pixmill.ledger.payment_marks`). `attempts` is append-only: one row a call that ended or was given
up, and where the answer to one given up comes after all, one more row that `supersedes` that one.
Instants are integer microseconds since 1970 UTC, so that they are read back columnar without
conversion.
"""

import time

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
)

SCHEMA_VERSION = 5

metadata = MetaData()

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared byte by byte: no language has a say in the order of hashes, and its rules take time."""

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_key", Key, primary_key=True),
    # One of `pixmill.ledger.records.State`: of a claimed job `in_flight`, or the outcome that it
    # keeps until the call brings another.
    Column("state", Text, nullable=False),
    # 1 where a failure may be no failure in another run.
    Column("transient", Integer, nullable=False, server_default="0"),
    # How many runs tried in vain (not all runs, which the table of this name has) since a person
    # last asked for a payment, at most `retry.max_runs`.
    Column("runs", Integer, nullable=False, server_default="0"),
    # All HTTP calls for the key: a late answer finds its attempt by this number.
    Column("attempts", Integer, nullable=False, server_default="0"),
    # The process that has the job in flight, and until when it is believed where nobody can look.
    Column("owner", Text),
    Column("lease_until", BigInteger),
    # The run whose call it is, and the one for which the outcome is news: where a process died,
    # the run that found it.
    Column("run_id", Text, nullable=False),
    Column("outcome_run", Text),
    Column("provider", Text),
    Column("account", Text),
    Column("req_key", Text),
    # Of the outcome; null for a success, whose missing image has a code of its own below.
    Column("error_code", Text),
    Column("error_message", Text),
    Column("request_id", Text),
    Column("rephraser_result", Text),
    # JSON lists: as texts they are read and written whole, and no query looks into them. `images`
    # are the stored files, while `attempts.images` is a number.
    Column("output_urls", Text),
    Column("url_expires_at", BigInteger),
    Column("images", Text),
    # Why the image of a paid job is missing, and which run found that: a problem is news once.
    Column("image_error", Text),
    Column("image_run", Text),
    # Of the call that brought the outcome.
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("queue_ms", Float),
    Column("latency_ms", Float),
    Column("provider_ms", Float),
    Column("download_ms", Float),
    # Null where the call was not charged, or nobody knows. For people and datasets: sums of money
    # are made of `attempts`.
    Column("cost", Float),
    Column("currency", Text),
    # The seed that was sent: another than was asked for where moderation used some up, which
    # `rerolls` counts.
    Column("effective_seed", BigInteger),
    Column("rerolls", Integer, nullable=False, server_default="0"),
    # 1: a person asked for one more payment; 2: the claim that is held used that up.
    Column("again", Integer, nullable=False, server_default="0"),
    # Of the call in flight: what it becomes in `attempts` if its process dies.
    Column("claim_run", Text),
    Column("claim_account", Text),
    Column("claimed_at", BigInteger),
    # Of the call that brought the outcome, or else of the last one. A job without a task had a
    # synchronous call.
    Column("task_id", Text),
    # How many images the answer has; in an older ledger null for what was called then.
    Column("image_count", Integer),
    # The task of the call in flight and when its submit was answered. The process that made the
    # call may be gone: the task works at the provider all the same.
    Column("claim_task", Text),
    Column("task_since", BigInteger),
    # What the call in flight costs at most, in billionths of the currency (`pixmill.money`); null
    # where no price is known.
    Column("claim_amount", BigInteger),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("job_key", Key, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("account", Text),
    Column("attempt", Integer),
    # The row of the same call that was written when it was given up: that one does not count.
    Column("supersedes", BigInteger),
    Column("sent_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("verdict", Text, nullable=False),
    Column("http_status", Integer),
    Column("code", Text),
    Column("message", Text),
    Column("request_id", Text),
    # `yes`, `no` or `unknown`, which counts as charged in budgets, as money may be gone.
    Column("charged", Text, nullable=False),
    Column("latency_ms", Float),
    Column("provider_ms", Float),
    # As it came, without images: evidence for its owner, which no program reads.
    Column("answer", LargeBinary),
    Column("seed", BigInteger),
    Column("task_id", Text),
    # How many images the answer has, null where nobody knows: what `jobs` calls `image_count`.
    Column("images", Integer),
    # What the call cost, or at most if it was charged, in billionths of the currency
    # (`pixmill.money`); null where it cost nothing or no price is known.
    Column("amount", BigInteger),
)

shares = Table(
    "shares",
    metadata,
    # The name of this row, by lot: one for each process and account.
    Column("lease", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("owner", Text, nullable=False),
    # The end of the lease.
    Column("expires_at", BigInteger, nullable=False),
    # Until when the provider asked this process to pause.
    Column("held_until", BigInteger, nullable=False),
    # JSON: what the process reported, and the fraction of the rate that it was given.
    Column("record", Text, nullable=False),
)
"""Who uses an account now, and which share of it they have; `pixmill.limits.lease_table` says
how."""

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
_DIED = text("code = 'process_died'")
Index("attempts_lost", attempts.c.job_key, sqlite_where=_DIED, postgresql_where=_DIED)
_LATE = attempts.c.supersedes.is_not(None)
Index(
    "attempts_late", attempts.c.supersedes, sqlite_where=_LATE, postgresql_where=_LATE
)
_HAS_OWNER = jobs.c.owner.is_not(None)
Index(
    "jobs_in_flight", jobs.c.owner, sqlite_where=_HAS_OWNER, postgresql_where=_HAS_OWNER
)
_HAS_TASK = jobs.c.claim_task.is_not(None)
Index(
    "jobs_with_task",
    jobs.c.claim_task,
    sqlite_where=_HAS_TASK,
    postgresql_where=_HAS_TASK,
)
# Unique, as two processes may learn what became of a task: it is charged once.
_NAMES_TASK = attempts.c.task_id.is_not(None)
Index(
    "attempts_of_task",
    attempts.c.job_key,
    attempts.c.task_id,
    unique=True,
    sqlite_where=_NAMES_TASK,
    postgresql_where=_NAMES_TASK,
)
DOUBTFUL = "jobs.state = 'in_doubt'"
"""As text, because SQLite uses a partial index only where a query repeats its condition to the
letter."""

_DOUBTED = text("state = 'in_doubt'")
Index("jobs_in_doubt", jobs.c.run_id, sqlite_where=_DOUBTED, postgresql_where=_DOUBTED)
Index("runs_of_config", runs.c.name, runs.c.started_at)

late = attempts.alias("late")
IS_LAST_WORD = attempts.c.id.not_in(
    select(late.c.supersedes).where(late.c.supersedes.is_not(None))
)
"""The condition that a row of `attempts` is the last word about its call: no later row says what
became of the same one. Only these count in budgets and bills."""

MIGRATIONS = {
    1: (
        "ALTER TABLE jobs ADD COLUMN effective_seed BIGINT",
        "ALTER TABLE jobs ADD COLUMN rerolls INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE attempts ADD COLUMN seed BIGINT",
        "ALTER TABLE jobs ADD COLUMN again INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE jobs ADD COLUMN claim_run TEXT",
        "ALTER TABLE jobs ADD COLUMN claim_account TEXT",
        "ALTER TABLE jobs ADD COLUMN claimed_at BIGINT",
    ),
    2: (
        "ALTER TABLE attempts ADD COLUMN attempt INTEGER",
        "ALTER TABLE attempts ADD COLUMN supersedes BIGINT",
        "CREATE INDEX attempts_lost ON attempts (job_key) WHERE code = 'process_died'",
        "CREATE INDEX attempts_late ON attempts (supersedes) WHERE supersedes IS NOT NULL",
    ),
    3: (
        "ALTER TABLE jobs ADD COLUMN task_id TEXT",
        "ALTER TABLE jobs ADD COLUMN image_count INTEGER",
        "ALTER TABLE jobs ADD COLUMN claim_task TEXT",
        "ALTER TABLE jobs ADD COLUMN task_since BIGINT",
        "ALTER TABLE attempts ADD COLUMN task_id TEXT",
        "ALTER TABLE attempts ADD COLUMN images INTEGER",
        "ALTER TABLE jobs ADD COLUMN claim_amount BIGINT",
        "ALTER TABLE attempts ADD COLUMN amount BIGINT",
        "UPDATE attempts SET amount = CAST(round(price * 1000000000) AS BIGINT) "
        "WHERE price IS NOT NULL",
        # Who wrote down the call of a process that had died did not know what it cost. All calls
        # of a run had one price then.
        "UPDATE attempts SET amount = (SELECT max(other.amount) FROM attempts AS other "
        "WHERE other.run_id = attempts.run_id AND coalesce(other.code, '') <> 'process_died') "
        "WHERE code = 'process_died'",
        "ALTER TABLE attempts DROP COLUMN price",
        "CREATE INDEX jobs_with_task ON jobs (claim_task) WHERE claim_task IS NOT NULL",
        "CREATE UNIQUE INDEX attempts_of_task ON attempts (job_key, task_id) "
        "WHERE task_id IS NOT NULL",
    ),
    # Version 5 adds a table alone, which is made as every missing one.
    4: (),
}
"""The statements that bring a ledger from a schema version to the next one; missing tables are made
besides."""


def now_micros() -> int:
    """The wall clock in microseconds since 1970 UTC, for display and expiry only."""
    return time.time_ns() // 1000
