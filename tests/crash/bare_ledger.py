"""The scene of the ledger and the images alone: some threads claim, pay, record and store. A tenth of a run's time.

Some jobs are submitted: they pay when their task is started, and what became of it is asked for after that.

The bill is a file that the payer appends to between its claim and its answer: nothing in between can lose it.
"""

import json
import os
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from pixmill.ledger import Claim, Ledger, State, open_ledger
from pixmill.storage.image_store import ImageStore
from tests.crash.billing import drawn
from tests.crash.durability import check_kept, jobs
from tests.crash.sandboxes import CONCURRENCY, Sandbox, Scene
from tests.pixmill.ledger.test_ledger import TERMS, ended

KEYS = [sha256(f"job {at}".encode()).hexdigest() for at in range(5)]
SUBMITTED = frozenset(KEYS[:3])
"""Those that have a task."""


def pay_for_all(sandbox: Sandbox) -> None:
    """Pay for every key that may be paid for, and store its picture."""
    run_id = f"run-{secrets.token_hex(4)}"
    ledger = open_ledger(sandbox.store / "ledger.db")
    assert ledger
    try:
        ledger.begin_run(run_id, "pets")
        with ThreadPoolExecutor(CONCURRENCY) as payers:
            list(payers.map(lambda key: pay(sandbox, ledger, run_id, key), KEYS))
    finally:
        ledger.close()


def pay(sandbox: Sandbox, ledger: Ledger, run_id: str, key: str) -> None:
    claim = ledger.claim(key, TERMS._replace(run_id=run_id))
    if not isinstance(claim, Claim):
        return
    task_id = f"task of {key[:8]}" if key in SUBMITTED else None
    if claim.task:
        assert claim.task.task_id == task_id
    else:
        charge(sandbox, key)
        if task_id:
            ledger.record_task(key, task_id, lease_seconds=900)
    request_id = f"{key[:8]} of {run_id}"
    urls = [f"https://images.example.com/{key}"]
    answer = ended(
        key,
        State.SUCCEEDED,
        run_id=claim.task.run_id if claim.task else run_id,
        outcome_run=run_id,
        task_id=task_id,
        attempt=claim.attempts,
        request_id=request_id,
        output_urls=json.dumps(urls),
    )
    ledger.record(answer)
    image = ImageStore(sandbox.store).save(drawn(f"/{key}"))
    ledger.record_image(
        key,
        run_id,
        urls,
        images=json.dumps([image._asdict()]),
        error=None,
        download_ms=1.0,
    )


def charge(sandbox: Sandbox, key: str) -> None:
    paper = os.open(bill(sandbox), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(paper, f"{key}\n".encode())
    os.close(paper)


def bill(sandbox: Sandbox) -> Path:
    return sandbox.folder / "bill.txt"


def check(sandbox: Sandbox, in_flight: int) -> None:
    """I1, I2, I3 and I12 of a ledger after its recovery."""
    pay_for_all(sandbox)
    check_kept(sandbox)
    paid = charged(sandbox)
    assert [key for key, count in paid.items() if count > 1] == []
    states = jobs(sandbox)
    assert sorted(states) == sorted(KEYS)
    assert all(states[key].state in ("succeeded", "in_doubt") for key in KEYS)
    assert all(paid[key] for key in KEYS if states[key].state == "succeeded")
    # What has a task on disk is asked for, whoever dies.
    assert all(
        states[mark["key"]].state == "succeeded"
        for mark in sandbox.acknowledged("task")
    )
    assert sum(job.state == "in_doubt" for job in states.values()) <= in_flight


def charged(sandbox: Sandbox) -> Counter[str]:
    return (
        Counter(bill(sandbox).read_text().split())
        if bill(sandbox).exists()
        else Counter()
    )


BARE_LEDGER = Scene(set_up=lambda _: None, act=pay_for_all, check=check)
