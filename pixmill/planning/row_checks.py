"""Which rows can't be sent, found before anything is paid: each invalid row gets the first reason that applies.

Checks work on whole columns of a batch; only rows that an expression over the column finds suspicious are looked
at one by one, so that a million good rows cost seconds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pixmill.arrow_text import is_blank
from pixmill.http.address_policy import url_problem
from pixmill.request.operations.operation import MAX_SEED, Operation


class RowProblem(NamedTuple):
    """Why one row is invalid: a reason code, the column at fault (`None`: the row itself) and a sentence."""

    reason: str
    column: str | None
    message: str


class InvalidRow(NamedTuple):
    """An invalid row as an example for people."""

    row_number: int
    problem: RowProblem
    row_key: str = ""
    """By which its owner knows the row; "" where it has none, or none that is short."""
    cell: str | None = None
    """What is at fault, where it is short and can be shown."""

    def describe(self, line: int | None = None) -> str:
        """The row in one line; `line` is the one in its file, where that is known."""
        where = f"row {self.row_number}"
        if line is not None:
            where += f" (line {line})"
        if self.row_key:
            where += f" · {self.row_key}"
        if self.problem.column:
            where += f", column {self.problem.column}"
        said = f"{where}: {self.problem.message}"
        if self.cell and self.cell not in self.problem.message:
            said += f" (got {self.cell!r})"
        return said

    def as_dict(self) -> dict[str, Any]:
        """The row as plain JSON values: its number and what is wrong."""
        return {"row_number": self.row_number, **self.problem._asdict()}


SHOWN_CHARACTERS = 60
"""A cell or a row key is shown where it is not longer."""


def shown_cell(text: str | None) -> str | None:
    """Return a cell as a message may have it; `None` where it is blank or long, or may be a secret.

    A URL goes without its query, which may hold a signature, and not at all with a password.
    """
    if text is None or not text.strip():
        return None
    if "://" in text:
        text = re.split(r"[?#]", text, maxsplit=1)[0]
        if "@" in text:
            return None
    return text if len(text) <= SHOWN_CHARACTERS else None


REASONS: Mapping[str, str] = {
    "empty_prompt": "the prompt is empty",
    "empty_variable": "the cell is empty, and request.prompt has a place for it",
    "prompt_too_long": "the prompt is longer than input.max_prompt_chars",
    "prompt_over_limit": "the prompt is longer than the operation takes",
    "control_character": "the prompt contains a control character other than newline and tab",
    "missing_url": "there is no image URL",
    "malformed_url": "this is not a well-formed URL",
    "url_scheme": "the URL is neither http nor https",
    "url_credentials": "the URL carries a user name or password, which the provider would see",
    "private_address": "the URL points to a private or loopback address, which the provider "
    "can't reach",
    "missing_image_file": "there is no image file name",
    "image_file_missing": "there is no such image file, or it can't be read",
    "image_file_outside": "the image file lies outside the folder of the table",
    "image_file_too_large": "the image file has more bytes than the operation takes",
    "image_file_format": "the image file is neither JPEG nor PNG",
    "image_file_dimensions": "the image has more pixels a side than the operation takes, or fewer",
    "image_file_ratio": "the image is longer, compared with its width, than the operation takes, "
    "or the reverse",
    "input_unreachable": "the input image's host does not answer, or answers with an error of "
    "its own",
    "input_not_found": "there is no input image at its URL",
    "input_forbidden": "the input image's host refuses to serve it",
    "input_address": "the input image's URL leads to an address that pixmill does not fetch from",
    "input_type": "the input image is neither JPEG nor PNG",
    "input_damaged": "the input image is cut off or damaged",
    "input_too_large": "the input image is larger than 4.7 MB",
    "input_dimensions": "the input image is larger than 4096 × 4096 pixels",
    "input_ratio": "the input image is more than three times as long as it is wide, or the reverse",
    "bad_seed": "the seed is not a whole number from 0 to 2147483647",
    "bad_field": "the value does not fit the request field",
    "missing_row_key": "the row key is empty",
    "duplicate_row_key": "another row with this key makes another request",
}
"""What each reason code says, for the codes that need no detail of the row."""

REMEDIES: Mapping[str, str] = {
    "empty_prompt": "fill in the cell, or leave such rows out with `input.where`",
    "empty_variable": "fill in the cell, or name the column in `input.allow_empty`",
    "prompt_too_long": "shorten it, or raise `input.max_prompt_chars`",
    "prompt_over_limit": "shorten it: the provider would refuse it (code 50200)",
    "control_character": "remove it; the cell was often copied from a document or a terminal",
    "missing_url": "fill in the cell, or leave such rows out with `input.where`",
    "malformed_url": "write it as a browser shows it, with blanks as `%20`",
    "url_scheme": "serve the image over http or https, or map `image_file`",
    "url_credentials": "use a URL that works without them, such as a signed one",
    "private_address": "put the image on a public host, or map `image_file`;"
    " `output.allow_hosts` exempts a host",
    "missing_image_file": "fill in the cell, or leave such rows out with `input.where`",
    "image_file_missing": "put the file there; names are relative to the folder of the "
    "table, or to "
    "`input.image_folder`",
    "image_file_outside": "move the image, or the table, so that it lies inside, or set "
    "`input.image_folder`; a link counts as its target",
    "image_file_too_large": "save it smaller or with stronger compression",
    "image_file_format": "convert it to JPEG or PNG; the name's ending does not count",
    "image_file_dimensions": "scale it down",
    "image_file_ratio": "crop it",
    "input_unreachable": "wait: the next run tries again",
    "input_not_found": "correct the URL; it is checked again after a day",
    "input_forbidden": "use a public or a freshly signed URL; it is checked again after a day",
    "input_address": "use a public host and its usual port; `output.allow_hosts` exempts a host",
    "input_type": "convert it to JPEG or PNG",
    "input_damaged": "replace the file by a whole one",
    "input_too_large": "save it smaller or with stronger compression",
    "input_dimensions": "scale it down",
    "input_ratio": "crop it",
    "bad_seed": "correct the cell, or choose another `seed.policy`",
    "bad_field": "correct the cell of the mapped column; the message names the field and what "
    "it takes",
    "missing_row_key": "fill in the cell, or name other columns in `input.row_key`",
    "duplicate_row_key": "make the keys distinct, or name more columns in `input.row_key`",
}
"""What the row's owner can do about each reason, in Markdown. `docs/invalid-rows.md` is made from both."""

NOTES: Mapping[str, str] = {
    "stripped_url": "image URLs had blanks or invisible characters around them, which are not sent",
    "escaped_url": "image URLs contain &amp;, as text copied from HTML does; they are sent as "
    "they are",
    "unread_cell": "rows have a cell that no column can hold and nothing reads; it is null in "
    "the dataset",
}
"""What each note says of the rows that it counts: they are valid, and perhaps not what their owner meant."""

# What surrounds a URL that was copied from a page or a sheet: all white space, marks that take no place.
_AROUND_URLS = (
    " "
    "\t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
    "\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)

# The common shape of a public image URL: a dotted name that ends in letters, so it can't be an address in any
# spelling. Everything else takes the slow path through `url_problem`.
_PLAIN_URL = (
    r"^https?://(?:[A-Za-z0-9_-]+\.)+[A-Za-z]+(?::[0-9]{2,4})?(?:[/?#][!#-\[\]-~]*)?$"
)
_PLAIN_LENGTH = 4096
# Also as pandas writes whole numbers where some are missing: 42.0.
_SEED = re.compile(r"([0-9]{1,10})(?:\.0*)?")
_CONTROL = r"[\x00-\x08\x0B-\x1F\x7F-\x{9F}]"

Found = Iterator[tuple[int, RowProblem]]


def problem(
    reason: str,
    column: str | None,
    detail: str = "",
) -> RowProblem:
    """Return the problem with the sentence of `reason`, followed by `detail`."""
    sentence = REASONS[reason]
    if detail:
        sentence = f"{sentence} ({detail})"
    return RowProblem(reason, column, sentence)


def add_problems(
    problems: dict[int, RowProblem],
    found: Found,
) -> None:
    """Add what was `found` to `problems`; the first problem of a row stays."""
    for position, bad in found:
        problems.setdefault(position, bad)


def first_problems(*checks: Mapping[int, RowProblem]) -> dict[int, RowProblem]:
    """Return what `checks` found of each row; where several found something, what the first of them found."""
    problems: dict[int, RowProblem] = {}
    for check in reversed(checks):
        problems |= check
    return problems


def positions(mask: Any) -> list[int]:
    """Return where a boolean Arrow array is true; null counts as false."""
    return pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()  # type: ignore[no-any-return]


def prompt_problems(
    raw: Any | None,
    final: Any,
    column: str | None,
    longest: int,
) -> Found:
    """Find bad prompts. `raw` is the mapped prompt column, `final` the prompt after templating (Arrow strings)."""
    # A template around an empty cell makes a prompt that says nothing of its row.
    blank = is_blank(final) if raw is None else pc.or_(is_blank(raw), is_blank(final))
    for position in positions(blank):
        yield position, problem("empty_prompt", column)
    lengths = pc.utf8_length(final)
    for position in positions(pc.greater(lengths, longest)):
        yield (
            position,
            problem(
                "prompt_too_long", column, f"{lengths[position].as_py():,} characters"
            ),
        )
    # One look at all bytes first: the expression takes five times as long.
    codes = np.frombuffer(final.buffers()[-1] or b"", np.uint8)
    # U+0080 to U+009F begin with 0xC2 in UTF-8.
    may_match = (codes < 0x20) & (codes != 0x09) & (codes != 0x0A)
    may_match |= (codes == 0x7F) | (codes == 0xC2)
    if may_match.any():
        for position in positions(pc.match_substring_regex(final, _CONTROL)):
            yield position, problem("control_character", column)


def prompt_limit_problems(
    prompts: Any,
    column: str | None,
    operation: Operation,
) -> Found:
    """Find prompts (Arrow strings) that the provider refuses for their length."""
    if operation.prompt is None or operation.prompt.limit is None:
        return
    lengths = pc.utf8_length(prompts)
    for position in positions(pc.greater(lengths, operation.prompt.limit)):
        detail = (
            f"{lengths[position].as_py():,} characters; {operation.req_key} takes "
            f"{operation.prompt.limit}"
        )
        yield position, problem("prompt_over_limit", column, detail)


def url_problems(
    urls: Any,
    column: str,
    allowed: frozenset[str] = frozenset(),
) -> Found:
    """Find input image URLs that may not be sent to the provider (`urls`: Arrow strings).

    Hosts that are `allowed` may have a private address.
    """
    # Among them localhost and *.localhost, which look like public names.
    local = pc.match_substring(urls, "local", ignore_case=True)
    # In bytes, which are known: what the expression matches is ASCII.
    short = pc.less(pc.fill_null(pc.binary_length(urls), 0), _PLAIN_LENGTH)
    public = pc.and_not(pc.match_substring_regex(urls, _PLAIN_URL), local)
    plain = pc.and_(pc.fill_null(public, False), short)
    # What the expression does not know as plain is rare, and gets a look by itself.
    for position in positions(pc.invert(plain)):
        url = urls[position].as_py() or ""
        reason = url_problem(url)
        if reason and not (
            reason == "private_address" and urlsplit(url).hostname in allowed
        ):
            yield position, problem(reason, column)


def trimmed_urls(urls: pa.Array) -> tuple[pa.Array, Any]:
    """Return image URLs (Arrow strings) without what surrounds them, and a mask of those that had something."""
    trimmed = pc.utf8_trim(urls, characters=_AROUND_URLS)
    return trimmed, pc.fill_null(pc.not_equal(trimmed, urls), False)


def with_newlines(texts: pa.Array) -> pa.Array:
    """Return texts (Arrow strings) whose lines end in LF, whatever ended them: CRLF and CR mean no more."""
    if not may_hold(texts, b"\r"):
        return texts
    return pc.replace_substring_regex(texts, "\r\n?", "\n")


def may_hold(
    texts: pa.Array,
    mark: bytes,
) -> bool:
    """Whether any of `texts` (Arrow strings) may hold `mark`: one search, in a tenth of the time of one for each."""
    # The buffer may hold more than these rows: then the answer is yes too often, never too rarely.
    data = texts.buffers()[-1]
    return data is not None and mark in data.to_pybytes()


def read_seed(text: str | None) -> int | None:
    """Return the seed that a cell holds, `None` where it is none."""
    written = _SEED.fullmatch(text or "")
    if written is None:
        return None
    value = int(written[1])
    return value if value <= MAX_SEED else None


def seed_problems(
    seeds: list[int | None],
    column: str,
) -> Found:
    """Find rows whose own seed could not be read."""
    for position, seed in enumerate(seeds):
        if seed is None:
            yield position, problem("bad_seed", column)


def blank_problems(
    texts: Any,
    column: str,
    reason: str,
) -> Found:
    """Find rows in which a text that has to be there is missing or blank."""
    for position in positions(is_blank(texts)):
        yield position, problem(reason, column)


def text_array(column: Any) -> pa.Array:
    """Return one contiguous Arrow string array."""
    # Rows of Parquet may come in several chunks, which the buffers are looked at of one.
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(pa.string())
