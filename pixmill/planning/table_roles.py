"""Which columns of a table may be what a request reads, found by their names and their content."""

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
# No more digits than any key has: Python takes long over thousands.
_WHOLE = re.compile(r"\s*\d{1,40}\s*", re.ASCII)

_IMAGE_NAMES = re.compile(r"image|photo|picture|img|url|file|图", re.IGNORECASE)
_PROMPT_NAMES = re.compile(
    r"prompt|text|caption|descri|title|instruction|文|词|描述", re.IGNORECASE
)

# Words of a column's name: `Weight (kg)` has two, and so has `productName`.
_WORD_ENDS = re.compile(r"[\W_\d]+|(?<=[a-z])(?=[A-Z])")
_ID_WORDS = re.compile(
    "ids?|key|sku|uuid|guid|code|slug|row|number|no|ref|ean|gtin|isbn|asin"
)
_NAME_WORDS = re.compile("name|title|product|item|file|filename")
_MEASURE_WORDS = re.compile(
    "price|cost|amount|total|sum|fee|tax|discount|stock|inventory|quantity|qty|counts?|weight|width|"
    "height|depth|length|size|volume|area|diameter|year|month|day|date|time|created|updated|age|"
    "scores?|ratings?|rank|stars|votes|likes|views|sales|sold|ratio|percent|pct|share|latitude|"
    "longitude|lat|lon|lng|kg|g|mg|lb|oz|m|cm|mm|px|eur|usd|gbp|cny|rmb"
)
_CHINESE_IDS = re.compile("编号|货号|编码")
_CHINESE_NAMES = re.compile("名称|品名|商品|标题")
_CHINESE_MEASURES = re.compile(
    "价|费|额|库存|数量|重量|宽|高|长|尺寸|年|月|日期|时间|评分|得分|销量"
)

_SHORTEST_PROMPT = 6
"""Characters of a prompt on average: shorter cells are names, codes and yes or no, unless the column's
name ends in a word for prompts."""

_LONGEST_KEY = 40
"""Characters of a row key on average where the name does not say that it is one."""


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
    is_whole: bool
    """Whether every cell is a whole number."""
    is_sequence: bool
    """Whether the cells are whole numbers without a gap, in any order."""
    mean_length: float
    is_prose: bool
    """Whether it reads like what people write: words rather than codes, and not only a few letters."""

    @property
    def key_rank(self) -> tuple[float, ...] | None:
        """Where the column comes among the row keys, the likeliest first; `None`: it can't be one.

        A number that is no id is a measure more often, which changes while the row stays the same.
        """
        is_number = self.numbers >= MOSTLY
        is_decimal = is_number and not self.is_whole
        if not self.is_unique or is_decimal:
            return None
        length = self.mean_length
        if _is_id(self.name):
            return (0, length)
        if is_number:
            is_counter = self.is_sequence and not _is_measure(self.name)
            return (3, length) if is_counter else None
        if is_named_key(self.name):
            return (1, length)
        if self.files or _is_measure(self.name):
            return None
        # A key is typed and read, and a prompt may be unique as well.
        return (2, length) if length <= _LONGEST_KEY else None


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
    ids = [column for column in others if column.is_unique and _is_id(column.name)]
    prompts = [
        column
        for column in others
        if column.is_prose and column.numbers < MOSTLY and column not in ids
    ]
    # A column of image URLs is none: links expire, and hosts move.
    ranks = [(column.key_rank, column.name) for column in [*others, *files]]
    return ColumnRoles(
        row_key=[
            name for _, name in sorted((rank, name) for rank, name in ranks if rank)
        ],
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
    # `Text` may be two words long; `text_language` is none.
    is_called_text = any(map(_PROMPT_NAMES.match, _words(name)[-1:]))
    may_be_text = bool(_PROMPT_NAMES.search(name)) or _share(_WORDS, filled) >= 0.5
    is_long = mean_length >= _SHORTEST_PROMPT
    wholes = [int(value) for value in filled if _WHOLE.fullmatch(value)]
    is_whole = len(wholes) == len(filled)
    span = max(wholes, default=0) - min(wholes, default=0) + 1
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
        is_whole=is_whole,
        is_sequence=is_whole and span == len(set(wholes)),
        mean_length=mean_length,
        is_prose=is_called_text or (may_be_text and is_long),
    )


def _words(name: str) -> list[str]:
    """Return the words of a column's name, in small letters."""
    return [word.lower() for word in _WORD_ENDS.split(name) if word]


def _is_id(name: str) -> bool:
    """Whether a column is called like an id; its last word says it: `stock_code` is one."""
    last = _words(name)[-1:]
    return any(map(_ID_WORDS.fullmatch, last)) or bool(_CHINESE_IDS.search(name))


def _is_measure(name: str) -> bool:
    """Whether a column is called like a measure, an amount or a date."""
    is_one = any(map(_MEASURE_WORDS.fullmatch, _words(name)))
    return is_one or bool(_CHINESE_MEASURES.search(name))


def is_named_key(name: str) -> bool:
    """Whether a column is called like what people know a row by: an id, a name or a file."""
    if _is_id(name):
        return True
    is_name = any(map(_NAME_WORDS.fullmatch, _words(name)))
    return not _is_measure(name) and (is_name or bool(_CHINESE_NAMES.search(name)))


def _share(pattern: re.Pattern[str], values: Sequence[str]) -> float:
    found = sum(pattern.fullmatch(value) is not None for value in values)
    return found / max(1, len(values))


def _rank(facts: Iterable[_Facts], names: re.Pattern[str]) -> list[str]:
    """Return the names of columns, those first that are called so; their order stays otherwise."""
    found = [column.name for column in facts]
    return sorted(found, key=lambda name: names.search(name) is None)
