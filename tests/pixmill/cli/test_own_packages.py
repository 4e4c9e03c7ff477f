"""In a project that has a `flows` or `tasks` package of its own, the command line works or says what is in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Project
from tests.real_command import prefect_state

FOREIGN = "raise RuntimeError('the package of somebody else')\n"
FIND = (
    "from pixmill.cli.own_packages import prefer_own_packages\n"
    "prefer_own_packages()\n"
    "import flows, tasks\n"
    "print(flows.__path__[0], tasks.__path__[0])\n"
)


def write_packages(folder: Path, *, as_modules: bool = False) -> None:
    for name in ("flows", "tasks"):
        file = folder / f"{name}.py" if as_modules else folder / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(FOREIGN)


def python(folder: Path, program: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.parametrize("as_modules", [False, True])
def test_packages_of_these_names_in_the_working_directory_are_not_taken_for_ours(
    tmp_path: Path, as_modules: bool
) -> None:
    write_packages(tmp_path, as_modules=as_modules)
    ours = f"{ROOT / 'flows'} {ROOT / 'tasks'}"
    for environment in ({}, {"PYTHONPATH": str(tmp_path)}):
        assert python(tmp_path, FIND, **environment)[:2] == (0, ours)


def test_where_nothing_is_in_the_way_the_search_path_stays(tmp_path: Path) -> None:
    program = f"import sys; before = list(sys.path)\n{FIND}assert sys.path == before"
    assert python(tmp_path, program)[0] == 0


def test_a_package_that_is_imported_already_is_named(tmp_path: Path) -> None:
    write_packages(tmp_path)
    (tmp_path / "tasks" / "__init__.py").write_text("")
    code, _, said = python(tmp_path, f"import tasks\n{FIND}")
    assert code == 1
    assert "a package 'tasks' of your own is imported" in said
    assert str(tmp_path / "tasks") in said


@pytest.mark.slow
def test_a_run_in_such_a_project_publishes(project: Project, prefect_api: str) -> None:
    """Slow, as it is about a process that imports Prefect anew."""
    write_packages(project.folder)
    project.write_rows(project.rows(2))
    done = subprocess.run(
        [sys.executable, "-m", "pixmill", "run", project.write_config()],
        cwd=project.folder,
        env={
            **os.environ,
            **prefect_state(project.folder),
            "PREFECT_API_URL": prefect_api,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 succeeded" in done.stderr
