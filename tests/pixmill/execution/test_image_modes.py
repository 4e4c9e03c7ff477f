"""How pictures come (`output.images`) times what can go wrong with them: each mode tells its own losses.

What is told: the exit code of the run that met the fault and of the next one, `images_missing` of run and plan, what
the ledger and the dataset say of each row.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from pixmill.backoff import Backoff
from pixmill.config.loading import load_config
from pixmill.errors import PixmillError
from pixmill.execution.prepare import prepare
from tests.conftest import Project, results, run_config
from tests.faulty_server import Behaviour, FaultyServer, answer
from tests.pixmill.provider.answer_bodies import success
from tests.pixmill.run_checks import (
    Provider,
    check_bill,
    configure_run,
    images_blocked,
    ledger,
    run_and_check,
)
from tests.pixmill.sample_pictures import JPEG

ROWS = 3
TRASH = b"these bytes are no picture"


def inside(data: bytes) -> Callable[[str, int], bytes]:
    """Answers that bring `data` with them."""
    text = base64.b64encode(data).decode()
    return lambda _, number: _answer(number, image_urls=[], binary_data_base64=[text])


def behind(url: str, data: bytes | None = None) -> Callable[[str, int], bytes]:
    """Answers that name `url`, and bring `data` as well."""
    texts = [] if data is None else [base64.b64encode(data).decode()]
    return lambda _, number: _answer(number, image_urls=[url], binary_data_base64=texts)


def _answer(number: int, **data: list[str]) -> bytes:
    return json.dumps({**success(**data), "request_id": f"call-{number}"}).encode()


class Case(NamedTuple):
    """A mode, a fault, and what is told of each of the rows: `code` in the dataset, `None` where nothing is missing.

    `album` is what a picture's URL meets (`None`: there is no URL), `inline` what the answer brings. `filed`: whether
    there is a file.
    """

    mode: str
    album: Behaviour | None
    inline: bytes | None
    code: str | None
    filed: bool


DEAD, GOOD = answer(b"", 404), answer(JPEG)

CASES = {
    "download, sound": Case("download", GOOD, None, None, True),
    "download, no picture behind its URL": Case(
        "download", answer(TRASH), None, "image_pending", False
    ),
    "download, a URL that gives nothing": Case(
        "download", DEAD, None, "image_pending", False
    ),
    "download, an answer that brings a picture": Case(
        "download", None, JPEG, None, True
    ),
    "download, an answer that brings no picture": Case(
        "download", None, TRASH, "image_lost", False
    ),
    "download, an answer with trash and a URL": Case(
        "download", GOOD, TRASH, None, True
    ),
    "inline, sound": Case("inline", None, JPEG, None, True),
    "inline, no picture": Case("inline", None, TRASH, "image_lost", False),
    "inline, a provider that sends URLs all the same": Case(
        "inline", GOOD, None, None, True
    ),
    "inline, a URL that gives nothing": Case(
        "inline", DEAD, None, "image_pending", False
    ),
    "inline, trash and a URL": Case("inline", GOOD, TRASH, None, True),
    "url, sound": Case("url", DEAD, None, None, False),
    "url, a provider that sends pictures all the same": Case(
        "url", None, JPEG, None, True
    ),
    "url, neither a URL nor a picture": Case("url", None, TRASH, "image_lost", False),
    "url, trash and a URL": Case("url", DEAD, TRASH, None, False),
}


@contextmanager
def provided(project: Project, case: Case) -> Iterator[tuple[str, Provider]]:
    """A config in the mode of `case`, and its provider."""
    with FaultyServer(case.album or DEAD) as album:
        body = (
            behind(f"{album.url}/p.jpg", case.inline)
            if case.album
            else inside(case.inline or b"")
        )
        with Provider(body=body) as provider:
            output = {"images": case.mode, "allow_hosts": ["127.0.0.1"]}
            yield configure_run(project, provider.url, ROWS, output=output), provider


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_mode_tells_what_became_of_its_pictures(
    project: Project, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F14: a run whose pictures are gone is no success, however they were to come; the next one has no news."""
    monkeypatch.setattr("pixmill.storage.image_fetcher.IMAGE_BACKOFF", Backoff(0, 0))
    missing = ROWS if case.code else 0
    with provided(project, case) as (config, provider):
        runs = [run_and_check(config, provider.charges) for _ in range(2)]
        with prepare(load_config(config)) as planned:
            assert planned.plan.summary()["images_missing"] == missing
    assert [run.report["exit_code"] for run in runs] == [3 if missing else 0, 0]
    assert [run.report["images_missing"] for run in runs] == [missing, missing]
    assert [run.report["calls"] for run in runs] == [ROWS, 0]
    for run in runs:
        assert run.column("status") == ["succeeded"] * ROWS
        assert run.column("error_code") == [case.code] * ROWS
        assert [name is not None for name in run.column("file_name")] == [
            case.filed
        ] * ROWS
    assert ledger(config, "SELECT DISTINCT state FROM jobs") == [("succeeded",)]


@pytest.mark.parametrize(
    ("mode", "url", "code", "healed"),
    [
        ("download", True, "image_pending", True),
        ("inline", False, "image_lost", False),
        ("inline", True, "image_pending", True),
        ("url", True, None, False),
        ("url", False, "image_lost", False),
    ],
)
def test_a_store_that_takes_nothing_ends_the_paying_and_what_has_a_url_comes_later(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    url: bool,
    code: str | None,
    healed: bool,
) -> None:
    """B2, B20: the one call is recorded; where nothing is wanted of the store, it ends nothing."""
    monkeypatch.setattr("pixmill.execution.image_downloads.TRIES_AGAIN", (0.0,))
    with FaultyServer(GOOD) as album:
        body = behind(f"{album.url}/p.jpg", JPEG if mode == "inline" else None)
        with Provider(body=body if url else inside(JPEG)) as provider:
            config = configure_run(
                project,
                provider.url,
                ROWS,
                output={"images": mode, "allow_hosts": ["127.0.0.1"]},
                limits={"concurrency": 1},
            )
            folder = load_config(config).dataset_folder
            with images_blocked(project):
                if code is None:
                    assert run_config(config)["exit_code"] == 0
                else:
                    with pytest.raises(PixmillError, match="images can't be stored"):
                        run_config(config)
            first = results({"dataset": folder / "dataset.parquet"})[0]
            assert (first["status"], first["error_code"]) == ("succeeded", code)
            charged = len(provider.charges())
            assert (charged == ROWS) if code is None else (1 <= charged < ROWS)
            check_bill(config, provider.charges())
            after = run_and_check(config, provider.charges)
    assert len(provider.charges()) == ROWS
    lost = 1 if code == "image_lost" else 0
    assert (after.report["succeeded"], after.report["images_missing"]) == (ROWS, lost)
    assert (after.rows[0]["file_name"] is not None) is healed
