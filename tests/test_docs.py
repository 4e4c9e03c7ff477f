"""The documentation says what the code does."""

import re
from pathlib import Path

import pytest

from pixmill.config import Config, Section

ROOT = Path(__file__).parent.parent
DOCS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def config_keys() -> list[str]:
    sections = {name: Config.__annotations__[name] for name in Config.model_fields}
    inner = [
        key
        for name, kind in sections.items()
        if name != "sweep" and isinstance(kind, type) and issubclass(kind, Section)
        for key in kind.model_fields
    ]
    return [*sections, *inner]


@pytest.mark.parametrize("key", sorted(set(config_keys())))
def test_every_config_key_is_documented(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "config.md").read_text()


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize(
    "name",
    re.findall(r"`(pixmill/[a-z_/]+\.py|[a-z_]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text()),
)
def test_every_module_that_contributing_names_exists(name: str) -> None:
    assert list(ROOT.glob(f"**/{name}"))


def test_every_dependency_has_its_reason() -> None:
    declared = re.findall(
        r'^    "([A-Za-z0-9]+)[\[<>=]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    said = (ROOT / "CONTRIBUTING.md").read_text().lower()
    assert len(declared) > 10
    assert [name for name in declared if name.lower() not in said] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name
)
def test_the_locks_pin_everything_with_hashes_and_name_no_index(path: Path) -> None:
    lines = [
        line.strip()
        for line in path.read_text().splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]
    assert [
        line
        for line in lines
        if not re.match(r"[A-Za-z0-9_.-]+==[^ ]+ \\$|--hash=sha256:[0-9a-f]{64}", line)
    ] == []
    assert "://" not in path.read_text()
