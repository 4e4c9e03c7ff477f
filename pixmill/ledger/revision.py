"""The revision of a ledger's jobs: a random text that takes another value whenever anything about a
job is written.

Triggers of the file see to it, whoever writes: another version of pixmill, or a person with a
shell. As the text is random, a ledger that was put back from a backup and went on from there never
has one that it had before.
"""

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
)

_own = MetaData()

revision = Table("revision", _own, Column("value", Text, nullable=False))
"""One row, in ledgers that are files."""

_NEW = "lower(hex(randomblob(16)))"
_TRIGGERS = {
    f"jobs_revised_by_{event.lower()}": (
        f"CREATE TRIGGER jobs_revised_by_{event.lower()} AFTER {event} ON jobs "  # noqa: S608
        f"BEGIN UPDATE revision SET value = {_NEW}; END"
    )
    for event in ("INSERT", "UPDATE", "DELETE")
}
_FOUND = text(
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'jobs'"
)


def revision_of(connection: Connection) -> str | None:
    """Return the revision of the jobs; `None` where there is none: in PostgreSQL, or where nobody
    watches them."""
    if connection.dialect.name != "sqlite":
        return None
    found = {row.name: row.sql for row in connection.execute(_FOUND)}
    # Triggers of another version might not number every write.
    if not _TRIGGERS.items() <= found.items():
        return None
    return connection.execute(select(revision.c.value)).scalar()


def watch_jobs(connection: Connection) -> None:
    """Have the jobs watched from now on, in a ledger that can be; the connection writes."""
    if connection.dialect.name != "sqlite" or revision_of(connection):
        return
    _own.create_all(connection)
    for name, statement in _TRIGGERS.items():
        connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        connection.execute(text(statement))
    connection.execute(delete(revision))
    connection.execute(insert(revision).values(value=text(_NEW)))
