"""Columns of texts as JSON strings, made for a whole batch at once where no character has to be escaped."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.request.canonical_json import json_text

_FIRST_PRINTABLE = 0x20


def json_texts(
    texts: pa.Array,
    before: str = "",
    after: str = "",
) -> list[str]:
    """Return `json_text` of each of `texts` (Arrow strings), "" for null, between `before` and `after`.

    json_texts(urls, "[", "]")   # ['["https://a.example.com/1.jpg"]', …]
    """
    filled = pc.fill_null(texts, "")
    # One look at the bytes of all: most tables have no text that needs an escape.
    data = filled.buffers()[-1]
    if data is not None:
        codes = np.frombuffer(data, np.uint8)
        escaped = codes < _FIRST_PRINTABLE
        escaped |= codes == ord('"')
        escaped |= codes == ord("\\")
        if escaped.any():
            return [f"{before}{json_text(text)}{after}" for text in filled.to_pylist()]
    quoted = pc.binary_join_element_wise(
        pa.scalar(f'{before}"'), filled, pa.scalar(f'"{after}'), pa.scalar("")
    )
    return quoted.to_pylist()  # type: ignore[no-any-return]
