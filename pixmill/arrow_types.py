"""Arrow types and arrays in their plain form: what every reader after this room can work with.

Other writers store one and the same text as string, string_view, large_string or a dictionary,
lists as views of their items, values with the mark of an extension. Here such columns become their
plain type at every depth, and columns whose types differ from file to file become the one type that
holds them all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_timestamps import is_known_zone

_LISTS = (pa.ListType, pa.LargeListType, pa.ListViewType, pa.LargeListViewType)
_LARGE = (pa.LargeListType, pa.LargeListViewType)
_MADE = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without views, extensions, run ends, narrow decimals, zones that nobody knows and
    metadata of fields.

    A dictionary stays one at the top only.
    """
    if pa.types.is_dictionary(kind):
        return pa.dictionary(
            kind.index_type, _dense_type(kind.value_type), kind.ordered
        )
    return _dense_type(kind)


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type that holds the values of two plain types.

    Raises `pa.ArrowException` where there is none.
    """
    if first == second:
        return first
    fields = [pa.schema([("", _wide_type(kind))]) for kind in (first, second)]
    return pa.unify_schemas(fields, promote_options="permissive").field(0).type


def conform(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The values of `array` as `kind`, a plain type.

    Raises `pa.ArrowException` where one would change.
    """
    found = array.type
    if found.equals(kind, check_metadata=True):
        return array
    if not _type_without_extensions(found).equals(found):
        return conform(strip_extensions(array), kind)
    if pa.types.is_run_end_encoded(found):
        return conform(pc.run_end_decode(array), kind)
    if pa.types.is_dictionary(found):
        if not pa.types.is_dictionary(kind):
            # Conformed first: Arrow can't take from views.
            return conform(array.dictionary, kind).take(array.indices)
        values = conform(array.dictionary, kind.value_type)
        return pa.DictionaryArray.from_arrays(
            array.indices.cast(kind.index_type), values, ordered=kind.ordered
        )
    if isinstance(found, _LISTS) and isinstance(kind, _LISTS):
        return _conform_list(array, kind)
    if pa.types.is_fixed_size_list(found) and pa.types.is_fixed_size_list(kind):
        # By hand: `values` knows nothing of the slice, and `flatten` leaves the items of nulls out.
        size = found.list_size
        items = array.values.slice(array.offset * size, len(array) * size)
        items = conform(items, kind.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=array.is_null())
    if pa.types.is_fixed_size_list(found) and isinstance(kind, _LISTS):
        return conform(array.cast(pa.list_(found.value_field)), kind)
    if pa.types.is_struct(found) and pa.types.is_struct(kind):
        there = set(array.type.names)
        columns = [
            conform(array.field(field.name), field.type)
            if field.name in there
            else pa.nulls(len(array), field.type)
            for field in kind
        ]
        if not columns:
            # An array without fields does not say how long it is.
            return array.cast(kind)
        return pa.StructArray.from_arrays(
            columns, fields=list(kind), mask=array.is_null()
        )
    if pa.types.is_map(found) and pa.types.is_map(kind):
        return _conform_map(array, kind)
    if pa.types.is_floating(found) and pa.types.is_float64(kind):
        return doubles(array)
    return array.cast(kind)


def strip_extensions(array: pa.Array) -> pa.Array:
    """The same array without extensions at any depth: Arrow can't flatten lists of them."""
    return _strip_extensions(array, _type_without_extensions(array.type))


def doubles(column: Any) -> Any:
    """Floats as doubles that read the same: 0.6 of 32 bits becomes 0.6, not 0.600000023842.

    `column` is an array or a chunked array of any floating type, and so is what comes back.
    """
    if pa.types.is_float64(column.type):
        return column
    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array(map(doubles, column.chunks), pa.float64())
    if pa.types.is_float32(column.type):
        # By way of the text, which is the shortest that means the same float.
        return column.cast(pa.string()).cast(pa.float64())
    # Arrow writes 16 bits as 0.60009765625, NumPy as the shortest text that means the same half
    # float.
    halves = column.to_numpy(zero_copy_only=False).astype(np.float16)
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    return pa.array(halves.astype(str).astype(float), mask=nulls)


def _with_fields(
    kind: pa.DataType, convert: Callable[[pa.Field], pa.Field]
) -> pa.DataType:
    """The type `kind` with each of its fields converted; a type without any stays."""
    if pa.types.is_struct(kind):
        return pa.struct([convert(field) for field in kind])
    if pa.types.is_map(kind):
        # Arrow takes no map whose keys may be null, whatever a conversion says of its fields.
        key = convert(kind.key_field).with_nullable(False)
        return pa.map_(key, convert(kind.item_field), kind.keys_sorted)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(convert(kind.value_field), kind.list_size)
    for is_one, made in _MADE:
        if is_one(kind):
            return made(convert(kind.value_field))
    return kind


def _type_without_extensions(kind: pa.DataType) -> pa.DataType:
    """The type without extensions at any depth, the same bytes."""
    if isinstance(kind, pa.BaseExtensionType):
        return _type_without_extensions(kind.storage_type)
    return _with_fields(
        kind, lambda field: field.with_type(_type_without_extensions(field.type))
    )


def _strip_extensions(array: Any, kind: pa.DataType) -> pa.Array:
    """The same array as `kind`, its stored type.

    Arrow's own view of one loses the length of nulls inside.
    """
    if isinstance(array.type, pa.BaseExtensionType):
        return _strip_extensions(array.storage, kind)
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind):
        parts = [
            _strip_extensions(array.field(at), kind.field(at).type)
            for at in range(kind.num_fields)
        ]
        return pa.StructArray.from_arrays(
            parts, fields=list(kind), mask=array.is_null()
        )
    if pa.types.is_map(kind):
        parts = [
            _strip_extensions(array.keys, kind.key_type),
            _strip_extensions(array.items, kind.item_type),
        ]
        child = pa.StructArray.from_arrays(
            parts, fields=[kind.key_field, kind.item_field]
        )
    else:
        child = _strip_extensions(array.values, kind.value_type)
    own = array.buffers()[: kind.num_buffers]
    return pa.Array.from_buffers(
        kind, len(array), own, offset=array.offset, children=[child]
    )


def _dense_type(kind: pa.DataType) -> pa.DataType:
    """The plain type without a dictionary, as it is inside of other types."""
    if isinstance(kind, pa.BaseExtensionType):
        return _dense_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _dense_type(kind.value_type)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        # The same instants, in a zone that whoever reads the dataset can show: files name "Z", and
        # worse.
        return pa.timestamp(kind.unit, kind.tz if is_known_zone(kind.tz) else "UTC")
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        # Few readers know the narrow ones.
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list_view(kind):
        kind = pa.list_(kind.value_field)
    if pa.types.is_large_list_view(kind):
        kind = pa.large_list(kind.value_field)
    # A field made anew has no metadata: what another writer noted there says nothing to whoever
    # reads ours.
    return _with_fields(
        kind,
        lambda field: pa.field(field.name, _dense_type(field.type), field.nullable),
    )


def _wide_type(kind: pa.DataType) -> pa.DataType:
    """The plain type of a column that has another one elsewhere: widths and zones give way."""
    if pa.types.is_dictionary(kind):
        return _wide_type(kind.value_type)
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        # The same instants, whatever zone they are shown in.
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_map(kind):
        # Without the promise that its keys are sorted, which the other file may not make.
        kind = pa.map_(kind.key_field, kind.item_field)
    # Nullable, as what one file never leaves out may be missing in another.
    return _with_fields(
        kind, lambda field: pa.field(field.name, _wide_type(field.type))
    )


def _conform_list(array: Any, kind: pa.DataType) -> pa.Array:
    # By their lengths: views may overlap or stand in any order, and Arrow's own cast of them makes
    # offsets that are too short.
    lengths = pc.fill_null(array.value_lengths(), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths, dtype=np.int64)
    offsets = pa.array(np.concatenate([[0], ends]))
    items = conform(array.flatten(), kind.value_type)
    if isinstance(kind, _LARGE):
        return pa.LargeListArray.from_arrays(
            offsets, items, type=kind, mask=array.is_null()
        )
    return pa.ListArray.from_arrays(
        offsets.cast(pa.int32()), items, type=kind, mask=array.is_null()
    )


def _conform_map(array: pa.MapArray, kind: pa.DataType) -> pa.Array:
    # Of a slice, keys and items are still those of the whole column.
    offsets = array.offsets
    first = offsets[0].as_py()
    last = offsets[-1].as_py()
    keys = conform(array.keys.slice(first, last - first), kind.key_type)
    items = conform(array.items.slice(first, last - first), kind.item_type)
    return pa.MapArray.from_arrays(
        pc.subtract(offsets, first), keys, items, type=kind, mask=array.is_null()
    )
