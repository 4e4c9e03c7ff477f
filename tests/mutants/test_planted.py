"""The planted bugs still fit the code: one that no longer applies would pass for caught."""

import ast
from pathlib import Path

import pytest

from tests.mutants.planted import MUTANTS, Mutant
from tests.mutants.planting import plant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_has_one_place_and_tests_to_catch_it(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = plant(text, mutant.function, mutant.old, mutant.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text))
    assert all((ROOT / path).exists() for path in mutant.caught_by)


def test_no_two_bugs_are_the_same() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30
