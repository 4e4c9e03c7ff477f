"""Which columns `pixmill init` takes for row key and prompt."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from pixmill.planning.table_roles import ColumnRoles, find_roles
from pixmill.tables import open_table

NAMES = ("Oak stool", "Brass lamp", "Jug", "Wool rug")
PROSE = ("a stool of oak", "a lamp of brass, lit", "a jug for water", "a rug of wool")
URLS = [f"https://images.example.com/{at}.jpg" for at in range(4)]


def roles_of(folder: Path, columns: dict[str, Sequence[object]]) -> ColumnRoles:
    path = folder / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return find_roles(open_table(str(path), encoding="utf-8", delimiter=None), folder)


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"Price EUR": (19.5, 7.25, 3.0, 80.1), "Product Name": NAMES}, "Product Name"),
        ({"Stock": (12, 0, 7, 3), "Product": NAMES}, "Product"),
        ({"Weight (kg)": (12, 1, 7, 3), "Name": NAMES}, "Name"),
        ({"Name": NAMES, "productId": (12, 904, 7, 3)}, "productId"),
        ({"price_id": ("p1", "p2", "p3", "p4"), "title": NAMES}, "price_id"),
        ({"库存": (4, 3, 2, 1), "商品名称": NAMES}, "商品名称"),
        ({"part": ("LMP-1", "LMP-2", "CHR-1", "CHR-2"), "n": (1, 2, 3, 4)}, "part"),
        ({"n": (4, 2, 3, 1), "measured": (17, 4, 90, 3)}, "n"),
        ({"file": [f"{at}.jpg" for at in "abcd"], "height": (1, 2, 3, 4)}, "file"),
    ],
)  # fmt: skip
def test_the_row_key_is_what_people_know_a_row_by(
    tmp_path: Path, columns: dict[str, Sequence[object]], key: str
) -> None:
    for letter in "abcd":
        (tmp_path / f"{letter}.jpg").write_bytes(b"")
    assert roles_of(tmp_path, columns).row_key[0] == key


@pytest.mark.parametrize(
    "columns",
    [
        {"Price": (1, 2, 3, 4)},
        {"Stock": (12, 0, 7, 3)},
        {"year": (2001, 2002, 2003, 2004)},
        {"id": (1.5, 2.5, 3.5, 4.5)},
        {"Rating": ("4 stars", "3 stars", "2 stars", "1 star")},
        {"x": (17, 4, 90, 3)},
        {"Item": (17, 4, 90, 3)},
        {"Product": ("Jug", "Jug", "Rug", "Rug")},
    ],
)
def test_a_measure_is_never_the_row_key(
    tmp_path: Path, columns: dict[str, Sequence[object]]
) -> None:
    assert roles_of(tmp_path, {**columns, "photo": URLS}).row_key == []


@pytest.mark.parametrize(
    ("columns", "prompts"),
    [
        ({"Text": ("a mug", "a lamp", "a jug", "a cat")}, ["Text"]),
        ({"CAPTION": ("mug", "lamp", "jug", "cat")}, ["CAPTION"]),
        ({"note": PROSE, "Product Title": ("mug", "lamp", "jug", "cat")}, ["Product Title", "note"]),
        ({"text_language": ("en", "en", "de", "fr")}, []),
        ({"text_id": ("text one", "text two", "text three", "text four")}, []),
        ({"Description": (1, 2, 3, 4)}, []),
    ],
)  # fmt: skip
def test_a_column_that_is_called_like_prompts_holds_them_however_short_they_are(
    tmp_path: Path, columns: dict[str, Sequence[object]], prompts: list[str]
) -> None:
    assert roles_of(tmp_path, {**columns, "photo": URLS}).prompt == prompts
