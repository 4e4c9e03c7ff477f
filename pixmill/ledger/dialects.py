"""The SQL that the two databases spell each in their own way; everywhere else a statement is the same for both."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    Connection,
    CursorResult,
    Dialect,
    TextClause,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from pixmill.ledger.schema import now_micros


class json_values(FunctionElement[Any]):  # noqa: N801 - SQL functions are written in lower case
    """The texts of a JSON list, a row each: one parameter, however many there are."""

    name = "json_values"
    inherit_cache = True


class json_line(FunctionElement[Any]):  # noqa: N801
    """A row as the text of a JSON object, made of names and values in turn."""

    name = "json_line"
    inherit_cache = True


class json_of(FunctionElement[Any]):  # noqa: N801
    """A text that holds JSON as a part of `json_line`."""

    name = "json_of"
    inherit_cache = True


_SPELLINGS = {
    json_values: ("json_each({})", "json_array_elements_text(CAST({} AS JSON))"),
    json_line: ("json_object({})", "CAST(json_build_object({}) AS TEXT)"),
    json_of: ("json({})", "CAST({} AS JSON)"),
}


def _spelled(pattern: str) -> Callable[..., str]:
    def compiled(element: FunctionElement[Any], compiler: Any, **options: Any) -> str:
        return pattern.format(compiler.process(element.clause_expr.element, **options))

    return compiled


for _construct, (_sqlite, _postgresql) in _SPELLINGS.items():
    compiles(_construct, "sqlite")(_spelled(_sqlite))
    compiles(_construct, "postgresql")(_spelled(_postgresql))


class _Compiled(NamedTuple):
    """The text of a statement in one dialect, and its parameters, by position or by name."""

    text: str
    constants: Mapping[str, Any]
    names: Sequence[str]
    by_position: bool

    def bound(self, values: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        """Return what the driver takes for `values`."""
        known = {**self.constants, **values}
        if self.by_position:
            return tuple([known[name] for name in self.names])
        return {name: known[name] for name in self.names}


_compiled: dict[tuple[ClauseElement, str], _Compiled] = {}


def _compile(statement: ClauseElement, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    constants = {
        name: bound.value
        for name, bound in compiled.binds.items()
        if not bound.required
    }
    names = compiled.positiontup or tuple(compiled.binds)
    return _Compiled(str(compiled), constants, names, by_position=compiled.positional)


def run(
    connection: Connection, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]
) -> CursorResult[Any]:
    """Run a statement of the paying path, which has parameters for all that differs, with each of `rows`.

    It is compiled once, and the driver gets the values as they are: SQLAlchemy would take longer to look at those of a
    row than SQLite to write it. A row may hold more than the statement asks for.
    """
    dialect = connection.dialect
    compiled = _compiled.get((statement, dialect.name))
    if compiled is None:
        compiled = _compiled[statement, dialect.name] = _compile(statement, dialect)
    bound: Any = [compiled.bound(row) for row in rows]
    return connection.exec_driver_sql(
        compiled.text, bound[0] if len(bound) == 1 else bound
    )


def upsert(dialect: str, build: Callable[[Any], Any]) -> TextClause:
    """Return what `build` makes of the `insert` of a dialect, as text: SQLAlchemy compiles an upsert at every use."""
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    return text(
        str(build(module.insert).compile(dialect=module.dialect(paramstyle="named")))
    )


_SERVER_TIME = text(
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
)


def clock(connection: Connection) -> Callable[[], int]:
    """The clock that leases go by, in microseconds since 1970 UTC: the database server's, else this machine's."""
    if connection.dialect.name == "sqlite":
        return now_micros
    return cache(lambda: int(connection.execute(_SERVER_TIME).scalar_one()))
