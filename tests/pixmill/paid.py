"""Large ledgers without the calls: every job of a config written as a paid one leaves it."""

import json
from typing import Any

from sqlalchemy import insert

from pixmill.config.loading import load_config
from pixmill.ledger import open_ledger
from pixmill.ledger.schema import jobs
from pixmill.planning.planner import make_plan


def pay_for_everything(config_path: str, **columns: Any) -> int:
    """Put a success with `columns` into the ledger for every job; return how many there are."""
    config = load_config(config_path)
    ledger = open_ledger(config.ledger_address)
    assert ledger
    plan = make_plan(config, None)
    ledger.begin_run("earlier", config.name)
    position = 0
    with ledger.database.writing.begin() as connection:
        for batch in plan.batches():
            first = plan.first[position : position + len(batch.keys)]
            position += len(batch.keys)
            rows = [
                {
                    "job_key": key,
                    "state": "succeeded",
                    "attempts": 1,
                    "run_id": "earlier",
                    "outcome_run": "earlier",
                    "provider": "simulator",
                    "request_id": f"20250113200637{key[:20]}",
                    "rephraser_result": "a painting of a cat by a river, soft light",
                    "output_urls": json.dumps(
                        [f"https://p3.example.com/{key}.image?x=1800000"]
                    ),
                    "url_expires_at": 1_800_000_000_000_000,
                    **columns,
                }
                for key, is_first in zip(batch.keys, first, strict=True)
                if key and is_first
            ]
            if rows:
                connection.execute(insert(jobs), rows)
    ledger.close()
    return plan.distinct
