"""Columns of texts as JSON strings, made for a whole batch at once where no character has to be escaped."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.request.canonical_json import json_text

_FIRST_PRINTABLE = 0x20


def json_texts(texts: pa.Array, before: str = "", after: str = "") -> list[str]:
    """Return `json_text` of each of `texts` (Arrow strings), "" for null, between `before` and `after`.

    json_texts(urls, "[", "]")   # ['["https://a.example.com/1.jpg"]', …]
    """
    filled = pc.fill_null(texts, "")
    if _needs_escapes(filled):
        return [f"{before}{json_text(text)}{after}" for text in filled.to_pylist()]
    quoted = pc.binary_join_element_wise(
        pa.scalar(f'{before}"'), filled, pa.scalar(f'"{after}'), pa.scalar("")
    )
    return quoted.to_pylist()  # type: ignore[no-any-return]


def _needs_escapes(texts: pa.Array) -> bool:
    data = texts.buffers()[-1]
    if data is None:
        return False
    codes = np.frombuffer(data, np.uint8)
    escaped = (codes < _FIRST_PRINTABLE) | (codes == ord('"')) | (codes == ord("\\"))
    return bool(escaped.any())
