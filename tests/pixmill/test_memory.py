"""What pixmill's processes hold of the machine's memory."""

import os
import subprocess
import sys

import pytest

from tests.conftest import Project
from tests.fork_server import ROOT
from tests.pixmill.paid import pay_for_everything

MEGABYTE = 1 << 20

PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Prints the peak of a command in KiB; a process of its own, as a command's peak begins with that of who started it."""


@pytest.mark.parametrize(
    ("statements", "named", "pool"),
    [
        ("keep_little_memory(); import pyarrow", None, "system"),
        ("import pyarrow; keep_little_memory()", None, "system"),
        ("import pixmill.cli, pyarrow", None, "other"),
        ("import pyarrow; keep_little_memory()", "mimalloc", "mimalloc"),
    ],
)
def test_what_arrow_frees_goes_back_where_pixmill_is_the_process(
    statements: str, named: str | None, pool: str
) -> None:
    """An import alone changes nothing for a program that uses pixmill, nor is a named pool overruled."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("ARROW_DEFAULT_MEMORY_POOL", None)
    if named:
        environment["ARROW_DEFAULT_MEMORY_POOL"] = named
    program = (
        f"from pixmill.memory import keep_little_memory; {statements}; "
        "print(pyarrow.default_memory_pool().backend_name)"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = child.stdout.strip()
    assert found == pool or (pool == "other" and found != "system")


@pytest.mark.slow
def test_a_run_of_many_paid_rows_stays_small_however_many_they_are(
    project: Project,
) -> None:
    project.write_rows(
        project.rows(100_000, "a quiet pet by the old river, golden, misty")
    )
    path = project.write_config(output={"images": "url"}, input={"row_key": ["id"]})
    assert pay_for_everything(path) == 100_000
    command = [
        sys.executable,
        "-c",
        PEAK,
        sys.executable,
        "-m",
        "pixmill",
        "run",
        path,
        "--yes",
    ]
    measured = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(measured.stdout) << 10 < 300 * MEGABYTE
