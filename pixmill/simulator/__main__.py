"""`python -m pixmill.simulator`: the process that `run_simulator` starts. It prints its URL when it is ready."""

import argparse
import sys
from pathlib import Path

from pixmill.errors import UserError
from pixmill.simulator.server import serve
from pixmill.simulator.settings import settings_from_environment


def main() -> None:
    """Serve with the keys of the environment, on the wanted port or, if that is taken, on a free one."""
    parser = argparse.ArgumentParser(
        prog="python -m pixmill.simulator", description=__doc__
    )
    parser.add_argument("--bill", type=Path, help="append a line per call to this file")
    parser.add_argument(
        "--faults", type=Path, help="answer with the faults of this file"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds that a call takes"
    )
    parser.add_argument("--port", type=int, default=0, help="the port to try first")
    options = parser.parse_args()
    settings = settings_from_environment(
        latency=options.latency,
        faults=options.faults,
        bill=options.bill,
    )

    def print_url(url: str) -> None:
        sys.stdout.write(f"{url}\n")
        # The parent reads this line from a pipe, which is buffered.
        sys.stdout.flush()

    failure = ""
    # The wanted port may be another program's; 0 asks the system for one that is free.
    for port in dict.fromkeys((options.port, 0)):
        try:
            return serve(settings, port=port, on_ready=print_url)
        except UserError as error:
            failure = str(error)
    sys.exit(failure)


if __name__ == "__main__":
    main()
