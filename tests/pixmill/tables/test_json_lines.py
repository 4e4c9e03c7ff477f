"""JSON lines: one type per column over the whole file, and every line that can't be a row is one that says why."""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixmill.errors import TableError
from pixmill.tables import InputTable, open_table
from tests.pixmill.tables.reading import only_batch, open_content


def opened(
    folder: Path, content: str | bytes, name: str = "t.jsonl", **options: str
) -> InputTable:
    return open_content(folder / name, content, **options)


def test_columns_stand_in_the_order_of_their_appearance_with_their_types(
    tmp_path: Path,
) -> None:
    """G16."""
    lines = [
        '{"id": 1, "late": null, "text": "é", "ok": true, "n": 1, "tags": [], "size": {"w": 1}, "never": null}',
        '{"text": "b", "id": 2, "n": 0.5, "tags": ["a", null], "size": {"h": 2.5, "w": null}, "more": "x"}',
        '{"late": [[1], [2.5]], "none": [], "empty": {}}',
    ]
    batch = only_batch(opened(tmp_path, "\n".join(lines)))
    assert batch.rows.schema == pa.schema(
        [
            ("id", pa.int64()),
            ("late", pa.list_(pa.list_(pa.float64()))),
            ("text", pa.string()),
            ("ok", pa.bool_()),
            ("n", pa.float64()),
            ("tags", pa.list_(pa.string())),
            ("size", pa.struct([("w", pa.int64()), ("h", pa.float64())])),
            ("never", pa.string()),
            ("more", pa.string()),
            ("none", pa.list_(pa.string())),
            ("empty", pa.string()),
        ]
    )
    assert batch.problems == {}
    first, second, third = batch.rows.to_pylist()
    assert (first["n"], first["size"], first["more"]) == (
        1.0,
        {"w": 1, "h": None},
        None,
    )
    assert (second["tags"], second["size"]) == (["a", None], {"w": None, "h": 2.5})
    assert (third["id"], third["late"], third["none"], third["empty"]) == (
        None,
        [[1.0], [2.5]],
        [],
        None,
    )


def test_values_are_not_interpreted(tmp_path: Path) -> None:
    """G10."""
    cells = ["007", "1e5", "NA", "null", "", "2026-01-01", "https://a.example/x"]
    table = opened(tmp_path, "\n".join(json.dumps({"a": cell}) for cell in cells))
    assert only_batch(table).rows["a"].to_pylist() == cells


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines_make_no_rows(tmp_path: Path, end: str) -> None:
    """G6, G5."""
    content = "\ufeff" + end.join(["", '{"a": 1}', "  ", '{"a": "x"', '{"a": 2}', ""])
    batch = only_batch(opened(tmp_path, content))
    assert batch.rows["a"].to_pylist() == [1, None, 2]
    assert batch.problems[1].message.startswith("line 4: ")


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        ("not json", "bad_json", None),
        ('{"a": 1', "bad_json", None),
        ('{"a": 1} {"a": 2}', "bad_json", None),
        ('{"a": 1},', "bad_json", None),
        ("[1, 2]", "bad_json", None),
        ("null", "bad_json", None),
        ("7", "bad_json", None),
        ('{"a": NaN}', "bad_json", "a"),
        ('{"a": -Infinity}', "bad_json", "a"),
        ('{"a": 1, "a": 2}', "bad_json", None),
        ('{"x": {"b": 1, "b": 2}}', "bad_json", None),
        ('{"s": "a\tb"}', "bad_json", None),
        ('{"x": ' + "[" * 100 + "]" * 100 + "}", "bad_json", "x"),
        ('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}", "bad_json", None),
        ('{"a": 9223372036854775808}', "number_too_large", "a"),
        ('{"a": -9223372036854775809}', "number_too_large", "a"),
        ('{"x": [{"y": 1e999}]}', "number_too_large", "x"),
        ('{"a": ' + "9" * 5_000 + "}", "number_too_large", None),
        ('{"s": "\\ud83d"}', "lone_surrogate", "s"),
        ('{"x": [{"\\udc00": 1}]}', "lone_surrogate", "x"),
        ('{"\\ud800": 1}', "lone_surrogate", None),
    ],
)
def test_a_line_that_can_not_be_a_row_is_a_bad_one(
    tmp_path: Path, line: str, reason: str, column: str | None
) -> None:
    """G12, G17."""
    batch = only_batch(
        opened(
            tmp_path,
            f'{{"a": 1, "s": "x"}}\n\n{line}\n{{"a": 2, "s": "\\ud83d\\ude00"}}\n',
        )
    )
    assert list(batch.problems) == [1]
    assert batch.problems[1][:2] == (reason, column)
    assert batch.problems[1].message.startswith("line 3")
    assert batch.rows["a"].to_pylist() == [1, None, 2]
    assert batch.rows["s"].to_pylist() == ["x", None, "😀"]


def test_a_bad_cell_leaves_the_others_of_its_row(tmp_path: Path) -> None:
    """G12."""
    batch = only_batch(
        opened(
            tmp_path,
            '{"id": 1, "text": "\\ud800", "n": 99999999999999999999, "z": "y"}\n{"n": 1}',
        )
    )
    assert batch.rows.to_pylist()[0] == {"id": 1, "text": None, "n": None, "z": "y"}
    assert batch.problems[0][:2] == ("lone_surrogate", "text")
    assert [bad[:2] for bad in batch.problems[0].others] == [("number_too_large", "n")]


def test_the_largest_numbers_are_kept(tmp_path: Path) -> None:
    """G16."""
    cells = [-(2**63), 2**63 - 1, 0]
    assert (
        only_batch(opened(tmp_path, "\n".join(f'{{"a": {cell}}}' for cell in cells)))
        .rows["a"]
        .to_pylist()
        == cells
    )


def test_a_whole_number_that_a_column_of_fractions_would_change_is_a_bad_row(
    tmp_path: Path,
) -> None:
    """G16."""
    batch = only_batch(
        opened(tmp_path, f'{{"a": 0.5}}\n{{"a": {2**53 + 1}}}\n{{"a": {2**53}}}\n')
    )
    assert batch.rows["a"].to_pylist() == [0.5, None, float(2**53)]
    assert batch.problems[1][:2] == ("number_too_large", "a")
    assert batch.problems[1].message.startswith("line 2, column 'a'")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            '{"a": 1}',
            '{"a": "x"}',
            "'a' holds text, where earlier rows hold a whole number",
        ),
        (
            '{"a": true}',
            '{"a": 1}',
            "'a' holds a whole number, where earlier rows hold true or false",
        ),
        (
            '{"a": [1]}',
            '{"a": 1.5}',
            "'a' holds a number, where earlier rows hold a list",
        ),
        (
            '{"a": {"b": [1]}}',
            '{"a": {"b": ["x"]}}',
            "'a.b[]' holds text, where earlier rows hold a whole number",
        ),
        (
            '{"a": "x"}',
            '{"a": {"b": 1}}',
            "'a' holds an object, where earlier rows hold text",
        ),
    ],
)
def test_values_without_a_common_type_are_an_error_with_the_row(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    """G16."""
    with pytest.raises(TableError) as caught:
        opened(tmp_path, f'{first}\nbroken\n\n{{"a": null}}\n{second}\n')
    assert f"row 4 (line 5): {message}" in str(caught.value)


def test_keys_that_are_data_are_an_error_before_they_fill_the_memory(
    tmp_path: Path,
) -> None:
    """G17."""
    with pytest.raises(TableError, match="more than 10,000 different keys"):
        opened(tmp_path, "".join(f'{{"key-{row}": 1}}\n' for row in range(10_002)))


@pytest.mark.parametrize(
    "content", ["id,text\n1,a\n", '[{"a": 1}]\n', "{}\n{}\n", "\n \n", '{\n"a": 1\n}\n']
)
def test_a_file_in_which_no_line_is_an_object_is_an_error(
    tmp_path: Path, content: str
) -> None:
    """G8, G15."""
    with pytest.raises(
        TableError, match="none of its lines is a JSON object that has a key"
    ):
        opened(tmp_path, content)


def test_a_key_without_a_name_is_an_error(tmp_path: Path) -> None:
    """G15."""
    with pytest.raises(TableError, match="column 1 of 1 has no name"):
        opened(tmp_path, '{"": 1}\n')


def test_the_encoding_counts_here_too(tmp_path: Path) -> None:
    """G5."""
    content = '{"文": "一只猫"}\n'.encode("gbk")
    assert only_batch(opened(tmp_path, content, encoding="gbk")).rows.to_pylist() == [
        {"文": "一只猫"}
    ]
    with pytest.raises(TableError, match=r"byte 2 \(line 1\) is not utf-8"):
        opened(tmp_path, content)


def test_several_files_share_one_type_per_column(tmp_path: Path) -> None:
    """G15."""
    (tmp_path / "1.jsonl").write_text('{"a": 1, "b": "x"}\n{"a": 2}\n')
    (tmp_path / "2.ndjson").write_text('{"b": "y", "a": 0.5}\n')
    batches = list(open_table(str(tmp_path)).batches())
    assert [batch.first_row for batch in batches] == [1, 3]
    assert {batch.rows.schema.field("a").type for batch in batches} == {pa.float64()}
    (tmp_path / "3.jsonl").write_text('{"a": 0.5, "c": 1}\n')
    with pytest.raises(
        TableError,
        match=r"3\.jsonl: its columns are not those of .*it lacks 'b', and it also has 'c'",
    ):
        open_table(str(tmp_path))


def test_a_conflict_between_files_counts_rows_over_all_of_them(tmp_path: Path) -> None:
    """G15, G16."""
    (tmp_path / "1.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "2.jsonl").write_text('{"a": "x"}\n')
    with pytest.raises(TableError, match=r"2\.jsonl: row 3 \(line 1\): 'a' holds text"):
        open_table(str(tmp_path))


values = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(value=values, size=st.integers(1, 3), ascii_only=st.booleans())
def test_whatever_json_writes_is_read_back_or_is_one_clear_error(
    value: object, size: int, ascii_only: bool
) -> None:
    """G10, G12, G16."""
    line = json.dumps({"id": 1, "value": value}, ensure_ascii=ascii_only)
    with tempfile.TemporaryDirectory() as folder:
        try:
            batches = list(opened(Path(folder), f"{line}\n{line}\n").batches(size))
        except TableError as error:
            assert "where earlier rows hold" in str(error)
            return
    found = [row["value"] for batch in batches for row in batch.rows.to_pylist()]
    assert [_held(cell) for cell in found] == [_held(value)] * 2
    assert not any(batch.problems for batch in batches)


def _held(value: object) -> object:
    """What a value says when a missing key, null and an object of nothing are the same."""
    if isinstance(value, dict):
        return {
            key: held
            for key, part in value.items()
            if (held := _held(part)) is not None
        } or None
    if isinstance(value, list):
        return [_held(part) for part in value]
    return value
