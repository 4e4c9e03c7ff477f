"""A process without threads from which runs are forked: importing pixmill takes longer than a small run.

    with fork_server(folder) as experiment:
        experiment("kills", scene="a new store", first=1, step=7)

The experiments are functions of `tests.crash.experiments` and `tests.crash.power`.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import KEY, ROOT

SOAK = bool(os.environ.get("PIXMILL_SOAK"))
"""Whether there is time: more kills, more seeds."""

Experiment = Callable[..., dict[str, Any]]


@contextmanager
def fork_server(folder: Path) -> Iterator[Experiment]:
    """Start the process; yields what calls an experiment in it by name and returns its result."""
    code = "import sys; from tests.crash.experiment_server import serve; serve(sys.argv[1])"
    environment = {**os.environ, "PIXMILL_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout

    def experiment(name: str, **options: Any) -> dict[str, Any]:
        print(json.dumps({"name": name, **options}), file=process.stdin, flush=True)
        answer = process.stdout.readline()  # type: ignore[union-attr]
        assert answer, "the experiment server has ended; its stderr says why"
        return json.loads(answer)  # type: ignore[no-any-return]

    try:
        yield experiment
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def serve(folder: str) -> None:
    """Be the process: a request a line on stdin, a result a line on stdout."""
    from tests.crash import experiments, power
    from tests.crash.billing import billing

    known = {**vars(experiments), **vars(power)}
    with billing(Path(folder)) as provider:
        context = experiments.ExperimentContext(provider, Path(folder))
        _import_what_runs_import(context)
        gc.freeze()  # a collection in a child would copy all pages
        for line in sys.stdin:
            options = json.loads(line)
            print(
                json.dumps(known[options.pop("name")](context, **options)),
                flush=True,
            )


def _import_what_runs_import(context: Any) -> None:
    """Let a child do every scene once, and import what it has imported: the child has threads, this process none."""
    from tests.crash import experiments
    from tests.crash.sandboxes import checking

    with tempfile.NamedTemporaryFile("r") as names:

        def work() -> None:
            for scene in experiments.SCENES.values():
                checking(scene, context.sandbox(scene), 0)()
            Path(names.name).write_text("\n".join(sys.modules))

        if experiments.alone(work):
            stderr = "\n".join(
                path.read_text() for path in context.folder.glob("*/stderr.txt")
            )
            raise RuntimeError(f"the scenes do not work undisturbed:\n{stderr}")
        for name in names.read().splitlines():
            if name != "__main__" and name not in sys.modules:
                importlib.import_module(name)
