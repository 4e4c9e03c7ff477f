"""`output.images: inline`: the picture comes in the paid answer, so that there is no URL to lose."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from pixmill.errors import PixmillError
from tests.conftest import Project, Simulated, run_config
from tests.pixmill.run_checks import (
    Provider,
    configure_run,
    images_blocked,
    ledger,
    run_and_check,
    simulator_charges,
)


def test_the_picture_comes_with_the_answer_and_is_stored_with_it(
    simulated: Simulated, project: Project
) -> None:
    """F1: nothing is fetched; one row is one call and one file."""
    config = configure_run(project, simulated.url, 3, output={"images": "inline"})
    run = run_and_check(config, simulator_charges(simulated))
    assert (run.report["exit_code"], run.report["images_missing"]) == (0, 0)
    assert run.column("output_url") == [None] * 3
    for row in run.rows:
        assert json.loads(row["params"])["return_url"] is False
        data = (Path(project.config["store"]) / row["file_name"]).read_bytes()
        assert sha256(data).hexdigest() == row["images"][0]["sha256"]
    assert ledger(
        config,
        "SELECT count(*) FROM jobs WHERE images IS NOT NULL AND output_urls IS NULL",
    ) == [(3,)]


def test_how_a_picture_comes_does_not_change_what_was_asked_for(
    simulated: Simulated, project: Project
) -> None:
    """I3f: a config that changes over to inline pays nothing for what it has."""
    config = configure_run(
        project,
        simulated.url,
        3,
        output={"images": "download", "allow_hosts": ["127.0.0.1"]},
    )
    keys = run_and_check(config, simulator_charges(simulated)).column("job_key")
    inline = run_and_check(
        project.write_config(output={"images": "inline"}), simulator_charges(simulated)
    )
    assert (inline.report["calls"], inline.report["cached"]) == (0, 3)
    assert inline.column("job_key") == keys


def test_an_operation_that_pixmill_does_not_know_is_asked_for_pictures_too(
    project: Project,
) -> None:
    request = {"req_key": "some_new_key", "params": {"width": 512}}
    with Provider() as provider:
        run_and_check(
            configure_run(
                project, provider.url, 1, output={"images": "inline"}, request=request
            ),
            provider.charges,
        )
        (sent,) = provider.requests
    assert (
        json.loads(sent.partition(b"\r\n\r\n")[2]).items()
        >= {"return_url": False, "width": 512}.items()
    )


def test_a_picture_that_can_not_be_stored_is_paid_and_lost(
    simulated: Simulated, project: Project
) -> None:
    """B2: the answer is recorded all the same, nothing more is paid, and the row says what is missing."""
    config = configure_run(
        project,
        simulated.url,
        8,
        output={"images": "inline"},
        limits={"concurrency": 1},
    )
    with (
        images_blocked(project),
        pytest.raises(PixmillError, match="images can't be stored"),
    ):
        run_config(config)
    assert simulated.bill.charged == 1
    assert ledger(config, "SELECT state, image_error FROM jobs") == [
        ("succeeded", "image_lost")
    ]
