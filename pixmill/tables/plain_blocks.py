"""Blocks of CSV without anything unusual, parsed many rows at a time by pyarrow.

pyarrow parses ten times as fast as the standard library, but is lenient: text after a closing quote joins the
cell, and rows after a quote that is not closed get lost. So `parse_rows` first proves of every quote that both
parsers take it for the same, and leaves all other blocks to its caller.
"""

import io
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

_QUOTE = ord('"')
_LINE_END = ord("\n")
_BYTE_ORDER_MARK = "\ufeff"


class Parsed(NamedTuple):
    """The rows of a block, and its `rest`: the beginning of a row that ends in a later block."""

    rows: pa.Table
    rest: str


def parse_rows(text: str, delimiter: str, names: list[str]) -> Parsed | None:
    r"""Return the rows of `text` as a table of strings with the columns `names`.

    `text` begins with a row, ends with a line end, and has no CR but before LF. `None` where the two parsers might
    not agree, where a row has not as many cells as there are names, and where no row ends.

        parse_rows('1,"a, b"\n2,"c\n', ",", ["id", "text"])   # one row; the rest is '2,"c\n'
    """
    # pyarrow's delimiter is one byte but NUL, and it drops a byte order mark wherever it begins to read.
    if not "\0" < delimiter < "\x80" or text.startswith(_BYTE_ORDER_MARK):
        return None
    data = text.encode()
    codes = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    # Where the last row ends: not at a line end inside of a cell.
    if len(quotes) % 2 == 0:
        end = len(codes)
    else:
        line_ends = np.flatnonzero(codes == _LINE_END)
        outside = line_ends[np.searchsorted(quotes, line_ends) % 2 == 0]
        end = int(outside[-1]) + 1 if len(outside) else 0
    quotes = quotes[quotes < end]
    if not end or not _are_structural(quotes, codes, delimiter):
        return None
    try:
        rows = pa_csv.read_csv(
            io.BytesIO(data[:end]),
            # One block: the rows come in one chunk, and a row is never cut.
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=end + 1, column_names=names
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True
            ),
            # Every cell is text as it stands in the file: no types are guessed, and an empty cell is not null.
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), check_utf8=False
            ),
        )
    except pa.ArrowInvalid:
        return None  # a row of another width
    return Parsed(rows, data[end:].decode())


def _are_structural(
    quotes: NDArray[np.intp], codes: NDArray[np.uint8], delimiter: str
) -> bool:
    """Whether each first of two quotes opens a cell, or is a doubled one's second, and each second closes one.

    Then a parser is inside of a cell after an odd number of quotes and outside after an even one, however it treats
    quotes at other places.
    """
    outside = [ord(delimiter), ord("\r"), _LINE_END, _QUOTE]
    openers = quotes[::2]
    closers = quotes[1::2]
    # The first opener of the block may be its first byte; after the last closer there is at least a line end.
    before = codes[openers[openers > 0] - 1]
    after = codes[closers + 1]
    return bool(np.isin(before, outside).all() and np.isin(after, outside).all())
