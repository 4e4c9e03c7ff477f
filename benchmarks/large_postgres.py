"""A large ledger in PostgreSQL: seconds of a plan over it, and from the plan to the first new call.

    python benchmarks/large_postgres.py [ROWS]      # default: 1000000

All rows are paid for but a hundred, which are the last of the table. The server is of this machine, from a wheel (with
the extra `stack`), without any settings.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from account import KEY, begun, pay, postgres, simulator
from scale import fill_ledger, measure, write_table

NEW = 100


def main() -> None:
    """Print one line per measurement."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    os.environ["PIXMILL_API_KEY"] = KEY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's user looks into it
        bill = folder / "bill.jsonl"
        with simulator(bill) as url, postgres(folder / "postgres") as ledger:
            provider = {"kind": "gateway", "base_url": url}
            config = write_table(
                folder, rows, provider=provider, ledger=ledger, limits={"qps": 50}
            )
            fill_ledger(config)
            with (folder / "table.csv").open("a") as table:
                table.writelines(
                    f"new{at},https://images.example.com/new/{at}.jpg,new {at}\n"
                    for at in range(NEW)
                )
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            for turn in ("first", "second"):
                print(
                    f"plan of {rows + NEW:,} rows, {rows:,} paid ({turn}): {measure('plan', config)}",
                    flush=True,
                )
            before = time.perf_counter()
            with begun(Path(config)) as run:
                planned = time.perf_counter()
                paying = threading.Thread(target=pay, args=(run,))
                paying.start()
                while not (bill.exists() and bill.stat().st_size):
                    time.sleep(0.01)
                first = time.perf_counter()
                paying.join()
            took, waited = planned - before, first - planned
            print(
                f"a run of it: planned and begun after {took:.1f} s, first call {waited:.1f} s later"
            )


if __name__ == "__main__":
    main()
