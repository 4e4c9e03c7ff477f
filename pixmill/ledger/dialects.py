"""The SQL that the two databases spell each in their own way; everywhere else a statement is the
same for both."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from sqlalchemy import (
    ClauseElement,
    Connection,
    CursorResult,
    Integer,
    String,
    Text,
    TextClause,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from pixmill.ledger.schema import now_micros


class json_values(FunctionElement[Any]):  # noqa: N801 - SQL functions are written in lower case
    """The texts of a JSON list, a row each: one parameter, however many there are."""

    name = "json_values"
    inherit_cache = True


class octets(FunctionElement[int]):  # noqa: N801
    """The number of bytes of a text."""

    name = "octets"
    type = Integer()
    inherit_cache = True


class csv_line(FunctionElement[str]):  # noqa: N801
    """A row as a CSV line: texts in single quotes, others as they are, and nothing or NULL in place
    of a null.

    No text may hold NUL, which SQLite takes for its end; `pixmill.provider.responses` leaves it out
    of answers.
    """

    name = "csv_line"
    type = Text()
    inherit_cache = True


_SPELLINGS = {
    json_values: ("json_each({})", "json_array_elements_text(CAST({} AS JSON))"),
    octets: ("length(CAST({} AS BLOB))", "octet_length({})"),
}


def _spell(pattern: str) -> Callable[..., str]:
    def compile_with(
        element: FunctionElement[Any], compiler: Any, **options: Any
    ) -> str:
        return pattern.format(compiler.process(element.clause_expr.element, **options))

    return compile_with


for _construct, (_sqlite, _postgresql) in _SPELLINGS.items():
    compiles(_construct, "sqlite")(_spell(_sqlite))
    compiles(_construct, "postgresql")(_spell(_postgresql))


@compiles(csv_line, "sqlite")
def _print_line(element: csv_line, compiler: Any, **options: Any) -> str:
    # One call of C writes the whole line. %Q quotes a text and writes NULL for null; %s is faster,
    # and enough for numbers.
    cells = element.clauses.clauses
    pattern = ",".join("%Q" if _is_text(cell) else "%s" for cell in cells)
    return f"printf('{pattern}', {compiler.process(element.clauses, **options)})"


@compiles(csv_line, "postgresql")
def _join_line(element: csv_line, compiler: Any, **options: Any) -> str:
    parts = []
    for cell in element.clauses.clauses:
        sql = f"CAST({compiler.process(cell, **options)} AS TEXT)"
        if _is_text(cell):
            sql = f"'''' || replace({sql}, '''', '''''') || ''''"
        parts.append(f"coalesce({sql}, '')")
    return f"concat_ws(',', {', '.join(parts)})"


def _is_text(cell: ColumnElement[Any]) -> bool:
    return isinstance(cell.type, String)


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


def execute(
    connection: Connection, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]
) -> CursorResult[Any]:
    """Execute a statement of the paying path, which has parameters for all that differs, with each
    of `rows`.

    It is compiled once, and the driver gets the values as they are: SQLAlchemy would take longer to
    look at those of a row than SQLite to write it. A row may hold more than the statement asks for.
    """
    dialect = connection.dialect
    compiled = _compiled.get((statement, dialect.name))
    if compiled is None:
        found: Any = statement.compile(dialect=dialect)
        compiled = _Compiled(
            str(found),
            {name: one.value for name, one in found.binds.items() if not one.required},
            found.positiontup or tuple(found.binds),
            by_position=found.positional,
        )
        _compiled[statement, dialect.name] = compiled
    bound: Any = [compiled.bound(row) for row in rows]
    return connection.exec_driver_sql(
        compiled.text, bound[0] if len(bound) == 1 else bound
    )


@cache
def upsert(dialect: str, build: Callable[[Any], Any]) -> TextClause:
    """Return what `build` makes of the `insert` of a dialect, as text: SQLAlchemy compiles an
    upsert at every use."""
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    return text(
        str(build(module.insert).compile(dialect=module.dialect(paramstyle="named")))
    )


_SERVER_TIME = text(
    "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
)


def clock(connection: Connection) -> Callable[[], int]:
    """The clock that leases go by, in microseconds since 1970 UTC: the database server's, else this
    machine's."""
    if connection.dialect.name == "sqlite":
        return now_micros
    return cache(lambda: int(connection.execute(_SERVER_TIME).scalar_one()))
