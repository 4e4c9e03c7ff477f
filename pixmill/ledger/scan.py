"""All jobs of a ledger at one moment, in a few bytes each: one pass over its table instead of a
search for each job.

What the plan asks of a job fits into three digits. With its key they are read as one long text for
many jobs at a time, in the order in which the rows are stored.
"""

from binascii import unhexlify
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Connection,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy.sql.expression import ColumnElement

from pixmill.ledger.job_conditions import (
    has_task,
    is_retryable_failure,
    is_state,
    lacks_images,
)
from pixmill.ledger.payment_marks import may_be_paid_again
from pixmill.ledger.records import KnownStates, State
from pixmill.ledger.schema import jobs

_STATES = (None, *State)
_STATE_BITS = 7
_MISSING = 8
_LOST = 16
_AGAIN = 32
_UNSURE = 64
_NOWHERE = 128
"""Beside the number of a state in `_STATES`. A job that is unsure has to be looked up: it is
claimed, which may have ended meanwhile, or it has an outcome beside a task that works, or its key
begins like another one."""

_BASE = 100
"""What a code is more than its meaning, so that each has three digits."""

_KEY_DIGITS = 64
_CODE_DIGITS = 3
_SLICE_ROWS = 50_000
_SLICE_PAGES = 4_096
_JOB_BYTES = 700
"""What a job takes in PostgreSQL, about: how many there are is only asked for to choose the quicker
way."""

ROW: ColumnElement[int] = literal_column("jobs.rowid")
"""Where a job is found at once, in SQLite. Another job may be there once the file was
compacted."""

_MIXERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64
)
"""Odd, so that none of the words that they are multiplied with is lost."""

NO_PLACE = 0


class Fingerprints(NamedTuple):
    """Job keys in sixteen bytes each: the first eight as a number, and a mixture of the others."""

    beginnings: NDArray[np.uint64]
    endings: NDArray[np.uint64]

    @classmethod
    def of(cls, keys: bytes) -> Self:
        """Return those of keys, 32 bytes each, one behind the other."""
        words = np.frombuffer(keys, ">u8").reshape(-1, 4)
        others = words[:, 1:].astype(np.uint64) * _MIXERS
        return cls(words[:, 0].astype(np.uint64), np.bitwise_xor.reduce(others, axis=1))


class Scan(NamedTuple):
    """Where all jobs of a ledger stood at one moment, in the order of the beginnings of their
    keys."""

    fingerprints: Fingerprints
    codes: NDArray[np.uint8]
    places: NDArray[np.uint32]

    def known(self, asked: Fingerprints) -> tuple[KnownStates, NDArray[np.bool_]]:
        """Return what is known of the jobs `asked`, and mark those that have to be looked up one by
        one."""
        ours = self.fingerprints
        at = search_sorted(ours.beginnings, asked.beginnings)
        at[at == len(ours.beginnings)] = 0
        if not len(ours.beginnings):
            codes = np.zeros(len(at), np.uint8)
            return self._as_known(codes, codes.astype(np.uint32)), np.zeros(
                len(at), np.bool_
            )
        begins_so = ours.beginnings[at] == asked.beginnings
        found = begins_so & (ours.endings[at] == asked.endings)
        codes = np.where(found, self.codes[at], 0).astype(np.uint8)
        unsure = (codes & _UNSURE).astype(np.bool_) | (begins_so & ~found)
        places = np.where(found, self.places[at], NO_PLACE).astype(np.uint32)
        return self._as_known(codes, places), unsure

    def _as_known(
        self, codes: NDArray[np.uint8], places: NDArray[np.uint32]
    ) -> KnownStates:
        numbers = codes & _STATE_BITS
        states = [_STATES[number] for number in numbers.tolist()]
        missing, nowhere, lost, again = (
            (codes & bit).astype(np.bool_)
            for bit in (_MISSING, _NOWHERE, _LOST, _AGAIN)
        )
        # Claimed ones are looked up one by one, so nobody polls the tasks of these.
        unattended = numbers == _STATES.index(State.SUBMITTED)
        return KnownStates(states, missing, nowhere, lost, again, places, unattended)


def search_sorted(
    among: NDArray[np.uint64], wanted: NDArray[np.uint64]
) -> NDArray[np.intp]:
    """Return what `np.searchsorted` does for many numbers of no order, among even more."""
    # In ascending order neighbours are found by way of the same numbers, which the processor has
    # at hand then: a third of the time.
    order = np.argsort(wanted)
    at = np.empty(len(wanted), np.intp)
    at[order] = np.searchsorted(among, wanted[order])
    return at


def number_of_jobs(connection: Connection) -> int:
    """About how many jobs there are, without counting them."""
    if connection.dialect.name == "sqlite":
        return connection.execute(select(func.max(ROW)).select_from(jobs)).scalar() or 0
    size: int = connection.execute(_SIZE).scalar_one()
    return size // _JOB_BYTES


def scan(connection: Connection, max_runs: int, retry_doubt: bool) -> Scan:
    """Return where all jobs stand, as `queries.known` says of each."""
    state = case(
        (is_retryable_failure(max_runs), _STATES.index(State.PENDING)),
        *((is_state(state), number) for number, state in enumerate(_STATES) if state),
        else_=0,
    )
    missing = lacks_images()
    lost = missing & (jobs.c.image_error == "image_lost")
    # There is no bit left that would say so beside an outcome, and there are few of these.
    is_odd = has_task() != is_state(State.SUBMITTED)
    bits = (
        (missing, _MISSING),
        (missing & jobs.c.output_urls.is_(None), _NOWHERE),
        (lost, _LOST),
        (may_be_paid_again(max_runs, retry_doubt), _AGAIN),
        (jobs.c.owner.is_not(None) | is_odd, _UNSURE),
    )
    line = jobs.c.job_key + cast(
        _BASE + sum((case((holds, bit), else_=0) for holds, bit in bits), start=state),
        Text,
    )
    is_key = (
        func.length(jobs.c.job_key) == _KEY_DIGITS
    )  # what a person put there is not a key
    read = _of_sqlite if connection.dialect.name == "sqlite" else _of_postgresql
    parts = [_part(text, places) for text, places in read(connection, line, is_key)]
    whole = [
        np.concatenate([nothing, *arrays])
        for nothing, *arrays in zip(_NOTHING, *parts, strict=True)
    ]
    parts.clear()  # as large as the whole
    order = np.argsort(whole[0], kind="stable")
    for array in whole:
        array[:] = array[order]  # one after another: a copy of one at a time
    beginnings, endings, codes, places = whole
    # Two jobs whose keys begin alike can't be distinguished by a search for the beginning.
    alike = beginnings[1:] == beginnings[:-1]
    codes[1:][alike] |= _UNSURE
    codes[:-1][alike] |= _UNSURE
    return Scan(Fingerprints(beginnings, endings), codes, places)


_NOTHING = (
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint64),
    np.zeros(0, np.uint8),
    np.zeros(0, np.uint32),
)

_SIZE = sql("SELECT pg_relation_size(to_regclass('jobs'))")
_PAGES = sql(
    "SELECT pg_relation_size(to_regclass('jobs')) / current_setting('block_size')::int"
)


def _of_sqlite(
    connection: Connection, line: ColumnElement[str], is_key: ColumnElement[bool]
) -> Iterator[tuple[str, str]]:
    """Yield the lines of a slice of the table as one text, and their rows as another, a comma
    between."""
    rows = select(line.label("line"), ROW.label("place"))
    following = (
        rows.where(bindparam("last") < ROW, is_key).order_by(ROW).limit(_SLICE_ROWS)
    )
    taken = following.subquery()
    places = func.aggregate_strings(cast(taken.c.place, Text), ",")
    statement = select(
        func.aggregate_strings(taken.c.line, ""), places, func.max(taken.c.place)
    )
    last = 0
    while last is not None:
        text, at, last = connection.execute(statement, {"last": last}).one()
        if last is not None:
            yield text, at


def _of_postgresql(
    connection: Connection, line: ColumnElement[str], is_key: ColumnElement[bool]
) -> Iterator[tuple[str, str]]:
    """Yield the lines of a slice of the table as one text; a row has no place that it keeps."""
    pages: int = connection.execute(_PAGES).scalar_one()
    part = sql("jobs.ctid >= CAST(:first AS tid) AND jobs.ctid < CAST(:end AS tid)")
    statement: Select[Any] = select(func.aggregate_strings(line, "")).where(
        part, is_key
    )
    for first in range(0, pages, _SLICE_PAGES):
        bounds = {"first": f"({first},0)", "end": f"({first + _SLICE_PAGES},0)"}
        text = connection.execute(statement, bounds).scalar()
        if text:
            yield text, ""


def _part(text: str, places: str) -> Sequence[NDArray[Any]]:
    """Return beginnings, endings, codes and places of the lines of a slice."""
    digits = np.frombuffer(text.encode(), np.uint8).reshape(
        -1, _KEY_DIGITS + _CODE_DIGITS
    )
    fingerprints = Fingerprints.of(unhexlify(digits[:, :_KEY_DIGITS].tobytes()))
    values = (digits[:, _KEY_DIGITS:].astype(np.int16) - ord("0")) @ np.array(
        [100, 10, 1], np.int16
    )
    codes = (values - _BASE).astype(np.uint8)
    at = (
        np.fromstring(places, np.int64, sep=",")
        if places
        else np.zeros(len(codes), np.int64)
    )
    # A row beyond four billion is found by its key.
    at[at > np.iinfo(np.uint32).max] = NO_PLACE
    return *fingerprints, codes, at.astype(np.uint32)
