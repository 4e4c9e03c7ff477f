"""Job keys in 32 bytes each, as the planner holds many of them: a text of 64 digits takes 113."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 32
NO_PREFIX = 0
_NO_KEY = "0" * 2 * KEY_BYTES


def pack_keys(keys: Sequence[str | None]) -> NDArray[np.uint8]:
    """Return `keys` as an array [key, byte], zeros where there is none."""
    data = bytes.fromhex("".join(key or _NO_KEY for key in keys))
    return np.frombuffer(data, np.uint8).reshape(-1, KEY_BYTES)


def unpack_keys(packed: NDArray[np.uint8]) -> list[str | None]:
    """Return the keys that `pack_keys` packed."""
    digits = packed.tobytes().hex()
    length = 2 * KEY_BYTES
    keys = [digits[at : at + length] for at in range(0, len(digits), length)]
    return [None if key == _NO_KEY else key for key in keys]


def key_prefixes(packed: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first eight bytes of each key [key, byte] as a number, `NO_PREFIX` where there is none."""
    words = np.ascontiguousarray(packed).view(">u8")
    return words[:, 0].astype(np.uint64)
