"""Every type that a column of a Parquet file can have, each with an ordinary value, extreme ones and a null."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

_LARGEST, _SMALLEST = 2**63 - 1, -(2**63)
_UNITS = ("s", "ms", "us", "ns")


def of_integers(values: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """A column of dates or times that holds these integers, whatever Python thinks of them."""
    return pa.array(values, pa.int32() if kind.bit_width == 32 else pa.int64()).view(
        kind
    )


def _moments() -> dict[str, pa.Array]:
    found = {
        "date32": of_integers([0, 2_932_897, 2**31 - 1, None], pa.date32()),
        "date64": of_integers([0, 253_402_300_800_000, 86_400_000, None], pa.date64()),
        "time32_ms": of_integers([1, 86_399_999, 500, None], pa.time32("ms")),
        "time64_us": of_integers([1, 86_399_999_999, 500_000, None], pa.time64("us")),
        "time64_ns": of_integers(
            [1, 86_399_999_999_999, 500_000_000, None], pa.time64("ns")
        ),
    }
    for unit in _UNITS:
        found[f"duration_{unit}"] = of_integers(
            [1, _LARGEST, -1, None], pa.duration(unit)
        )
    for unit in _UNITS[1:]:
        for name, zone in {
            "": None,
            "_utc": "UTC",
            "_z": "Z",
            "_no_zone": "no/such zone",
        }.items():
            kind = pa.timestamp(unit, zone)
            found[f"timestamp_{unit}{name}"] = of_integers(
                [1, _LARGEST, _SMALLEST, None], kind
            )
    forever = of_integers(
        [1, 253_402_318_799_000_000, -1, None], pa.timestamp("us", "+05:00")
    )
    found["timestamp_forever"] = forever
    found["timestamp_new_york"] = forever.cast(pa.timestamp("us", "America/New_York"))
    return found


def _numbers() -> dict[str, pa.Array]:
    found = {"bool": pa.array([True, False, True, None])}
    for kind in (
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ):
        ends = np.iinfo(kind)
        found[kind] = pa.array(
            [7, int(ends.max), int(ends.min), None], getattr(pa, kind)()
        )
    for kind, precision in (("float16", 16), ("float32", 32), ("float64", 64)):
        values = np.array([0.1, np.nan, np.inf, 0], f"float{precision}")
        found[kind] = pa.array(values, mask=np.array([False, False, False, True]))
    for kind, digits in (
        (pa.decimal32, 9),
        (pa.decimal64, 18),
        (pa.decimal128, 38),
        (pa.decimal256, 76),
    ):
        values = [Decimal("1.50"), Decimal("9" * (digits - 2)), Decimal("-0.01"), None]
        found[kind.__name__] = pa.array(values, kind(digits, 2))
    return found


def _texts_and_bytes() -> dict[str, pa.Array]:
    texts, data = (
        ["a barn", '=1+1 "x",\r\n', "", None],
        [b"\x89PNG\xff", b"text", b"", None],
    )
    found = {"null": pa.nulls(4)}
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        found[str(kind)] = pa.array(texts, kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        found[str(kind)] = pa.array(data, kind)
    found["fixed_size_binary"] = pa.array(
        [b"\x00\x01", b"ab", b"\xff\xff", None], pa.binary(2)
    )
    found["dictionary"] = pa.array(texts).dictionary_encode()
    return found


def _nested() -> dict[str, pa.Array]:
    far = of_integers([1, 253_402_300_800_000_000, -1, None], pa.timestamp("us"))
    day = of_integers([0, 2_932_897, -719_529, None], pa.date32())
    span = of_integers([1, _LARGEST, -1, None], pa.duration("ns"))
    data = pa.array([b"\x89PNG\xff", b"text", b"", None])
    number = pa.array([0.1, float("nan"), float("inf"), None])
    offsets = pa.array([0, 2, None, 3, 4], pa.int32())
    mask = pa.array([False, False, False, True])
    picture = pa.StructArray.from_arrays([data, far], names=["bytes", "at"], mask=mask)
    return {
        "list": pa.ListArray.from_arrays(offsets, far),
        "large_list": pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), day),
        "list_view": pa.ListViewArray.from_arrays([0, 1, 0, 0], [2, 1, 0, 4], number),
        "large_list_view": pa.LargeListViewArray.from_arrays(
            [0, 1, 0, 0], [2, 1, 0, 4], span
        ),
        "fixed_size_list": pa.FixedSizeListArray.from_arrays(
            pa.concat_arrays([number, number]), 2, mask=mask
        ),
        "struct": pa.StructArray.from_arrays(
            [far, span, number], names=["at", "for", "n"]
        ),
        "list_of_pictures": pa.ListArray.from_arrays(offsets, picture),
        "struct_of_lists": pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(offsets, data)], names=["all"], mask=mask
        ),
        "map": pa.MapArray.from_arrays(
            pa.array([0, 1, None, 2, 3], pa.int32()), pa.array(["a", "b", "c"]), far[:3]
        ),
    }


def _extensions() -> dict[str, pa.Array]:
    stored: dict[str, tuple[Any, pa.Array]] = {
        "uuid": (
            pa.uuid(),
            pa.array([bytes(16), b"\xff" * 16, b"a" * 16, None], pa.binary(16)),
        ),
        "json": (pa.json_(), pa.array(['{"a":1}', "[]", "null", None])),
        "bool8": (pa.bool8(), pa.array([1, 0, -1, None], pa.int8())),
        "opaque": (
            pa.opaque(pa.int64(), "a type", "a vendor"),
            pa.array([1, _LARGEST, _SMALLEST, None]),
        ),
        "tensor": (
            pa.fixed_shape_tensor(pa.int32(), [2]),
            pa.array([[1, 2], [3, 4], [5, 6], None], pa.list_(pa.int32(), 2)),
        ),
    }
    found = {
        name: pa.ExtensionArray.from_storage(kind, storage)
        for name, (kind, storage) in stored.items()
    }
    mask = pa.array([False, True, False, False])
    offsets = pa.array([0, 1, 2, 3, 4], pa.int32())
    for name in ("uuid", "json"):
        part = pa.StructArray.from_arrays([found[name]], names=["a"])
        found[f"list_of_{name}s"] = pa.ListArray.from_arrays(offsets, part, mask=mask)
    return found


COLUMNS: dict[str, pa.Array] = {
    **_numbers(),
    **_texts_and_bytes(),
    **_moments(),
    **_nested(),
    **_extensions(),
}
"""By a name, four values each; the third row of tables made of them is the invalid one."""
