"""A ledger in PostgreSQL, for the processes of many machines. One writes at a time, as with SQLite.

An advisory lock, held until the transaction ends, is what BEGIN IMMEDIATE is there: what a
transaction has read stays true until it commits, so that claims, budgets and the order of
`attempts.id` are right without a thought about isolation. Each group of entries that is committed
together is numbered in `writers` by the transaction that writes it: whoever lost the connection
while it waited for the commit finds there whether it happened.
"""

import secrets
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Engine,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    func,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError

from pixmill.errors import UserError
from pixmill.ledger.dialects import upsert
from pixmill.ledger.schema import metadata

_own = MetaData()

writers = Table(
    "writers",
    _own,
    Column("writer", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("marked_at", DateTime(timezone=True), nullable=False),
)
"""The last group that each open ledger has committed."""

_LOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('pixmill ledger ' || current_schema(), 0))"
)
_FORGET = text(
    "DELETE FROM writers WHERE writer = :writer OR marked_at < now() - interval '30 days'"
)
"""A group is tried again for an hour at most."""

_SIZE = text("SELECT coalesce(pg_total_relation_size(to_regclass(:name)), 0)")

_CONNECTION = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "application_name": "pixmill",
}
"""What libpq is told where the URL says nothing else: a server that vanished is noticed within a
minute or so."""

_SESSION = """
SELECT set_config('idle_in_transaction_session_timeout', '60s', false),
       CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END
"""
"""A process that hangs may not keep the others from writing, and a commit has to survive a power
loss."""

_PASSES = ("08", "57P0", "53300", "25P03", "25006", "40")
"""Beginnings of SQLSTATEs after which the same statement may succeed: no connection, shut down or
starting, too many connections, an idle session ended, still a standby, a deadlock.
<https://www.postgresql.org/docs/current/errcodes-appendix.html>"""


class PostgresDatabase:
    """The database behind `url` as a ledger's; see `pixmill.ledger.database.Database`. It holds no
    password."""

    remedy = "nothing was sent; is the server up, and may this user read its tables?"
    pause_seconds = 0.5

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._writer = secrets.token_hex(8)
        try:
            self.reading = self._connect(writing=False)
            self.writing = self._connect(writing=True)
        except ModuleNotFoundError:
            raise UserError(
                "a ledger in PostgreSQL needs psycopg",
                hint="pip install 'pixmill[postgres]'",
            ) from None

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def prepare(self) -> None:
        """Make the tables that only PostgreSQL needs."""
        with self.writing.begin() as connection:
            self.lock(connection)
            _own.create_all(connection)

    def lock(self, connection: Connection) -> None:
        """Wait until no other process writes, and let none write until the transaction ends."""
        connection.execute(_LOCK)

    def number_group(self, connection: Connection, number: int) -> bool:
        """Number a group; False where it was committed before, although nobody heard of it."""
        new: bool = (
            connection.execute(
                _NUMBER_GROUP, {"writer": self._writer, "number": number}
            ).rowcount
            == 1
        )
        return new

    def passing(self, problem: DBAPIError) -> str | None:
        """Say that the server is away, or another process in the way; `None` where waiting would
        not help."""
        state = getattr(problem.orig, "sqlstate", None)
        lost = state is None and type(problem.orig).__name__ in (
            "OperationalError",
            "ConnectionTimeout",
        )
        if not (lost or (state or "").startswith(_PASSES)):
            return None
        reason = next(iter(str(problem.orig).splitlines()), "")
        return f"the ledger's database is unavailable ({reason})"

    def find_move(self) -> None:
        """A server does not take its tables away from those who use them."""

    def damage(self, _connection: Connection) -> str | None:
        """Nothing is looked for: pages have checksums, and whoever runs the server looks after its
        indexes."""

    def sizes(self, connection: Connection) -> dict[str, int]:
        """Return the bytes of all tables with their indexes; the write-ahead log is the whole
        server's."""
        sizes = (
            connection.execute(_SIZE, {"name": name}).scalar_one()
            for name in (*metadata.tables, *_own.tables)
        )
        return {"ledger_bytes": sum(sizes), "log_bytes": 0}

    def checkpoint(self) -> None:
        """Forget this writer, and those that were killed."""
        with suppress(DBAPIError), self.writing.begin() as connection:
            connection.execute(_FORGET, {"writer": self._writer})

    def close(self) -> None:
        """Close the connections."""
        self.reading.dispose()
        self.writing.dispose()

    def _connect(self, *, writing: bool) -> Engine:
        """Return an engine; one that reads sees one moment in each transaction."""
        engine = create_engine(
            self._url,
            connect_args={
                name: value
                for name, value in _CONNECTION.items()
                if name not in self._url.query
            },
            use_native_hstore=False,
        )

        @event.listens_for(engine, "connect")
        def settings(connection: Any, _record: Any) -> None:
            _set_up(connection, writing=writing)

        return engine


def _build_numbering(insert: Any) -> Any:
    new = insert(writers).values(
        writer=text(":writer"), number=text(":number"), marked_at=func.now()
    )
    later = {"number": new.excluded.number, "marked_at": new.excluded.marked_at}
    return new.on_conflict_do_update(
        index_elements=[writers.c.writer],
        set_=later,
        where=writers.c.number < new.excluded.number,
    )


_NUMBER_GROUP = upsert("postgresql", _build_numbering)


def _set_up(connection: Any, *, writing: bool) -> None:
    from psycopg import IsolationLevel
    from psycopg.types.string import StrDumperUnknown

    class WithoutNul(StrDumperUnknown):
        """Text that a provider sent may hold NUL, the one character that PostgreSQL can't store."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, WithoutNul)
    connection.isolation_level = (
        IsolationLevel.READ_COMMITTED if writing else IsolationLevel.REPEATABLE_READ
    )
    connection.read_only = not writing
    if writing:
        connection.execute(_SESSION)
        connection.commit()
