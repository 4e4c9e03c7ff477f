"""Where images are among very many: `pyarrow.compute.index_in` would build its table of all hashes
anew for every batch of rows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pixmill.ledger.scan import search_sorted

_DIGITS = 16
"""How much of a key is sorted, and looked for; what is found is compared whole."""


def pair_hashes(
    images: pa.Array,
    inputs: pa.Array,
) -> pa.Array:
    """Return a key of each image and its input image, by their SHA-256; null where one is null."""
    # Both are in the part that is sorted: one image may have come of several input images.
    half = _DIGITS // 2
    of_image = pc.utf8_slice_codeunits(images, 0, half)
    of_input = pc.utf8_slice_codeunits(inputs, 0, half)
    return pc.binary_join_element_wise(
        of_image,
        of_input,
        images,
        inputs,
        "",
    )


class HashLookup:
    """Finds keys that begin with digits of a SHA-256 among `keys`; of equal ones, any."""

    def __init__(self, keys: pa.Array) -> None:
        self._keys = keys
        prefixes = digit_prefixes(keys)
        self._rows = np.argsort(prefixes)
        self._sorted = prefixes[self._rows]

    def find(self, wanted: pa.Array) -> pa.Array:
        """Return where each of `wanted` is among the keys, null where it is not or is null itself."""
        if not len(self._sorted):
            return pa.nulls(len(wanted), pa.int64())
        at = search_sorted(self._sorted, digit_prefixes(wanted))
        # What comes behind all others is compared with any of them.
        at[at == len(self._sorted)] = 0
        rows = pa.array(self._rows[at])
        found = self._keys.take(rows)
        # Keys that begin alike are told apart here; null is equal to nothing.
        is_same = pc.fill_null(pc.equal(found, wanted), False)
        nowhere = pa.scalar(None, pa.int64())
        return pc.if_else(is_same, rows, nowhere)


def digit_prefixes(keys: pa.Array) -> NDArray[np.uint64]:
    """Return [key] the first 16 digits of each hexadecimal key as a number, 0 for null."""
    filled = pc.fill_null(keys, "")
    digits = pc.utf8_slice_codeunits(filled, 0, _DIGITS)
    padded = pc.utf8_rpad(digits, _DIGITS, "0")
    joined = "".join(padded.to_pylist())
    data = bytes.fromhex(joined)
    prefixes = np.frombuffer(data, ">u8")
    return prefixes.astype(np.uint64)
