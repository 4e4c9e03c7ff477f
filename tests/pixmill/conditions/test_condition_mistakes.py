"""What is no condition is refused, with a message that says what is wrong and where."""

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmill.conditions import parse


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("scale = 3", "compare with == (character 7: = 3)"),
        ("scale >", "at its end"),
        ("(scale", "character 1"),
        ("scale 3", "character 7"),
        ("a & b", "write `and` (character 3"),
        ("a | b", "write `or`"),
        ("!a", "write `not`"),
        ('x == "a', 'a " is not closed (character 6'),
        ("`x > 3", "a ` is not closed"),
        ("3", "neither true nor false"),
        ("lower(x)", "neither true nor false"),
        ("x + 1", "neither true nor false"),
        ('x + "a" > 2', "is not a number to calculate with (character 5"),
        ("len(x, 2) > 1", "is used as len(column)"),
        ('contains("a")', 'is used as contains(column, "text")'),
        ("contains(x, y)", "must be a text in quotes"),
        ('matches(x, "(")', "regular expression"),
        ("x in y", "`in` takes a list"),
        ("x in []", "`in` takes a list"),
        ("x in [y]", "must be a number, a text"),
        ("x is 3", "`is` is for None only"),
        ("x < None", "write `is None`"),
        ('x == "a" "b"', "missing between two texts"),
        ("x == 99999999999999999999", "too large"),
        ("x == 1e999", "too large"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Price > '20'", "Price > 20"),
        ("'5.5' <= Price", "5.5 <= Price"),
        ("1 < Price < '9'", "Price < 9"),
        ("lower(Price) >= '20'", "lower(Price) >= 20"),
    ],
)
def test_a_number_in_quotes_that_orders_texts_is_a_mistake(
    text: str, meant: str
) -> None:
    """As texts 9 is more than 20: whoever wrote it would pay for other rows than they meant."""
    column = pa.array(["9", "20.5", "100", None, "n/a"])
    with pytest.raises(ValueError, match="as text") as caught:
        parse(text).mask({"Price": column}, 5)
    assert str(caught.value).endswith(f"without quotes it is a number: {meant}")


@pytest.mark.parametrize(
    ("text", "column", "holds"),
    [
        ("Price > 20", ["9", "100"], [False, True]),
        ("Price > '20'", [9, 100], [False, True]),
        ("Price == '20'", ["20", "20.0"], [True, False]),
        ("Price in ['20']", ["20", "9"], [True, False]),
        ("code >= '0100'", ["0099", "0100"], [False, True]),
        ("day >= '2026'", ["2025-09-30", "2026-10-02"], [False, True]),
        ("day >= '2026-10-01'", ["2026-09-30", "2026-10-02"], [False, True]),
        ("size > 'L'", ["M", "A"], [True, False]),
        # Numbers of one length are ordered as their texts are.
        ("year >= '2000'", ["1999", "2003"], [False, True]),
        ("error_code >= '50400'", [None, "50411"], [False, True]),
    ],
)
def test_texts_that_are_no_plain_number_are_ordered_as_texts(
    text: str, column: list[object], holds: list[bool]
) -> None:
    condition = parse(text)
    (name,) = condition.names
    assert condition.mask({name: pa.array(column)}, 2).tolist() == holds


@pytest.mark.parametrize("name", ["Öl", "`größe 日本`", "😀".join("``")])
def test_a_place_is_counted_in_characters_not_in_bytes(name: str) -> None:
    text = f'{name} == "日本 \\" 😀" and 3'
    with pytest.raises(ValueError, match="neither true nor false") as caught:
        parse(text)
    assert f"(character {len(text)}: 3)" in str(caught.value)


def test_a_text_that_looks_like_a_name_or_an_operator_stays_a_text() -> None:
    condition = parse("""style.kind == "pen & ink" and `class` != 'or `x`'""")
    assert condition.names == {"style.kind", "class"}
    columns = {"style.kind": pa.array(["pen & ink", "ink"]), "class": "or x"}
    assert condition.mask(columns, 2).tolist() == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        '__import__("os").system("x") == 1',
        "open(x) == 1",
        "x.__class__() == 1",
        "x[0] == 1",
        "[x for x in y]",
        "lambda: x",
        "x := 3",
        "(x := 3)",
        'f"{x}" == 1',
        'b"a" == x',
        "x if y else z",
        "x ** 9 > 3",
        "x // 2 > 3",
        "x << 9 > 3",
        "x @ y",
        "{1: 2}",
        "x == ...",
        "x == 1j",
        "yield x",
        "await x",
        "x; y",
        "x # y",
        "len(*x) > 1",
        "len(x=3) > 1",
        "(x, y) == 3",
        '"""x""" == y',
        "x == \0",
        "print(3)",
        "eval('1') == 1",
    ],
)
def test_whatever_is_not_in_the_language_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\(character \d+: |at its end"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "not " * 450 + "x",
        "-" * 1900 + "x > 1",
        "(" * 900 + "x" + ")" * 900,
        "1+" * 900 + "1 > 0",
    ],
)
def test_a_deep_condition_is_refused_before_it_hurts(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|not a condition"):
        parse(text)


def test_a_long_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="2,000 at most"):
        parse("x > 1 and " * 300 + "x > 1")


@given(st.text(max_size=60) | st.text("()[]<>=!\"'`\\.,+-*/% nx1aoritdfu", max_size=60))
def test_any_text_is_a_condition_or_a_plain_mistake(text: str) -> None:
    try:
        condition = parse(text)
    except ValueError as error:
        assert str(error)
    else:
        assert all(name in condition.text for name in condition.names)
