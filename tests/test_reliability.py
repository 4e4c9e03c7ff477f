"""docs/reliability.md names every fault of the catalogue and, for each, tests that are there."""

import ast
import re
from functools import cache

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
FAULTS = [  # the catalogue that pixmill began with; the page goes on from there
    f"{family}{number}{suffix}"
    for family, count, suffix in [
        ("A", 11, ""),
        ("B", 17, ""),
        ("C", 15, ""),
        ("D", 19, ""),
        ("E", 15, ""),
        ("F", 11, ""),
        ("G", 20, ""),
        ("H", 9, ""),
        ("I", 6, "f"),
    ]
    for number in range(1, count + 1)
]

TESTS = dict(re.findall(r"^\| ([A-I]\d+f?) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE))
"""The last cell of the row of each fault."""


@cache
def functions_of(file: str) -> set[str]:
    """The names of the test functions in a file under tests/."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_a_test_that_exists() -> None:
    missing = {
        fault: [
            f"{file}::{name}" for file, name in named if name not in functions_of(file)
        ]
        for fault in {*FAULTS, *TESTS}
        if (named := re.findall(r"`([a-z_0-9/]+\.py)::(test_\w+)`", TESTS[fault]))
    }
    assert {fault: gone for fault, gone in missing.items() if gone} == {}
    assert set(missing) == {*FAULTS, *TESTS}, "a fault without a test"


def test_every_test_that_the_page_names_is_spelled_as_a_file_and_a_function() -> None:
    """Else the test above would not look for it."""
    spans = [span for cell in TESTS.values() for span in cell.split("<br>")]
    assert [
        span for span in spans if not re.fullmatch(r"`[a-z_0-9/]+\.py::test_\w+`", span)
    ] == []
    assert set(TESTS) >= set(FAULTS)


@pytest.mark.parametrize(
    "file", sorted(set(re.findall(r"`([a-z_/]+/test_\w+\.py)`", PAGE)))
)
def test_every_file_of_tests_that_the_page_names_exists(file: str) -> None:
    assert functions_of(file)
