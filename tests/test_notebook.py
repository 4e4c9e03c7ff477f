"""The notebook of the docs, and a kernel that is interrupted, killed and started again."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

import pixmill
from tests.conftest import ROOT, Project, simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook, executed in a folder that has the data of the repository."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    # `!pixmill` is the one of this Python.
    monkeypatch.setenv("PATH", f"{ROOT}/.venv/bin:{os.environ['PATH']}")
    cells = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    client = NotebookClient(cells, timeout=120, kernel_name="python3")
    return client.execute(cwd=str(tmp_path))


def shown(cell: nbformat.NotebookNode) -> str:
    """All that the output of a cell shows, as text or HTML."""
    return "".join(
        output.get("text", "") or "".join(output.get("data", {}).values())
        for output in cell.outputs
    )


def test_the_notebook_leads_from_a_frame_to_a_training_set(
    notebook: nbformat.NotebookNode, tmp_path: Path
) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == 6
    table, plan, run, _, winners, export = map(shown, cells)
    assert "cat-01" in table
    assert "4 rows × 4 points = 16 jobs" in plan
    assert run.count('<img src="data:image/jpeg;base64,') == 16
    assert "simulated: nothing was paid" in run
    assert all(row in winners for row in ("cat-01", "dog-02", "owl-03", "fox-04"))
    assert "4 samples" in export
    assert len(list((tmp_path / "winners").rglob("*.jpg"))) == 4

    # The same table as CSV and YAML pays for nothing.
    pd.read_csv("data/pets.csv").head(4).to_csv("data/four.csv", index=False)
    shutil.copy("out/simulated/styles/config.yaml", "styles.yaml")
    as_csv = ["input.path=data/four.csv", "input.image_folder=null"]
    results = pixmill.run("styles.yaml", overrides=as_csv)
    assert (results.summary["calls"], results.summary["cached"]) == (0, 16)


JOBS = 16


class Kernel:
    """A kernel of Jupyter, as a notebook uses one."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self._client = client
        self.shown: list[str] = []
        """What the output of a cell with a display of its own was, one after the other."""

    def begin(self, code: str) -> str:
        return str(self._client.execute(code))

    def wait(self, message: str) -> tuple[str, str]:
        """Wait for a cell; return how it ended, and what it printed or why it failed."""
        printed = ""
        while True:
            output = self._client.get_iopub_msg(timeout=60)
            if output["parent_header"].get("msg_id") != message:
                continue
            content = output["content"]
            match output["msg_type"]:
                case "stream":
                    printed += content["text"]
                case "error":
                    printed += "\n".join(content["traceback"])
                case "display_data" | "update_display_data":
                    self.shown.append(content["data"]["text/html"])
                case "status" if content["execution_state"] == "idle":
                    return self._read_reply(message), printed

    def _read_reply(self, message: str) -> str:
        # Before it there may be answers to questions whether the kernel is up.
        while True:
            reply = self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == message:
                return str(reply["content"]["status"])

    def run(self, code: str) -> tuple[str, str]:
        return self.wait(self.begin(code))


@contextmanager
def start_kernel(folder: Path) -> Iterator[Kernel]:
    manager, client = start_new_kernel(cwd=str(folder))
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def wait_until(is_ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_kernel_that_is_interrupted_killed_and_started_again_pays_nothing_twice(
    project: Project, tmp_path: Path
) -> None:
    with simulator(tmp_path, "--latency", "0.4") as slow:
        project.write_rows(project.rows(JOBS))
        project.use_simulator(slow)
        config = project.write_config(limits={"concurrency": 2})
        cell = f"print(pixmill.run({config!r}, new_store=True).summary)"

        with start_kernel(tmp_path) as kernel:
            assert kernel.run("import pixmill") == ("ok", "")
            running = kernel.begin(cell)
            wait_until(lambda: slow.bill.length >= 2)
            kernel.manager.interrupt_kernel()
            status, said = kernel.wait(running)
            assert (status, len(said.splitlines())) == ("error", 1)
            assert said.startswith("Interrupted: interrupted by Ctrl-C")
            # One message of a mistake as well, and no hundred lines of frames.
            _, said = kernel.run("pixmill.run('none.yaml')")
            assert said.startswith("ConfigError: none.yaml: No such file")
            assert len(said.splitlines()) == 2
            paid = slow.bill.length
            kernel.begin(cell)
            wait_until(lambda: slow.bill.length >= paid + 3)
            assert kernel.manager.provisioner.pid
            os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)

        with start_kernel(tmp_path) as kernel:
            status, said = kernel.run(f"import pixmill\n{cell}")
            assert status == "ok", said
            # The notebook is saved without the progress.
            assert "in flight" in "".join(kernel.shown)
            assert kernel.shown[-1] == ""
        keys = slow.bill.keys
        assert len(keys) == len(set(keys))
        # Those in flight at the kill are in doubt: held, never sent again unasked.
        plan = pixmill.plan(config).summary()
        assert plan["cached"] + plan["in_doubt"] == JOBS
        assert plan["in_doubt"] <= 2
