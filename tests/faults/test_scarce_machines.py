"""A machine that has fewer open files to give than a run would like to have."""

import json
import subprocess
import sys

from tests.conftest import ROOT, Workshop
from tests.pixmill.run_checks import Provider, check_bill, ran, use

ROWS = 80

FEW_FILES = """
import json, os, resource, sys
from tests.conftest import carry_out
most = len(os.listdir("/proc/self/fd")) + 30
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print(json.dumps(carry_out(sys.argv[1])))
"""


def test_calls_that_find_no_socket_left_were_not_sent_and_no_row_is_lost(
    workshop: Workshop,
) -> None:
    """A11: what could not be sent is pending again, and paid for by the next run."""
    with Provider(delay=0.05) as provider:
        config = use(
            workshop,
            provider.url,
            ROWS,
            limits={"concurrency": 50},
            retry={"max_attempts": 1},
            stop={"failed_fraction": 1},
        )
        command = [sys.executable, "-c", FEW_FILES, config]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        report, sent = json.loads(done.stdout), len(provider.requests)
        check_bill(config, provider.charges())
        after = ran(config, provider.charges)
    assert report["calls"] > sent, "there were enough"
    assert sent == report["succeeded"] > 0
    assert (after.report["succeeded"], len(provider.requests)) == (ROWS, ROWS)
