"""Making the tables of a new ledger, and bringing those of an earlier version up to date."""

from sqlalchemy import Connection, insert, inspect, select, text, update

from pixmill.errors import UserError
from pixmill.ledger.database import Database
from pixmill.ledger.revision import watch_jobs
from pixmill.ledger.schema import MIGRATIONS, SCHEMA_VERSION, meta, metadata


def version_of(connection: Connection) -> int | None:
    """Return the schema version of a ledger; `None` where there are no tables of one."""
    if not inspect(connection).has_table(meta.name):
        return None
    return int(
        connection.execute(
            select(meta.c.value).where(meta.c.name == "schema_version")
        ).scalar_one()
    )


def migrate(database: Database, *, create: bool) -> None:
    """Make the tables where there are none and `create` allows it, else bring them to
    `SCHEMA_VERSION`.

    Raises UserError where they are of another program, or of a newer version.
    """
    with database.reading.connect() as connection:
        version = version_of(connection)
    if version is None and create:
        _create(database)
    elif version is None or version > SCHEMA_VERSION:
        found = (
            "an unknown program"
            if version is None
            else f"a newer pixmill (schema {version})"
        )
        raise UserError(
            f"{database} was written by {found}; this one knows schema {SCHEMA_VERSION}",
            hint="upgrade pixmill; the ledger was not touched",
        )
    elif version < SCHEMA_VERSION:
        _upgrade(database)


def _create(database: Database) -> None:
    """Make the tables, unless another process is faster."""
    database.prepare()
    with database.writing.begin() as connection:
        database.lock(connection)
        # Asked again with other writers locked out: another process may have been here since.
        if version_of(connection) is None:
            metadata.create_all(connection)
            watch_jobs(connection)
            connection.execute(
                insert(meta).values(name="schema_version", value=str(SCHEMA_VERSION))
            )


def _upgrade(database: Database) -> None:
    """Bring a ledger of an earlier version up to date, unless another process is faster."""
    with database.writing.begin() as connection:
        database.lock(connection)
        for version in range(version_of(connection) or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                connection.execute(text(statement))
        metadata.create_all(connection)
        watch_jobs(connection)
        connection.execute(
            update(meta)
            .where(meta.c.name == "schema_version")
            .values(value=str(SCHEMA_VERSION))
        )
