"""The shape of the project, as rules that run."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from pixmill.datasets.report.page import SCRIPTS

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "pixmill"
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
    "quality",
    "limits",
    "planning",
    "datasets",
    "simulator",
    "execution",
    "view",
    "cli",
    "api",
)
"""The packages of pixmill in the order in which they may import each other: each only those before it."""

FACADE = {"__init__.py", "__main__.py"}
"""The modules at the top that lead to rooms; all others there are for every room, and import none."""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def roots(tree: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imports(tree)}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def breaches(paths: Iterable[Path], allowed: Callable[[Path], object]) -> list[str]:
    """The files for which a rule does not hold: one test a rule, since there are hundreds of files."""
    return [str(path.relative_to(ROOT)) for path in paths if not allowed(path)]


def top_level_roots(tree: ast.Module) -> set[str]:
    return {
        root
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for root in roots(node)
    }


def test_the_library_never_imports_prefect_flows_or_tasks() -> None:
    def allowed(path: Path) -> bool:
        in_cli = path.is_relative_to(LIBRARY / "cli")
        found = top_level_roots(parsed(path)) if in_cli else roots(parsed(path))
        return not found & {"prefect", "flows", "tasks"}

    assert breaches(LIBRARY.rglob("*.py"), allowed) == []


def test_every_package_of_the_library_is_a_room() -> None:
    packages = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert packages == set(ROOMS)


def test_a_room_imports_only_rooms_before_it() -> None:
    def allowed(path: Path) -> bool:
        inside = path.relative_to(LIBRARY).parts
        if len(inside) == 1:
            return inside[0] in FACADE or not rooms_imported(path)
        return rooms_imported(path) <= set(ROOMS[: ROOMS.index(inside[0]) + 1])

    assert breaches(LIBRARY.rglob("*.py"), allowed) == []


def rooms_imported(path: Path) -> set[str]:
    return {
        name.split(".")[1]
        for name in imports(parsed(path))
        if name.startswith("pixmill.")
    } & set(ROOMS)


def test_tasks_reach_the_world_only_through_the_library() -> None:
    heavy = {"flows", "requests", "pyarrow", "pandas", "sqlalchemy"}
    tasks = (ROOT / "tasks").glob("*.py")
    assert breaches(tasks, lambda path: not roots(parsed(path)) & heavy) == []


def test_flows_hold_no_http_no_tables_and_no_sql() -> None:
    heavy = {"requests", "pyarrow", "pandas", "sqlalchemy"}
    flows = (ROOT / "flows").glob("*.py")
    assert breaches(flows, lambda path: not roots(parsed(path)) & heavy) == []


def test_flows_and_tasks_define_no_classes() -> None:
    """A class there has another identity for every way in which Prefect loads the file."""

    def allowed(path: Path) -> bool:
        return not any(
            isinstance(node, ast.ClassDef) for node in ast.walk(parsed(path))
        )

    paths = [*(ROOT / "flows").glob("*.py"), *(ROOT / "tasks").glob("*.py")]
    assert breaches(paths, allowed) == []


def test_no_flow_file_has_the_name_of_a_top_level_module() -> None:
    """A worker puts flows/ first on its path: flows/tasks.py would hide the package tasks."""
    for path in (ROOT / "flows").glob("*.py"):
        if path.stem != "__init__":
            assert importlib.util.find_spec(path.stem) is None, path


def test_files_stay_small() -> None:
    lines = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES
    }
    assert breaches(SOURCES, lambda path: lines[path] <= 450) == []


def test_functions_stay_small() -> None:
    def allowed(path: Path) -> bool:
        most = 70 if path.is_relative_to(LIBRARY) else 50
        return all(
            (node.end_lineno or 0) - node.lineno < most
            for node in ast.walk(parsed(path))
            if isinstance(node, FUNCTION)
        )

    assert breaches(SOURCES, allowed) == []


def test_every_module_says_what_it_is_for() -> None:
    filled = [path for path in SOURCES if path.stat().st_size]
    assert breaches(filled, lambda path: ast.get_docstring(parsed(path))) == []


def test_json_is_written_without_what_it_has_no_word_for() -> None:
    """Python writes NaN unless it is told not to, and what reads that is not JSON."""

    def allowed(path: Path) -> bool:
        return all(
            refuses_nan(node)
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call)
            and {ast.unparse(part) for part in (node.func, *node.args)}
            & {"json.dumps", "json.dump"}
        )

    assert breaches(SOURCES, allowed) == []


def refuses_nan(call: ast.Call) -> bool:
    return any(
        keyword.arg == "allow_nan" and ast.unparse(keyword.value) == "False"
        for keyword in call.keywords
    )


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
        (
            "import pixmill.execution.prepare",
            {"prefect", "pandas", "PIL", "jinja2", "uvicorn", "apprise"},
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


def test_the_scripts_of_the_report_have_no_error_that_a_linter_finds(
    tmp_path: Path,
) -> None:
    """Together, as the page runs them: what one file uses may be declared in another."""
    assets = LIBRARY / "datasets" / "report" / "assets"
    together = tmp_path / "report.js"
    files = [*(assets / name for name in SCRIPTS), LIBRARY / "view/assets/live.js"]
    together.write_text("".join(file.read_text() for file in files))
    biome = Path(sys.executable).parent / "biome"
    # That of a comparison is alone on its page.
    scripts = (together, assets / "compare.js")
    lint = subprocess.run(
        [biome, "lint", f"--config-path={ROOT / 'biome.json'}", *scripts],
        capture_output=True,
        text=True,
    )
    assert lint.returncode == 0, lint.stderr


def test_no_quick_test_is_where_make_test_does_not_look() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [folders] = re.findall(
        r"^NONE_QUICK := .*--ignore=,(.*) \\$", makefile, re.MULTILINE
    )
    marked = re.compile(
        r"^pytestmark = \[?\s*pytest\.mark\.(slow|stack)\b", re.MULTILINE
    )
    quick = [
        str(path.relative_to(ROOT))
        for folder in folders.split()
        for path in (ROOT / folder).rglob("test_*.py")
        if not marked.search(path.read_text())
    ]
    assert quick == []
