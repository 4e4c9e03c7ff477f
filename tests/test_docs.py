"""The documentation says what the code does."""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import pixmill
from docs.generate import make_pages
from pixmill.config.model import Config
from pixmill.datasets.our_error_codes import OUR_CODES
from pixmill.planning.row_checks import REASONS, REMEDIES
from pixmill.provider.error_codes import (
    GATEWAY_CODES,
    MEANINGS,
    SERVICE_CODES,
    SUCCESS,
)
from pixmill.request.model import Section
from pixmill.tables.batch import LINE_REASONS

ROOT = Path(__file__).parent.parent
PAGES = make_pages()
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


def test_every_config_key_is_documented() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    assert [key for key in config_keys() if f"`{key}`" not in page] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize(
    "name",
    re.findall(
        r"`(pixmill/[a-z_/]+\.py|[a-z_]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text()
    ),
)
def test_every_module_that_contributing_names_exists(name: str) -> None:
    # not below ROOT itself: .venv has tens of thousands of files
    folders = (
        "pixmill",
        "flows",
        "tasks",
        "tests",
        "docs",
        "benchmarks",
        "deployments",
    )
    assert (ROOT / name).exists() or any(
        list((ROOT / folder).rglob(name)) for folder in folders
    )


def test_every_name_of_the_code_that_contributing_has_is_in_the_code() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    names = {
        name.rpartition(".")[2]
        for name in re.findall(r"`([A-Za-z_]+(?:\.\w+)*)`", page)
    }
    sources = [
        *(
            path
            for folder in ("pixmill", "flows", "tasks", "tests", "docs")
            for path in (ROOT / folder).rglob("*.py")
        ),
        ROOT / "pyproject.toml",
        ROOT / "Makefile",
    ]
    code = {word for path in sources for word in re.findall(r"\w+", path.read_text())}
    assert len(names) > 50
    assert names - code == set()


def test_every_test_file_that_the_security_page_names_exists() -> None:
    named = re.findall(
        r"`([a-z_/]+/test_[a-z_]+\.py)`", (ROOT / "docs" / "security.md").read_text()
    )
    assert len(named) > 10
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []


def test_the_page_of_the_python_api_has_every_public_function() -> None:
    page = (ROOT / "docs" / "python-api.md").read_text()
    described = re.findall(r"^### pixmill\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(pixmill.__all__)
    assert all(callable(getattr(pixmill, name)) for name in described)


def test_the_page_of_the_python_api_has_whole_signatures_and_no_imports() -> None:
    page = (ROOT / "docs" / "python-api.md").read_text()
    _, _, run = page.partition("### pixmill.run\n")
    signature = run.partition(") -> ")[0]
    assert "    *,\n" in signature
    assert signature.endswith("    **sections: Any,\n")
    assert "| `Any` |" not in page


def test_every_command_is_in_the_table_of_commands() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    by_hand, _, generated = page.partition("## Arguments and flags")
    commands = re.findall(r"^### pixmill (.+)$", generated, re.MULTILINE)
    assert len(commands) > 10
    assert [name for name in commands if f"[`pixmill {name}" not in by_hand] == []


def test_every_dependency_has_its_reason() -> None:
    declared = re.findall(
        r'^    "([A-Za-z0-9]+)[\[<>=]',
        (ROOT / "pyproject.toml").read_text(),
        re.MULTILINE,
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


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_say_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name], (
        "`make docs` writes it anew"
    )


def sources() -> Iterator[ast.Module]:
    for path in sorted((ROOT / "pixmill").rglob("*.py")):
        if "simulator" not in path.parts:
            yield ast.parse(path.read_text())


def texts(*nodes: ast.AST | None) -> Iterator[str]:
    """The texts that an expression can be, whichever branch it takes."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.IfExp):
            yield from texts(node.body, node.orelse)
        elif isinstance(node, ast.Tuple):
            yield from texts(*node.elts)


def error_codes_in_the_code() -> set[str]:
    """Every text that is a `code`, stands for a missing one, or says what is the matter with an image."""
    found = set[str]()
    for node in (node for tree in sources() for node in ast.walk(tree)):
        if isinstance(node, ast.Call):
            found |= {
                code
                for of in node.keywords
                if of.arg == "code"
                for code in texts(of.value)
            }
            if ast.unparse(node.func) == "pa.scalar":
                found.update(texts(*node.args))
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {
                code for key, of in pairs if "code" in texts(key) for code in texts(of)
            }
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
            "code",
            "_PENDING",
            "_LOST",
        ):
            found.update(texts(node.value))
    return found - {""}


def test_every_error_code_of_our_own_is_described() -> None:
    # Each once: two entries may say different things.
    assert sorted(error_codes_in_the_code()) == sorted(code.code for code in OUR_CODES)


def test_every_code_of_the_provider_has_its_meaning() -> None:
    tables = (SERVICE_CODES, GATEWAY_CODES)
    assert {code for table in tables for code in table} - {SUCCESS} == set(MEANINGS)


def test_every_reason_for_an_invalid_row_says_what_to_do() -> None:
    assert set(REMEDIES) == set(REASONS)


def test_every_reason_for_a_line_that_can_not_be_read_is_described() -> None:
    given = re.compile(
        r'(?:LineProblem|_problem)\(\s*(?:number, )?"([a-z_]+)"|^    "([a-z_]+)": "',
        re.MULTILINE,
    )
    found = {
        one or other
        for name in ("delimited_text", "json_lines", "json_records", "parquet")
        for one, other in given.findall(
            (ROOT / "pixmill" / "tables" / f"{name}.py").read_text()
        )
    }
    assert found == set(LINE_REASONS)


def test_python_of_the_docs_that_serves_a_flow_runs_as_a_file() -> None:
    """Prefect imports the file again in the processes of its runs."""
    serving = []
    for path in DOCS:
        blocks = re.findall(
            r"^( *)```python\n(.*?)^\1```", path.read_text(), re.MULTILINE | re.DOTALL
        )
        for _, block in blocks:
            if re.search(r"\.(serve|deploy)\(", block):
                statements = map(ast.unparse, ast.parse(textwrap.dedent(block)).body)
                serving += [
                    written
                    for written in statements
                    if re.search(r"\.(serve|deploy)\(", written)
                ]
    assert serving
    for written in serving:
        assert written.startswith("if __name__ == '__main__':"), written
