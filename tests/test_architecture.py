"""The shape of the project, as rules that run."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pixmill", "flows", "tasks")
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
ROOMS = (
    "conditions",
    "http",
    "request",
    "config",
    "provider",
    "storage",
    "tables",
    "ledger",
    "limits",
    "planning",
    "datasets",
    "simulator",
    "execution",
    "cli",
)
"""The packages of pixmill in the order in which they may import each other: each only those before it."""

FACADE = {"__init__.py", "__main__.py", "api.py"}
"""The modules at the top that lead to rooms; all others there are for every room, and import none."""


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def roots(tree: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imports(tree)}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def top_level_roots(tree: ast.Module) -> set[str]:
    return {
        root
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for root in roots(node)
    }


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.is_relative_to(ROOT / "pixmill")], ids=ids
)
def test_the_library_never_imports_prefect_flows_or_tasks(path: Path) -> None:
    in_cli = path.is_relative_to(ROOT / "pixmill" / "cli")
    found = top_level_roots(parsed(path)) if in_cli else roots(parsed(path))
    assert not found & {"prefect", "flows", "tasks"}


def test_every_package_of_the_library_is_a_room() -> None:
    packages = {path.parent.name for path in (ROOT / "pixmill").glob("*/__init__.py")}
    assert packages == set(ROOMS)


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.is_relative_to(ROOT / "pixmill")], ids=ids
)
def test_a_room_imports_only_rooms_before_it(path: Path) -> None:
    inside = path.relative_to(ROOT / "pixmill")
    if inside.name in FACADE and len(inside.parts) == 1:
        return
    reachable = (
        set(ROOMS[: ROOMS.index(inside.parts[0]) + 1])
        if len(inside.parts) > 1
        else set()
    )
    imported = {
        name.split(".")[1]
        for name in imports(parsed(path))
        if name.startswith("pixmill.")
    }
    assert (imported & set(ROOMS)) - reachable == set()


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*.py")), ids=ids)
def test_tasks_reach_the_world_only_through_the_library(path: Path) -> None:
    assert not roots(parsed(path)) & {
        "flows",
        "requests",
        "pyarrow",
        "pandas",
        "sqlalchemy",
    }


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=ids)
def test_flows_hold_no_http_no_tables_and_no_sql(path: Path) -> None:
    assert not roots(parsed(path)) & {"requests", "pyarrow", "pandas", "sqlalchemy"}


@pytest.mark.parametrize(
    "path", [*(ROOT / "flows").glob("*.py"), *(ROOT / "tasks").glob("*.py")], ids=ids
)
def test_flows_and_tasks_define_no_classes(path: Path) -> None:
    """A class there has another identity for every way in which Prefect loads the file."""
    assert not [
        node for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)
    ]


def test_no_flow_file_has_the_name_of_a_top_level_module() -> None:
    """A worker puts flows/ first on its path: flows/tasks.py would hide the package tasks."""
    for path in (ROOT / "flows").glob("*.py"):
        if path.stem != "__init__":
            assert importlib.util.find_spec(path.stem) is None, path


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION):
            most = 70 if path.is_relative_to(ROOT / "pixmill") else 50
            assert (node.end_lineno or 0) - node.lineno < most, node.name


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.stat().st_size], ids=ids
)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_json_is_written_without_what_it_has_no_word_for(path: Path) -> None:
    """Python writes NaN unless it is told not to, and what reads that is not JSON."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            named = {ast.unparse(part) for part in (node.func, *node.args)}
            refused = {"allow_nan": False}.items() <= {
                of.arg: getattr(of.value, "value", None) for of in node.keywords
            }.items()
            assert refused or not named & {"json.dumps", "json.dump"}, node.lineno


def test_tests_are_no_packages() -> None:
    """tests/tasks/__init__.py would hide the package tasks from the tests."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import pixmill", {"prefect", "pandas", "pyarrow", "sqlalchemy", "yaml"}),
        (
            "import pixmill.cli",
            {"prefect", "pandas", "pyarrow", "sqlalchemy", "requests"},
        ),
        (
            "import pixmill.execution.run, pixmill.execution.status, pixmill.datasets.export",
            {"prefect", "pandas", "boto3", "botocore"},
        ),
    ],
)
def test_heavy_libraries_are_imported_where_they_are_used(
    statement: str, heavy: set[str]
) -> None:
    code = f"import sys\n{statement}\nprint(*sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert shown.stdout.split() == []
