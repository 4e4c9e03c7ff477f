"""YAML that pixmill writes: a text in it is the text that it was."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixmill.config.yaml_writer import write_yaml

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc",))
    | st.sampled_from("\t\n\x85\u2028\u2029\xa0\ufeff #:'\"-")
)


@pytest.mark.parametrize("text", ["wait\x85", "\x85", "a\x85: b", "😀", "12", "on", ""])
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    assert yaml.safe_load(write_yaml({text: [text]})) == {text: [text]}


@given(TEXTS)
def test_whatever_is_written_is_read_back_equal(text: str) -> None:
    assert yaml.safe_load(write_yaml({"prompt": text})) == {"prompt": text}


def test_words_that_need_no_quotes_have_none_and_keys_keep_their_order() -> None:
    written = write_yaml({"store": "out", "prompt": "ein Käse, 奶酪"})
    assert written == "store: out\nprompt: ein Käse, 奶酪\n"
