"""Bytes that are nearly right: what a disk, a link or an editor makes of a file that was good."""

import re
from collections.abc import Sequence

from hypothesis import strategies as st

_SEAM = re.compile(rb"[^A-Za-z0-9]")
"""Behind such a byte a text begins, ends or means something else, so that damage there gets furthest."""


@st.composite
def damaged(
    draw: st.DrawFn, originals: Sequence[bytes], spare: Sequence[bytes] = (b"\x00",)
) -> bytes:
    """One of `originals` with some of its bytes flipped, cut out, doubled or replaced by one of `spare`."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 4))):
        seams = [0, *(seam.end() for seam in _SEAM.finditer(data))]
        at = draw(st.sampled_from(seams) | st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 0, 1, 2, 4, 12]))
        match draw(
            st.sampled_from(
                ["flip", "cut", "tail", "double", "replace", "replace", "replace"]
            )
        ):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + length]
            case "tail":
                del data[at:]
            case "double":
                data[at:at] = data[at : at + length] * 2
            case _:
                data[at : at + length] = draw(
                    st.sampled_from(spare) | st.binary(max_size=8)
                )
    return bytes(data)
