"""Columns of any type that Parquet can hold, drawn by chance: nested twice, with nulls and the ends of every type."""

from collections.abc import Callable
from decimal import Decimal
from random import Random

import numpy as np
import pyarrow as pa

from tests.pixmill.datasets.column_types import of_integers

_WIDTHS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_ZONES = (
    None,
    "UTC",
    "Z",
    "America/New_York",
    "+14:00",
    "no/such zone",
    "utc",
    "GMT+3",
)
_TEXTS = (
    "",
    "a barn",
    "=1+1",
    '"',
    "a\r\nb",
    "\x00",
    "é",
    "e\u0301",
    "\ufeffx",
    "𓀀",
    "x" * 5_000,
)
_DATA = (b"", b"text", b"\x00", b"\xff\xfe", b"\x89PNG\r\n", bytes(300))
_DAY = 86_400

Draw = Callable[[Random, int], pa.Array]
"""Draws a column of so many values."""


def random_column(chance: Random, count: int, depth: int = 2) -> pa.Array:
    """Draw a column of `count` values whose lists and objects hold no more than `depth` others."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice(_LEAVES)(chance, count)
    return chance.choice(_NESTED)(chance, count, depth - 1)


def _mask(chance: Random, count: int) -> pa.Array:
    share = chance.choice((0, 0.3, 0.3, 1))
    return pa.array([chance.random() < share for _ in range(count)], pa.bool_())


def _with_nulls(chance: Random, column: pa.Array) -> pa.Array:
    mask = _mask(chance, len(column))
    return pa.compute.if_else(mask, pa.scalar(None, column.type), column)


def _integers(chance: Random, count: int) -> pa.Array:
    name = chance.choice(_WIDTHS)
    ends = np.iinfo(name)
    some = [
        int(ends.min),
        int(ends.max),
        0,
        7,
        chance.randint(int(ends.min), int(ends.max)),
    ]
    return _with_nulls(
        chance, pa.array(chance.choices(some, k=count), getattr(pa, name)())
    )


def _floats(chance: Random, count: int) -> pa.Array:
    width = chance.choice((16, 32, 64))
    ends = np.finfo(f"float{width}")
    some = [
        0.1,
        -0.0,
        float("nan"),
        float("inf"),
        -float("inf"),
        ends.max,
        ends.smallest_subnormal,
    ]
    values = np.array(
        chance.choices([float(of) for of in some], k=count), f"float{width}"
    )
    mask = np.array(_mask(chance, count).to_pylist(), bool)
    return pa.array(values, mask=mask)


def _decimals(chance: Random, count: int) -> pa.Array:
    kind, most = chance.choice(
        (
            (pa.decimal32, 9),
            (pa.decimal64, 18),
            (pa.decimal128, 38),
            (pa.decimal256, 76),
        )
    )
    digits = chance.randint(1, most)
    scale = chance.randint(0, digits)
    whole = [0, 1, 10**digits - 1, -(10**digits) + 1]
    # Of digits, not by a calculation: that would round to the 28 of Python's context.
    some = [Decimal(f"{of}E-{scale}") for of in whole]
    return _with_nulls(
        chance, pa.array(chance.choices(some, k=count), kind(digits, scale))
    )


def _texts(chance: Random, count: int) -> pa.Array:
    kind = chance.choice((pa.string(), pa.large_string(), pa.string_view()))
    return pa.array(chance.choices((*_TEXTS, None), k=count), kind)


def _data(chance: Random, count: int) -> pa.Array:
    kind = chance.choice((pa.binary(), pa.large_binary(), pa.binary_view()))
    return pa.array(chance.choices((*_DATA, None), k=count), kind)


def _short_data(chance: Random, count: int) -> pa.Array:
    size = chance.choice((1, 2, 16))
    some = [bytes(size), b"\xff" * size, b"a" * size, None]
    return pa.array(chance.choices(some, k=count), pa.binary(size))


def _flags(chance: Random, count: int) -> pa.Array:
    return pa.array(chance.choices((True, False, None), k=count), pa.bool_())


def _nothing(_: Random, count: int) -> pa.Array:
    return pa.nulls(count)


def _dates(chance: Random, count: int) -> pa.Array:
    some = [0, -1, 2_932_896, 2_932_897, -719_163, 2**31 - 1, -(2**31), None]
    return of_integers(chance.choices(some, k=count), pa.date32())


def _times(chance: Random, count: int) -> pa.Array:
    kind, per = chance.choice(
        ((pa.time32("ms"), 10**3), (pa.time64("us"), 10**6), (pa.time64("ns"), 10**9))
    )
    return of_integers(
        chance.choices([0, 1, per // 2, _DAY * per - 1, None], k=count), kind
    )


def _timestamps(chance: Random, count: int) -> pa.Array:
    unit, per = chance.choice((("ms", 10**3), ("us", 10**6), ("ns", 10**9)))
    ends = [2**63 - 1, -(2**63), -(2**63) + 1]
    far = [
        seconds * per for seconds in (253_402_300_799, 253_402_300_800, -62_135_596_801)
    ]
    some = [0, 1, -1, *ends, *(ticks for ticks in far if abs(ticks) < 2**63), None]
    return of_integers(
        chance.choices(some, k=count), pa.timestamp(unit, tz=chance.choice(_ZONES))
    )


def _durations(chance: Random, count: int) -> pa.Array:
    some = [0, 1, -1, 2**63 - 1, -(2**63), 86_400_000_000_000, None]
    kind = pa.duration(chance.choice(("s", "ms", "us", "ns")))
    return of_integers(chance.choices(some, k=count), kind)


def _few(chance: Random, count: int) -> pa.Array:
    return pa.array(
        chance.choices((*_TEXTS, None), k=count), pa.string()
    ).dictionary_encode()


def _ids(chance: Random, count: int) -> pa.Array:
    stored = pa.array(
        chance.choices([bytes(16), b"\xff" * 16, None], k=count), pa.binary(16)
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), stored)


def _documents(chance: Random, count: int) -> pa.Array:
    stored = pa.array(chance.choices(['{"a":[1]}', "null", None], k=count), pa.string())
    return pa.ExtensionArray.from_storage(pa.json_(), stored)


_LEAVES: tuple[Draw, ...] = (
    _integers,
    _floats,
    _decimals,
    _texts,
    _data,
    _short_data,
    _flags,
    _nothing,
    _dates,
    _times,
    _timestamps,
    _timestamps,
    _durations,
    _few,
    _ids,
    _documents,
)


def _lists(chance: Random, count: int, depth: int) -> pa.Array:
    lengths = [chance.randint(0, 3) for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = random_column(chance, int(offsets[-1]), depth)
    mask = _mask(chance, count)
    which = chance.choice(("list", "large", "view", "large view"))
    if which == "list":
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, mask=mask)
    if which == "large":
        return pa.LargeListArray.from_arrays(
            pa.array(offsets, pa.int64()), items, mask=mask
        )
    width, made = (
        (pa.int32(), pa.ListViewArray)
        if which == "view"
        else (pa.int64(), pa.LargeListViewArray)
    )
    return made.from_arrays(
        pa.array(offsets[:-1], width), pa.array(lengths, width), items, mask=mask
    )


def _fixed_lists(chance: Random, count: int, depth: int) -> pa.Array:
    size = chance.randint(1, 3)
    items = random_column(chance, size * count, depth)
    return pa.FixedSizeListArray.from_arrays(items, size, mask=_mask(chance, count))


def _objects(chance: Random, count: int, depth: int) -> pa.Array:
    names = chance.sample(["a", "b c", "é", "bytes", "0", ""], chance.randint(1, 3))
    columns = [random_column(chance, count, depth) for _ in names]
    return pa.StructArray.from_arrays(columns, names=names, mask=_mask(chance, count))


def _maps(chance: Random, count: int, depth: int) -> pa.Array:
    lengths = [chance.randint(0, 2) for _ in range(count)]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    keys = [f"k{at}" for at in range(offsets[-1].as_py())]
    items = random_column(chance, len(keys), depth)
    return pa.MapArray.from_arrays(offsets, pa.array(keys, pa.string()), items)


_NESTED = (_lists, _lists, _fixed_lists, _objects, _objects, _maps)
