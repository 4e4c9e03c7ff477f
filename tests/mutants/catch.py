"""Plant each bug of `planted.py` in a copy of the project and require that a test notices.

    python tests/mutants/catch.py [WORD ...]     # only those whose name holds one of the words

Exit code 1 where one survives. A suite that passes without a sync, an intent or a cap proves nothing about them.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutants.planted import MUTANTS, Mutant  # noqa: E402 - run as a script, so the root has to be known first
from tests.mutants.planting import plant  # noqa: E402

COPIED = (
    "pixmill",
    "flows",
    "tasks",
    "tests",
    "configs",
    "data",
    "docs",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
)
AT_ONCE = 2


def main(words: Sequence[str]) -> int:
    """Catch the mutants whose name holds one of `words`, all without any; return the exit code."""
    wanted = [
        mutant
        for mutant in MUTANTS
        if not words or any(word in mutant.name for word in words)
    ]
    with ThreadPoolExecutor(AT_ONCE) as hunters:
        results = list(hunters.map(caught, wanted))
    print(f"{sum(results)} of {len(wanted)} caught")
    return 0 if all(results) else 1


def caught(mutant: Mutant) -> bool:
    """Plant `mutant` in a copy and say whether its tests, which pass without it, fail."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "pixmill"
        _copy(copy)
        _plant(mutant, copy)
        there = [path for path in mutant.caught_by if (copy / path).exists()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--no-header",
            *there,
        ]
        ended = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False
        )
    found = ended.returncode == 1
    by = next(
        (
            line
            for line in ended.stdout.splitlines()
            if line.startswith(("FAILED", "ERROR"))
        ),
        "",
    )
    print(
        f"{'caught  ' if found else 'SURVIVED'}  {mutant.name}  {by.partition(' - ')[0][:120]}",
        flush=True,
    )
    return found


def _copy(target: Path) -> None:
    target.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(source, target / name)


def _plant(mutant: Mutant, copy: Path) -> None:
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    changed = plant(text, mutant.function, mutant.old, mutant.new)
    file.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
