"""Who did not watch a run hears of it: messages as Apprise posts them, to a real server."""

import base64
import io
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from PIL import Image

import pixmill
from pixmill.config.loading import load_config
from pixmill.errors import ConfigError, RunWarning, SpendingRefused
from pixmill.execution import notification
from pixmill.execution.notification import BrokenOff, notify
from pixmill.execution.prepare import prepare_flow_run
from tests.conftest import Project, Simulated, pay_for_chunks, simulator
from tests.faulty_server import FaultyServer, Peer
from tests.real_command import Command

# Apprise imports what Python 3.13 no longer has, where it is there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")

PASSWORD = "s3cret-p4ssword"
TOKEN = "Tq7vXk29LmNp"


class Inbox:
    """A service that takes messages, as JSON by POST, and answers each with `status`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.messages.append(json.loads(body))
                self.send_response(inbox.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        port = self.server.server_address[1]
        return f"json://someone:{PASSWORD}@127.0.0.1:{port}/{TOKEN}"


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    # What is logged is redacted from the first message on: only for this test.
    monkeypatch.setattr(logging, "_logRecordFactory", logging.getLogRecordFactory())
    with Inbox() as inbox:
        monkeypatch.setenv("TEAM_CHAT", inbox.url)
        yield inbox


def run_unattended(config: str, *overrides: str, new_store: bool = False) -> None:
    """Run a config as a flow does that plans by itself."""
    with prepare_flow_run(config, overrides, new_store=new_store) as prepared:
        run = prepared.start()
        pay_for_chunks(run)
        run.finish()


@pytest.fixture
def faulty(project: Project) -> Iterator[Simulated]:
    """A provider that refuses two of the project's eight rows."""
    faults = project.folder / "faults.yaml"
    faults.write_text(
        "- {prompt: pet 1, code: 50412}\n- {prompt: pet 2, code: 50412}\n"
    )
    with simulator(project.folder, "--faults", str(faults)) as running:
        project.write_rows(project.rows(8))
        project.use_simulator(running)
        project.write_config(
            input={"row_key": ["id"]},
            budget={"price_per_call": 0.2},
            notify={"to": ["TEAM_CHAT"]},
        )
        yield running


def test_one_message_a_run_says_what_was_made_what_it_cost_and_what_went_wrong(
    project: Project, faulty: Simulated, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts, money, codes, pictures and the next command; and no secret is logged."""
    caplog.set_level(logging.DEBUG)
    run_unattended(project.path, new_store=True)
    (message,) = inbox.messages
    assert message["title"] == "pets: finished with new problems: 2 refused"
    assert message["type"] == "warning"
    counts, calls, cost, month, code, *where = message["message"].splitlines()
    assert counts == "jobs: 6 of 8 jobs succeeded, 2 refused"
    assert calls.startswith("calls: 8 in ")
    assert cost == "cost: 1.20 CNY"
    assert month == "this month so far: 1.20 CNY"
    assert code == "2 jobs with 50412: moderation: the prompt"
    assert f"next: pixmill status {project.path}" in where
    assert str(Path.cwd()) in where[-1]
    (attached,) = message["attachments"]
    assert attached["filename"] == "contact-sheet.jpg"
    sheet = Image.open(io.BytesIO(base64.b64decode(attached["base64"])))
    assert sheet.format == "JPEG"
    # Six pictures in lines of four.
    assert sheet.width > sheet.height
    assert not [text for text in (PASSWORD, TOKEN) if text in caplog.text]
    # Nothing is new in the second run, and that is no problem.
    run_unattended(project.path)
    assert len(inbox.messages) == 1
    run_unattended(project.path, "notify.on=[always]")
    assert inbox.messages[1]["title"] == "pets: finished"
    assert inbox.messages[1]["type"] == "success"
    assert not inbox.messages[1]["attachments"]


def test_a_table_that_lost_rows_and_their_pictures_is_a_problem_although_the_run_finished(
    project: Project, simulated: Simulated, inbox: Inbox
) -> None:
    project.write_rows(project.rows(8))
    project.use_simulator(simulated)
    project.write_config(input={"row_key": ["id"]}, notify={"to": ["TEAM_CHAT"]})
    run_unattended(project.path, new_store=True)
    assert not inbox.messages
    # An export that broke off; a gate would have kept the dataset as it is.
    project.write_rows(project.rows(3))
    words = "the dataset has 3 images where it had 8, as its table has 3 rows where it had 8"
    gate = {"gate": ["count(status == 'succeeded') >= 0.9 * previous"]}
    with pytest.warns(RunWarning, match=r"refused by quality\.gate"):
        pixmill.run(project.path, quality=gate)
    assert words not in inbox.messages.pop()["title"]
    results = pixmill.run(project.path)
    assert results.exit_code == 0
    assert f"  warning: {words}" in repr(results)
    (message,) = inbox.messages
    assert message["title"] == f"pets: finished, but {words}"
    assert message["type"] == "warning"
    assert f"warning: {words}\n" in message["message"]
    # It is said once: the next run has as many rows.
    run_unattended(project.path)
    assert len(inbox.messages) == 1
    # Fewer rows that take no picture with them are no problem, as more rows are none.
    project.write_rows(project.rows(9))
    run_unattended(project.path)
    assert len(inbox.messages) == 1


def test_a_run_that_may_not_begin_is_a_message_too(
    project: Project, faulty: Simulated, inbox: Inbox
) -> None:
    """A nightly run whose store is gone pays nothing, and somebody hears of it."""
    with pytest.raises(SpendingRefused):
        run_unattended(project.path)
    (message,) = inbox.messages
    assert message["title"].startswith("pets: there is no ledger")
    assert "--new-store" in message["message"]
    assert f"next: pixmill plan {project.path}" in message["message"]
    assert faulty.bill.calls == 0


def test_wrong_overrides_of_a_flow_are_a_message_where_the_config_says_to_whom(
    project: Project, inbox: Inbox
) -> None:
    """A schedule whose parameters hold a typing error would fail each night, and nobody hear of it."""
    project.write_rows(project.rows(1))
    project.write_config(notify={"to": ["TEAM_CHAT"]})
    with pytest.raises(ConfigError):
        run_unattended(project.path, "request.prompt={text}, at dawn")
    (message,) = inbox.messages
    assert message["title"].startswith("pets (simulated): ")
    assert "request.prompt={text}" in message["title"] + message["message"]
    project.write_config(notify={"to": ["TEAM_CHAT"], "on": []})
    with pytest.raises(ConfigError):
        run_unattended(project.path, "request.promt=x")
    Path(project.path).write_text("nothing: [")
    with pytest.raises(ConfigError):
        run_unattended(project.path, "request.promt=x")
    assert len(inbox.messages) == 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "the environment variable TEAM_CHAT is not set"),
        (TOKEN, "the environment variable TEAM_CHAT does not hold a URL"),
    ],
)
def test_a_target_that_is_not_set_is_a_mistake_before_anything_is_paid(
    project: Project,
    faulty: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    value: str | None,
    said: str,
) -> None:
    monkeypatch.delenv("TEAM_CHAT", raising=False)
    if value:
        monkeypatch.setenv("TEAM_CHAT", value)
    with pytest.raises(ConfigError, match=said) as raised:
        run_unattended(project.path, new_store=True)
    assert TOKEN not in str(raised.value)
    assert faulty.bill.calls == 0


def test_a_target_that_is_not_set_is_a_mistake_also_where_nothing_is_to_pay(
    project: Project,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    pixmill: Command,
) -> None:
    """The night on which something fails must not be the first that needs the variable."""
    project.write_rows(project.rows(2))
    project.write_config(notify={"to": ["TEAM_CHAT"]})
    run_unattended(project.path, new_store=True)
    monkeypatch.setenv("TEAM_CHAT", "nonsense://nobody")
    run_unattended(project.path)
    assert (
        "TEAM_CHAT will not be notified of this run: its URL is not one" in caplog.text
    )
    monkeypatch.delenv("TEAM_CHAT")
    said = "the environment variable TEAM_CHAT is not set"
    with pytest.raises(ConfigError, match=said):
        run_unattended(project.path)
    by_hand = pixmill("run", project.path)
    assert by_hand.exit_code == 2
    assert said in by_hand.stderr
    # Nothing is sent by these, so that they need no target.
    assert pixmill("verify", project.path).exit_code == 0
    assert pixmill("repair", project.path).exit_code == 0


def test_a_service_that_hangs_or_refuses_changes_nothing_of_a_run(
    project: Project,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each target is waited for by itself, so that one that hangs keeps nothing from the others."""
    monkeypatch.setattr(notification, "SEND_SECONDS", 3.0)
    config = load_config(
        project.write_config(notify={"to": ["HANGS", "BROKEN", "TEAM_CHAT"]})
    )
    error = BrokenOff(ConfigError("nothing is right"), "pixmill plan pets.yaml")
    monkeypatch.setenv("BROKEN", "nonsense://nobody")
    with FaultyServer(Peer.wait) as server:
        address = server.url.removeprefix("http://")
        monkeypatch.setenv("HANGS", f"json://{address}/{TOKEN}?rto=60")
        hangs, broken, works = notify(config, error)
    assert hangs.problem
    assert broken.problem == "its URL is not one that Apprise understands"
    assert not works.problem
    assert inbox.messages[0]["title"] == "pets (simulated): nothing is right"
    assert "HANGS was not notified of this run" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.slow
def test_the_command_tells_who_was_notified_and_tries_targets_out(
    project: Project,
    faulty: Simulated,
    inbox: Inbox,
    monkeypatch: pytest.MonkeyPatch,
    quick: Command,
    pixmill: Command,
) -> None:
    """`pixmill run` by cron sends what a flow sends, and `pixmill notify` says who would hear of it."""
    ran = quick("run", project.path, "--yes", "--new-store", "--json")
    assert ran.exit_code == 3
    assert ran.report["refused"] == 2
    assert "notified: TEAM_CHAT (JSON)" in ran.stderr
    assert len(inbox.messages) == 1
    # Lost: the next night's run is refused, which is worth a message.
    (project.folder / "out" / "ledger.db").unlink()
    refused = pixmill("run", project.path, "--yes")
    assert (refused.exit_code, len(inbox.messages)) == (2, 2)
    project.write_config(notify={"to": ["TEAM_CHAT", "CLOSED"]})
    with Inbox() as closed:
        closed.status = 403
        monkeypatch.setenv("CLOSED", closed.url)
        tested = pixmill("notify", project.path, "--test", "--json")
    assert tested.exit_code == 3
    works, fails = tested.report["targets"]
    assert works == {"name": "TEAM_CHAT", "service": "JSON", "problem": ""}
    assert "403" in fails["problem"]
    assert inbox.messages[2]["title"] == "pets: test message"
    for shown in (ran, refused, tested):
        assert PASSWORD not in shown.stdout + shown.stderr
        assert TOKEN not in shown.stdout + shown.stderr


def test_without_a_test_the_command_says_who_would_be_notified(
    project: Project, inbox: Inbox, pixmill: Command
) -> None:
    project.write_config(notify={"to": ["TEAM_CHAT"], "on": ["always"]})
    checked = pixmill("notify", project.path)
    assert (checked.exit_code, inbox.messages) == (0, [])
    assert checked.stderr.splitlines() == [
        "TEAM_CHAT (JSON): set",
        "after runs of any kind; --test sends each a message",
    ]
    nobody = pixmill("notify", project.path, "--set", "notify.to=[]")
    assert nobody.exit_code == 2
    assert "names nobody to notify" in nobody.stderr


def test_a_run_from_python_notifies_as_the_command_does(
    project: Project, faulty: Simulated, inbox: Inbox
) -> None:
    with pytest.warns(RunWarning, match="2 refused"):
        results = pixmill.run(project.path, new_store=True)
    (message,) = inbox.messages
    assert message["title"] == "pets: finished with new problems: 2 refused"
    assert f"next: pixmill status {results.config_file}" in message["message"]


def test_after_a_refused_dataset_the_next_command_shows_it(
    project: Project, faulty: Simulated, inbox: Inbox
) -> None:
    quality = {"gate": ["count(status == 'succeeded') == rows"]}
    with pytest.warns(RunWarning, match=r"refused by quality\.gate"):
        results = pixmill.run(project.path, new_store=True, quality=quality)
    (message,) = inbox.messages
    assert f"next: pixmill publish {results.config_file}" in message["message"]
    assert load_config(results.config_file).quality.gate == tuple(quality["gate"])


def test_a_run_from_python_that_may_not_begin_is_a_message_too(
    project: Project, faulty: Simulated, inbox: Inbox
) -> None:
    with pytest.raises(SpendingRefused):
        pixmill.run(project.path)
    (message,) = inbox.messages
    assert message["title"].startswith("pets: there is no ledger")
    assert "next: pixmill.plan(…) with the arguments" in message["message"]
    assert faulty.bill.calls == 0
