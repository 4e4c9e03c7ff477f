"""A machine that has fewer open files or threads to give than a run would like to have."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Project
from tests.pixmill.run_checks import Provider, check_bill, configure_run, run_and_check

ROWS = 80

FEW_FILES = """
import json, os, resource, sys
from tests.conftest import run_config
most = len(os.listdir("/proc/self/fd")) + 30
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print(json.dumps(run_config(sys.argv[1])))
"""


@pytest.mark.slow
def test_calls_that_find_no_socket_left_were_not_sent_and_no_row_is_lost(
    project: Project,
) -> None:
    """A11: what could not be sent is pending again, and paid for by the next run."""
    with Provider(delay=0.05) as provider:
        config = configure_run(
            project,
            provider.url,
            ROWS,
            limits={"concurrency": 50},
            retry={"max_attempts": 1},
            stop={"failed_fraction": 1},
        )
        command = [sys.executable, "-c", FEW_FILES, config]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        report, sent = json.loads(done.stdout), len(provider.requests)
        check_bill(config, provider.charges())
        after = run_and_check(config, provider.charges)
    assert report["calls"] > sent, "there were enough"
    assert sent == report["succeeded"] > 0
    assert (after.report["succeeded"], len(provider.requests)) == (ROWS, ROWS)


FEW_THREADS = """
import json, resource, sys, threading
from pathlib import Path
from pixmill.config.loading import load_config
from pixmill.execution.prepare import prepare
with prepare(load_config(sys.argv[1])) as prepared:
    run = prepared.start()
    # A new thread is so large from here on that the address space has room for a few of them.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 30) + (1 << 29), -1))
    threading.stack_size(1 << 30)
    for chunk in run.chunks():
        run.process(chunk)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    threading.stack_size(0)
    try:
        print(json.dumps(run.finish().as_dict()))
    except Exception as error:
        print(json.dumps({"error": str(error)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_calls_that_find_no_thread_left_were_not_sent_and_no_row_is_lost(
    project: Project, host: str, room: int
) -> None:
    """A12: a pids limit leaves room for some threads, and each look-up of a name needs one."""
    with Provider(delay=0.02) as provider:
        url = provider.url.replace("127.0.0.1", host)
        config = configure_run(
            project,
            url,
            ROWS,
            limits={"concurrency": 6},
            retry={"max_attempts": 1},
            stop={"failed_fraction": 1},
            execution={"jobs_per_task": ROWS},
        )
        command = [sys.executable, "-c", FEW_THREADS, config, str(room)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        report, sent = json.loads(done.stdout), len(provider.requests)
        check_bill(config, provider.charges())
        after = run_and_check(config, provider.charges)
    if host == "127.0.0.1" and "error" not in report:
        assert sent == ROWS, "an address needs no thread to be looked up"
    if "error" in report:
        assert "can't start a thread for calls" in report["error"]
    assert report.get("in_doubt", 0) == 0
    assert "internal error" not in str(report)
    assert (after.report["succeeded"], len(provider.requests)) == (ROWS, ROWS)
