"""What was written to a ledger's jobs, one entry for each write: its number, a random text, and how
the job's key begins. A score that was taken back or replaced has an entry as well, which tells no
job.

Triggers of the file see to it, whoever writes: another version of pixmill, or a person with a
shell. A revision names the last entry of a moment. As its text is random, a ledger that was put
back from a backup and went on from there never has one that it had before, and knows the ones from
before the backup only.
"""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    text,
)

ENTRIES = 100_000
"""How many of the last entries are kept, of about 40 bytes each. A paid job leaves two or three; a
run that pays for more than so many takes hours, and may read the ledger for some seconds more."""

_own = MetaData()

changes = Table(
    "job_changes",
    _own,
    Column("number", Integer, primary_key=True),
    # The first digits of the job's key: of two jobs that begin alike, both count as changed.
    Column("job", Text, nullable=False),
    Column("revision", LargeBinary, nullable=False),
)
"""In ledgers that are files."""

_JOB_DIGITS = 16
_SCORES = "scores"
"""What an entry has instead of a job where a score is not any more what it was."""

_RANDOM = "randomblob(8)"
_LOG = "INSERT INTO job_changes (job, revision) SELECT"
_LOG_OLD = f"{_LOG} substr(OLD.job_key, 1, {_JOB_DIGITS}), {_RANDOM}"
_LOG_NEW = f"{_LOG} substr(NEW.job_key, 1, {_JOB_DIGITS}), {_RANDOM}"
_WRITES = {
    "INSERT": (_LOG_NEW,),
    # The key under which nothing is found any more has changed as well.
    "UPDATE": (f"{_LOG_OLD} WHERE OLD.job_key IS NOT NEW.job_key", _LOG_NEW),
    "DELETE": (_LOG_OLD,),
}
_LOG_SCORES = f"{_LOG} '{_SCORES}', {_RANDOM}"
_FORGET = (
    "DELETE FROM job_changes "  # noqa: S608
    f"WHERE number <= (SELECT max(number) FROM job_changes) - {ENTRIES}"
)
_TRIGGERS = {
    f"jobs_revised_by_{event.lower()}": (
        f"CREATE TRIGGER jobs_revised_by_{event.lower()} AFTER {event} ON jobs "
        f"BEGIN {'; '.join([*log, _FORGET])}; END"
    )
    for event, log in _WRITES.items()
} | {
    # What is added says something of an image of which nobody knew it.
    f"scores_revised_by_{event.lower()}": (
        f"CREATE TRIGGER scores_revised_by_{event.lower()} AFTER {event} ON scores "
        f"BEGIN {_LOG_SCORES}; {_FORGET}; END"
    )
    for event in ("UPDATE", "DELETE")
}
_FOUND = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE type = 'trigger' AND tbl_name IN ('jobs', 'scores')"
)
_REVISION = changes.c.number.concat(":").concat(func.hex(changes.c.revision))


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the jobs; `None` where there is none: in PostgreSQL, or where nobody
    watches them."""
    if connection.dialect.name != "sqlite":
        return None
    found = {row.name: row.sql for row in connection.execute(_FOUND)}
    # Triggers of another version might not number every write.
    if not _TRIGGERS.items() <= found.items():
        return None
    last = select(_REVISION).order_by(changes.c.number.desc()).limit(1)
    return connection.execute(last).scalar()


def changed_since(connection: Connection, revision: str) -> NDArray[np.uint64] | None:
    """Return how the keys of all jobs begin to which anything was written since `revision`, as
    `pixmill.planning.packed_keys.key_prefixes` has them; `None` where that is not known, or where a
    score was taken back.
    """
    if revision_of(connection) is None:
        return None
    number, _, _ = revision.partition(":")
    if not number.isdecimal():
        return None
    found = select(_REVISION).where(changes.c.number == int(number))
    if connection.execute(found).scalar() != revision:
        return None
    later = changes.c.number > int(number)
    of_scores = select(changes.c.number).where(later, changes.c.job == _SCORES)
    if connection.execute(of_scores.limit(1)).first():
        return None
    # What a person put there is not a key, and nobody asks for it.
    is_key = text(f"length(job) = {_JOB_DIGITS} AND job NOT GLOB '*[^0-9a-f]*'")
    jobs = select(func.aggregate_strings(changes.c.job, "")).where(later, is_key)
    digits = connection.execute(jobs).scalar() or ""
    return np.unique(np.frombuffer(bytes.fromhex(digits), ">u8").astype(np.uint64))


def watch_jobs(connection: Connection) -> None:
    """Have the jobs watched from now on, in a ledger that can be; the connection writes."""
    if connection.dialect.name != "sqlite" or revision_of(connection):
        return
    # Earlier versions kept a revision without a log.
    connection.execute(text("DROP TABLE IF EXISTS revision"))
    _own.create_all(connection)
    for name, statement in _TRIGGERS.items():
        connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        connection.execute(text(statement))
    # Writes that nobody watched are in none of the entries.
    connection.execute(delete(changes))
    connection.execute(insert(changes).values(job="", revision=text(_RANDOM)))
