"""Which columns of a table may be what a request reads, found by their content; a name decides between equals."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pixmill.local_paths import named_file
from pixmill.planning.row_checks import text_array
from pixmill.tables import InputTable, as_text

LOOKED_AT = 20_000
"""Rows that are read: enough to tell a key from a column that repeats."""

MOSTLY = 0.8
"""Of the cells that are not empty, the share that has to be of a kind: real tables have gaps."""

_URL = re.compile(r"\s*https?://\S+\s*", re.IGNORECASE)
_IMAGE = re.compile(r"[^:]+\.(?:jpe?g|png)\s*", re.IGNORECASE)
# Several words, or a script that does not separate them.
_WORDS = re.compile(r".*(?:\S\s+\S|[^\x00-\u024f]).*", re.DOTALL)
_NUMBER = re.compile(r"\s*[-+]?[\d.,]+%?\s*")

_IMAGE_NAMES = re.compile(r"image|photo|picture|img|url|file|图", re.IGNORECASE)
_PROMPT_NAMES = re.compile(
    r"prompt|text|caption|descri|title|instruction|文|词|描述", re.IGNORECASE
)
_KEY_NAMES = re.compile(
    r"(?:.*_)?(?:id|key|sku|uuid|code|编号)|row|number", re.IGNORECASE
)

_SHORTEST_PROMPT = 6
"""Characters of a prompt on average: shorter cells are names, codes and yes or no."""


class ColumnRoles(NamedTuple):
    """The columns that may play each role, the likeliest first."""

    row_key: list[str]
    image_url: list[str]
    image_file: list[str]
    prompt: list[str]


class _Facts(NamedTuple):
    """What the cells of a column are."""

    name: str
    filled: int
    is_unique: bool
    """Whether every row has a value, and none has that of another."""
    urls: float
    files: float
    numbers: float
    """Shares of the cells that are not empty."""
    mean_length: float
    is_prose: bool
    """Whether it reads like what people write: words rather than codes, and not only a few letters."""


def find_roles(table: InputTable, folder: Path) -> ColumnRoles:
    """Return which columns of `table` may be row key, images and prompt.

    Image files are names of files in `folder`. Raises TableError where the table can't be read.
    """
    cells: dict[str, list[str | None]] = {name: [] for name in table.schema.names}
    for batch in islice(table.batches(LOOKED_AT), 1):
        for name, values in cells.items():
            values += text_array(as_text(batch.rows[name])).to_pylist()
    facts = [_describe(name, values, folder) for name, values in cells.items()]
    facts = [column for column in facts if column.filled]
    urls = [column for column in facts if column.urls >= MOSTLY]
    files = [column for column in facts if column.files >= MOSTLY]
    others = [column for column in facts if column not in urls and column not in files]
    keys = [column for column in others if column.is_unique]
    named_keys = [column for column in keys if _KEY_NAMES.fullmatch(column.name)]
    prompts = [
        column
        for column in others
        if column.is_prose and column.numbers < MOSTLY and column not in named_keys
    ]
    return ColumnRoles(
        # Short ones first: a key is typed and read, and a prompt may be unique as well.
        row_key=_rank(sorted(keys, key=lambda column: column.mean_length), _KEY_NAMES),
        image_url=_rank(urls, _IMAGE_NAMES),
        image_file=_rank(files, _IMAGE_NAMES),
        prompt=_rank(
            sorted(prompts, key=lambda column: -column.mean_length), _PROMPT_NAMES
        ),
    )


def _describe(name: str, values: Sequence[str | None], folder: Path) -> _Facts:
    filled = [value for value in values if value and value.strip()]
    count = max(1, len(filled))
    mean_length = sum(map(len, filled)) / count
    is_prose = bool(_PROMPT_NAMES.search(name)) or _share(_WORDS, filled) >= 0.5
    # Asked of the disk only where all of them look like it.
    named = [value.strip() for value in filled if _IMAGE.fullmatch(value)]
    is_named = bool(named) and len(named) >= MOSTLY * count
    there = sum(named_file(folder, value) is not None for value in named[:100])
    return _Facts(
        name,
        len(filled),
        is_unique=len(set(filled)) == len(values),
        urls=_share(_URL, filled),
        files=there / len(named[:100]) if is_named else 0.0,
        numbers=_share(_NUMBER, filled),
        mean_length=mean_length,
        is_prose=is_prose and mean_length >= _SHORTEST_PROMPT,
    )


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    found = sum(pattern.fullmatch(value) is not None for value in values)
    return found / max(1, len(values))


def _rank(facts: Iterable[_Facts], names: re.Pattern[str]) -> list[str]:
    """Return the names of columns, those first that are called so; their order stays otherwise."""
    found = [column.name for column in facts]
    return sorted(found, key=lambda name: names.search(name) is None)
