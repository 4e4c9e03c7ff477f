"""Texts that are no YAML: what is wrong with each, where, and how to fix it."""

import pytest
import yaml

from pixmill.config.yaml_reader import describe_yaml_error, read_yaml

ALIKE = "lines of one section begin in one column"


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("a:\n  b: 1\n c: 2\n", "line 3, column 2: the line is not indented", ALIKE),
        ("a:\n  - x\n  y: 2\n", "line 3, column 3: the line is not indented", ALIKE),
        ("a:\n\tb: 1\n", "line 2, column 1: a tab indents the line", ALIKE),
        ("a:\n  b: 1\n   c: 2\n", "line 3, column 5: this `:` is in", ALIKE),
        ("a: 1\n  b: 2\n", "line 2, column 4: this `:` is in", ALIKE),
        ("a: b: c\n", "line 1, column 5: this `:` is in", "must be in quotes"),
        ("a: {b}, c\n", "line 1, column 7: this follows a value", "must be in quotes"),
        ("a:\n  b: [c] d\n", "line 2, column 10: this follows a value", "in quotes"),
        ("a: {b: 1\nc: 2\n", "line 2, column 2: a bracket is not closed", "written"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2: a bracket is not closed", "written"),
        ('a: "x\nb: 2\n', "line 3, column 1: a quotation mark is not", "same one"),
        ("a: @x\n", "line 1, column 4: while scanning", "must be in quotes"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_its_remedy(
    text: str, says: str, hint: str
) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        read_yaml(text)
    mistake = describe_yaml_error(caught.value)
    assert mistake.text.startswith(says)
    assert hint in mistake.hint
