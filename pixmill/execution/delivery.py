"""Delivers messages through Apprise to the targets whose URLs are in environment variables."""

import logging
import os
import re
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pixmill.config.model import Config
from pixmill.errors import ConfigError
from pixmill.provider.credentials import Secret
from pixmill.redaction import redact, redact_logs, remember, single_line
from pixmill.threads import start_thread

if TYPE_CHECKING:
    from apprise import Apprise

log = logging.getLogger(__name__)

_SHEET_NAME = "contact-sheet.jpg"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_PARTS = re.compile(r"[/:@?&=,\s]+")


class Message(NamedTuple):
    """What is delivered."""

    title: str
    body: str

    is_problem: bool
    """Services that have colours or sounds for it use them."""

    sheet: bytes | None = None
    """A JPEG to go with it."""


class Target(NamedTuple):
    """Where messages go."""

    name: str
    """The environment variable with its URL."""

    url: Secret


class Delivery(NamedTuple):
    """What came of a message to one target."""

    name: str

    service: str = ""
    """What Apprise calls it, such as `Slack`."""

    problem: str = ""
    """Why it was not delivered, empty where it was."""


def find_targets(config: Config) -> list[Target]:
    """Return the targets of a config.

    Raises ConfigError for variables that are not set or hold no URL, which it does not repeat.
    """
    targets = []
    problems = []
    for name in config.notify.to:
        url = os.environ.get(name, "").strip()
        if not url:
            problems.append(f"the environment variable {name} is not set")
        elif not _URL.fullmatch(url):
            problems.append(f"the environment variable {name} does not hold a URL")
        else:
            # Whatever says them later, no log has the URL or the passwords and tokens in it.
            for part in _PARTS.split(url):
                remember(part)
            targets.append(Target(name, Secret(url)))
    if problems:
        raise ConfigError(
            f"notify.to: {'; '.join(problems)}",
            hint="set it to an Apprise URL such as mailtos://user:password@example.com or "
            "slack://…; --set notify.to=[] runs without notifications",
        )
    return targets


def check_targets(config: Config) -> None:
    """Look at the start of a run whether its messages can be sent; warn of URLs that mean nothing to Apprise.

    Raises ConfigError as `find_targets` does.
    """
    # Who would never hear of a failure should not find that out on the night of the failure.
    for target in find_targets(config):
        problem = check_target(target).problem
        if problem:
            log.warning(
                "%s will not be notified of this run: %s; `pixmill notify CONFIG --test` "
                "tries it out",
                target.name,
                problem,
            )


def deliver(
    message: Message, targets: Sequence[Target], seconds: float
) -> list[Delivery]:
    """Deliver a message to all targets at once; return after `seconds` with what came of each."""
    # urllib3 logs the path of an address at level DEBUG, which is where many have their token.
    redact_logs()
    late = f"no answer within {seconds:.0f} s"
    results: dict[str, Delivery] = {}
    threads = []
    until = time.monotonic() + seconds
    for target in targets:
        # One after the other, as Apprise loads its services with the first.
        checked = check_target(target)
        results[target.name] = checked
        if not checked.problem:
            results[target.name] = checked._replace(problem=late)
            send = partial(_deliver_one, message, target, checked, results)
            threads.append(start_thread(send, "pixmill-notify-one"))
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return [results[target.name] for target in targets]


def check_target(target: Target) -> Delivery:
    """Return whether Apprise knows what a target's URL means, without sending anything."""
    services = _open(target)
    if not services:
        problem = "its URL is not one that Apprise understands"
        return Delivery(target.name, problem=problem)
    return Delivery(target.name, str(services[0].service_name))


def _deliver_one(
    message: Message,
    target: Target,
    checked: Delivery,
    results: dict[str, Delivery],
) -> None:
    try:
        problem = _send(message, target)
    except Exception as error:
        # The plugins of services raise whatever they meet.
        problem = type(error).__name__
    results[target.name] = checked._replace(problem=problem)


def _send(message: Message, target: Target) -> str:
    """Send a message and return why it was not taken, empty where it was."""
    from apprise import NotifyFormat, NotifyType
    from apprise.attachment.memory import AttachMemory

    attached = []
    if message.sheet is not None:
        sheet = AttachMemory(  # type: ignore[no-untyped-call]
            message.sheet, name=_SHEET_NAME, mimetype="image/jpeg"
        )
        attached.append(sheet)
    said = _LastWarning()
    log = logging.getLogger("apprise")
    log.addHandler(said)
    try:
        is_sent = _open(target).notify(
            body=message.body,
            title=message.title,
            notify_type=NotifyType.WARNING
            if message.is_problem
            else NotifyType.SUCCESS,
            # Services that show HTML or Markdown escape what is in it.
            body_format=NotifyFormat.TEXT,
            attach=attached or None,
        )
    finally:
        log.removeHandler(said)
    if is_sent:
        return ""
    return said.text or "the service did not take it"


def _open(target: Target) -> "Apprise":
    """Return Apprise for one target; it has no service where the URL means nothing to it."""
    import apprise

    # Its warnings name addresses, and without a handler of ours they would go to stderr.
    logging.getLogger("apprise").propagate = False
    asset = apprise.AppriseAsset(
        app_id="pixmill",
        app_desc="pixmill",
        app_url="",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
    )
    services = apprise.Apprise(asset=asset)
    services.add(target.url.reveal())
    return services


class _LastWarning(logging.Handler):
    """Keeps what Apprise said last of why a message was not taken, without secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        # Other threads send to other targets, through the same logger.
        if record.thread == self._thread:
            self.text = single_line(redact(record.getMessage()))
