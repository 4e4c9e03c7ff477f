"""What is installed: three packages, one command, nothing else."""

import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(
            next(name for name in names if name.endswith("entry_points.txt"))
        ).decode()
    assert {name.split("/")[0] for name in names} == {
        "pixmill",
        "flows",
        "tasks",
        "pixmill-0.1.0.dist-info",
    }
    shipped = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pixmill" / "datasets" / "report" / "assets").iterdir()
    }
    assert len(shipped) > 5
    assert {
        "pixmill/cli/templates/pets.yaml",
        "pixmill/cli/templates/pets.csv",
        "pixmill/py.typed",
        *shipped,
    } <= set(names)
    assert "pixmill = pixmill.cli:main" in entry_points


@pytest.mark.parametrize("package", ["flows", "tasks", "pixmill"])
def test_our_top_level_packages_have_one_owner(package: str) -> None:
    """Another distribution with such a package would overwrite ours without a word."""
    assert set(packages_distributions().get(package, [])) <= {"pixmill"}
