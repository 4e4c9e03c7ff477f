"""How invalid rows are named on a terminal, and what is said where they are too many."""

from pathlib import Path

from pixmill.tables import open_table
from tests.conftest import Project
from tests.real_command import Command


def test_an_invalid_row_is_named_by_key_line_and_cell_and_no_secret_is_shown(
    tmp_path: Path, pixmill: Command
) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "sku,photo,text\n"
        "oak,ftp://images.example.com/1.jpg?sig=secret1,a stool\n"
        "mug,https://images.example.com/2.jpg,\n"
        "lamp,https://someone:secret2@images.example.com/3.jpg,a lamp\n"
        f"rug,ftp://images.example.com/{'a' * 60}.jpg,a rug\n"
        'jug,https://images.example.com/4.jpg,"a jug,\nblue"\n'
        "cat,,a cat\n"
        ",https://images.example.com/5.jpg,a dog\n"
    )
    config = tmp_path / "t.yaml"
    config.write_text(
        "version: 1\nname: t\ninput: {path: t.csv, row_key: [sku], "
        "columns: {image_url: photo, prompt: text}}\n"
    )
    shown = pixmill("validate", str(config), "--set", f"input.path={table}")
    assert shown.exit_code == 3
    for line in (
        "row 1 (line 2) · oak, column photo: the URL is neither http nor https "
        "(got 'ftp://images.example.com/1.jpg')",
        "row 2 (line 3) · mug, column text: the prompt is empty",
        "row 3 (line 4) · lamp, column photo: the URL carries a user name or password, which the "
        "provider would see",
        "row 4 (line 5) · rug, column photo: the URL is neither http nor https",
        # The row before it is two lines.
        "row 6 (line 8) · cat, column photo: there is no image URL",
        "row 7 (line 9), column sku: the row key is empty",
    ):
        assert f"      {line}\n" in shown.stderr
    assert "secret" not in shown.stderr


def test_a_line_is_said_only_where_it_is_known_exactly(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('a\n1\n\n2\n"3\n3"\n4\n')
    opened = open_table(str(table))
    assert [opened.find_line(row) for row in range(1, 7)] == [
        2,
        None,
        None,
        7,
        None,
        None,
    ]
    (tmp_path / "u.jsonl").write_text('{"a": 1}\n')
    assert open_table(str(tmp_path / "u.jsonl")).find_line(1) is None


def test_the_hint_at_too_many_invalid_rows_names_what_decides_the_exit_code(
    project: Project, pixmill: Command
) -> None:
    rows = project.rows(4)
    rows[0]["text"] = ""
    project.write_rows(rows)
    config = project.write_config()
    named = "raise input.max_invalid, and accept.invalid as well"
    for accepted, is_named in ((0, True), (0.2, True), (0.25, False)):
        shown = pixmill("run", config, "--yes", "--set", f"accept.invalid={accepted}")
        assert shown.exit_code == 2
        assert "raise input.max_invalid" in shown.stderr
        assert (named in shown.stderr) == is_named
