"""Whatever stands in a config, an override or a faults file: it is read, or the mistake is said in words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pixmill.config.loading import load_config
from pixmill.config.model import Config
from pixmill.errors import ConfigError, UserError
from pixmill.simulator.faults import FaultRule, load_faults
from tests.conftest import ROOT
from tests.fuzz.amount import examples
from tests.fuzz.mutations import damaged

SHIPPED = [path.read_bytes() for path in sorted((ROOT / "configs").glob("*.yaml"))]
HOSTILE = [
    b"&a [*a]",
    b"!!python/object/apply:os.system [id]",
    b": ",
    b"- ",
    b"\t",
    b"{",
    b"'",
    b"\xff",
    b"\x85",
    b"1e999",
]
WORDS = [
    "a",
    "true",
    "~",
    "1e999",
    "-0",
    "0o17",
    "2026-11-22",
    ".inf",
    ".nan",
    "<<",
    "=",
    "*a",
    "!!set",
    "9" * 400,
    "",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=4)
)
FIELDS = {
    name: list(getattr(field.annotation, "model_fields", {}))
    for name, field in Config.model_fields.items()
}
KEYS = [key for keys in FIELDS.values() for key in keys]
RULES = [
    b"- {calls: 3-5, code: 50429, headers: {Retry-After: '2'}}\n- {prompt: x, status: 504, body: <html>, times: 1}\n"
]


@st.composite
def nearly_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A mapping that has the sections and keys of a config, and anything for values."""
    inner = st.recursive(
        SCALARS,
        lambda part: (
            st.lists(part, max_size=3) | st.dictionaries(SCALARS, part, max_size=3)
        ),
        max_leaves=6,
    )
    made: dict[str, Any] = {
        "version": 1,
        "name": "n",
        "store": "out",
        "input": {"path": "t.csv"},
        "request": {"req_key": "k"},
    }
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4)):
        keys = FIELDS[name]
        fields = (
            st.dictionaries(st.sampled_from(keys), inner, max_size=3) if keys else inner
        )
        made[name] = draw(fields | inner)
    return made


def loads_or_says_why(path: Path, overrides: tuple[str, ...] = ()) -> None:
    try:
        load_config(path, overrides)
    except ConfigError as error:
        assert str(error)


@examples(40)
@given(content=damaged(SHIPPED, HOSTILE) | st.binary(max_size=60))
@example(content=b"name: 2026-13-45")
def test_any_bytes_are_a_config_or_a_config_error(
    tmp_path: Path, content: bytes
) -> None:
    """I2f."""
    (tmp_path / "c.yaml").write_bytes(content)
    loads_or_says_why(tmp_path / "c.yaml")


@examples(40)
@given(config=nearly_configs())
def test_any_values_make_a_config_or_a_config_error(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    """I2f."""
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(config), encoding="utf-8", errors="surrogatepass"
    )
    loads_or_says_why(tmp_path / "c.yaml")


@examples(40)
@given(
    keys=st.lists(
        st.sampled_from([*FIELDS, *KEYS, "0", "-1", "params", ""]), max_size=4
    ),
    value=st.sampled_from(WORDS) | st.text(max_size=8) | SCALARS.map(str),
)
@example(keys=["name", "x"], value="1")
@example(keys=["input", "row_key", "99"], value="1")
def test_any_override_is_taken_or_a_config_error(
    tmp_path: Path, keys: list[str], value: str
) -> None:
    """I2f."""
    (tmp_path / "c.yaml").write_bytes(SHIPPED[0])
    loads_or_says_why(tmp_path / "c.yaml", (f"{'.'.join(keys)}={value}",))


@examples(100)
@given(
    content=damaged(RULES, HOSTILE)
    | st.lists(
        st.dictionaries(
            st.sampled_from(sorted(FaultRule.model_fields)) | SCALARS,
            SCALARS,
            max_size=3,
        ),
        max_size=2,
    ).map(lambda rules: yaml.safe_dump(rules).encode("utf-8", "surrogatepass"))
)
def test_any_faults_file_is_rules_or_a_mistake(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faults.yaml").write_bytes(content)
    try:
        load_faults(tmp_path / "faults.yaml")
    except UserError as error:
        assert "faults.yaml" in str(error)


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{a: " * 5000, "- " * 5000], ids=["lists", "mappings", "items"]
)
def test_text_that_is_nested_without_end_is_a_mistake(
    tmp_path: Path, text: str
) -> None:
    """I2f: a parser that calls itself runs out of stack."""
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "deep.yaml")
