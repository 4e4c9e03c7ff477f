"""JSON strings of a whole column are those of each text by itself."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.planning.json_texts import json_texts
from pixmill.planning.row_checks import prompt_problems
from pixmill.request.canonical_json import json_text
from tests.fuzz.amount import examples

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', "\\", "\n", "\x00", "\x1f", "\x7f", "a b", "é", "\u2028"]
)


@examples(200)
@given(
    texts=st.lists(TEXTS | st.none(), max_size=5),
    around=st.sampled_from([("", ""), ("[", "]")]),
    skipped=st.integers(0, 2),
)
def test_json_texts_are_those_of_each_text(
    texts: list[str | None], around: tuple[str, str], skipped: int
) -> None:
    column = pa.array(texts, pa.string())[skipped:]
    before, after = around
    expected = [f"{before}{json_text(text or '')}{after}" for text in texts[skipped:]]
    assert json_texts(column, before, after) == expected


@pytest.mark.parametrize("code", [*range(0x20), 0x22, 0x5C, *range(0x7E, 0xA2)])
def test_every_character_is_looked_at(code: int) -> None:
    """Escaped ones as JSON, control characters as problems of a prompt."""
    text = f"a{chr(code)}b"
    column = pa.array(["plain", text])
    assert json_texts(column)[1] == json_text(text)
    found = [row for row, _ in prompt_problems(column, column, "text", 100)]
    is_control = (code < 0x20 and chr(code) not in "\t\n") or 0x7F <= code <= 0x9F
    assert found == ([1] if is_control else [])
