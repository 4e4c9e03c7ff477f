"""The scene of the ledger and the images alone: some threads claim, pay, record and store. A tenth of a run's time.

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
from tests.crash.places import CONCURRENCY, Place, Scene
from tests.crash.promises import check_kept, jobs
from tests.pixmill.ledger.test_ledger import LIMITS, ended

KEYS = [sha256(f"job {at}".encode()).hexdigest() for at in range(5)]


def pay_for_all(place: Place) -> None:
    """Pay for every key that may be paid for, and store its picture."""
    run_id = f"run-{secrets.token_hex(4)}"
    ledger = open_ledger(place.store / "ledger.db")
    assert ledger
    try:
        ledger.begin_run(run_id, "pets")
        with ThreadPoolExecutor(CONCURRENCY) as payers:
            list(payers.map(lambda key: pay(place, ledger, run_id, key), KEYS))
    finally:
        ledger.close()


def pay(place: Place, ledger: Ledger, run_id: str, key: str) -> None:
    if not isinstance(ledger.claim(key, LIMITS._replace(run_id=run_id)), Claim):
        return
    charge(place, key)
    request_id = f"{key[:8]} of {run_id}"
    urls = [f"https://images.example.com/{key}"]
    answer = ended(
        key,
        State.SUCCEEDED,
        run_id=run_id,
        request_id=request_id,
        output_urls=json.dumps(urls),
    )
    ledger.record(answer)
    image = ImageStore(place.store).save(drawn(f"/{key}"))
    ledger.record_image(
        key,
        run_id,
        urls,
        images=json.dumps([image._asdict()]),
        error=None,
        download_ms=1.0,
    )


def charge(place: Place, key: str) -> None:
    paper = os.open(bill(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(paper, f"{key}\n".encode())
    os.close(paper)


def bill(place: Place) -> Path:
    return place.folder / "bill.txt"


def check(place: Place, in_flight: int) -> None:
    """I1, I2, I3 and I12 of a ledger after its recovery."""
    pay_for_all(place)
    check_kept(place)
    paid = charged(place)
    assert [key for key, count in paid.items() if count > 1] == []
    states = jobs(place)
    assert sorted(states) == sorted(KEYS)
    assert all(states[key].state in ("succeeded", "in_doubt") for key in KEYS)
    assert all(paid[key] for key in KEYS if states[key].state == "succeeded")
    assert sum(job.state == "in_doubt" for job in states.values()) <= in_flight


def charged(place: Place) -> Counter[str]:
    return (
        Counter(bill(place).read_text().split()) if bill(place).exists() else Counter()
    )


BARE_LEDGER = Scene(set_up=lambda _: None, act=pay_for_all, check=check)
