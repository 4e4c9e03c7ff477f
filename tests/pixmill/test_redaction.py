"""What is masked in logs and on terminals, that an event stays one line, and what is left as it is (4.2, 4.9)."""

import base64
import html
import io
import json
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn
from urllib.parse import quote

import pytest
from prefect.logging.formatters import JsonFormatter, PrefectFormatter

from pixmill import redaction
from pixmill.cli.console import echo, print_error, print_json
from pixmill.errors import PixmillError
from pixmill.provider.credentials import Secret
from pixmill.redaction import (
    FIELD_CHARS,
    mask_secrets,
    redact,
    redact_logs,
    remember,
    shown_traceback,
)

KEY = 'sk/canary+0123"456\\789=='
SIGNATURE = "c4n4ry51gn4tur3"
LINE = "2026-01-01 00:00:00 ERROR everything was paid twice"


@pytest.fixture(autouse=True)
def known() -> None:
    """Secrets are known to the process from the moment in which they are made."""
    Secret(KEY)


@pytest.fixture
def log() -> Iterator[Callable[..., str]]:
    """Log to handlers as Prefect formats them, plain and as JSON; returns what they wrote."""
    make = logging.getLogRecordFactory()
    redact_logs()
    logger = logging.getLogger("tests.redaction")
    logger.propagate, logger.level = False, logging.INFO
    written = io.StringIO()
    for formatter in (
        logging.Formatter(),
        PrefectFormatter("%(message)s"),
        JsonFormatter("default", "", "%"),
    ):
        handler = logging.StreamHandler(written)
        handler.setFormatter(formatter)
        logger.addHandler(handler)

    def emit(message: object, *args: object, **options: object) -> str:
        logger.warning(message, *args, **options)  # type: ignore[arg-type]
        return written.getvalue()

    yield emit
    logger.handlers.clear()
    logging.setLogRecordFactory(make)


def fail(error: Exception, cause: Exception | None = None) -> NoReturn:
    raise error from cause


def forms(key: str) -> dict[str, str]:
    """A key in the forms in which programs print it."""
    data = key.encode()
    aligned = {
        f"base64 at {at}": base64.b64encode(b"u:p"[:at] + data + b"more").decode()
        for at in range(3)
    }
    return {
        "plain": key,
        "URL": quote(key, safe=""),
        "URL in lower case": quote(key, safe="").replace("%2F", "%2f"),
        "URL in a URL": quote(quote(key, safe=""), safe=""),
        "JSON": json.dumps(key),
        "JSON with escaped slashes": json.dumps(key).replace("/", "\\/"),
        "JSON in JSON": json.dumps(json.dumps(key)),
        "JSON with code points": "".join(
            char if char.isalnum() else f"\\u{ord(char):04x}" for char in key
        ),
        "HTML": html.escape(key).replace("&quot;", "&#34;"),
        "repr": repr(key),
        "repr of bytes": repr(data),
        "hex": data.hex(),
        "HEX": data.hex().upper(),
        "URL-safe base64": base64.urlsafe_b64encode(data).decode(),
        **aligned,
        "base64 in JSON": json.dumps(aligned["base64 at 1"]).replace("/", "\\/"),
    }


@pytest.mark.parametrize("form", forms(KEY))
def test_a_key_is_masked_in_every_form(form: str) -> None:
    """4.2: of base64 only digits stay that its neighbours decide as well."""
    masked = mask_secrets(f"before {forms(KEY)[form]} after")
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    hidden = masked.replace("***", "").removeprefix("before ").removesuffix(" after")
    assert len(hidden.strip("\"\\'b")) <= len("dTpwbW9yZQ==")


def test_keys_that_begin_alike_are_masked_whole() -> None:
    for key in ("AKLT-alike-0123", "AKLT-alike-0123-longer", "AKLT-alike"):
        remember(key)
    assert mask_secrets("AKLT-alike-0123-longer AKLT-alike-0123") == "*** ***"
    assert mask_secrets("AKLT-alike") == "AKLT-alike", "so short a key may be a word"


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://tos.example.com/a.jpg?x-expires=17&x-signature={SIGNATURE}&w=3 200",
        f'"GET /a.jpg?X-Amz-Credential=AK&X-Amz-Signature={SIGNATURE} HTTP/1.1" 403',
        f"https://e.example/?a=1&amp;Signature={SIGNATURE}'>",
        f'{{"url": "https://e.example/?a=1\\u0026sign={SIGNATURE}"}}',
        f"https://e.example/a?{SIGNATURE[:3]}={SIGNATURE}#top",
        f"sig={SIGNATURE}, token={SIGNATURE}; api_key={SIGNATURE}",
        f"Authorization: Bearer {SIGNATURE}",
        f"authorization: HMAC-SHA256 Credential=AK/20260101/cn, SignedHeaders=host;x-date, Signature={SIGNATURE}",
        f"{{'Authorization': 'Basic {SIGNATURE}', 'Host': 'e.example'}}",
        f"[(b'X-Security-Token', b'{SIGNATURE}')]",
        f"x-amz-security-token: {SIGNATURE}\r\nhost: e.example",
        f"it said: bearer  {SIGNATURE}",
        f"postgresql+psycopg://pixmill:{SIGNATURE}@db.example.com/ledger",
        f"https://user:{SIGNATURE}@{SIGNATURE}@e.example/",
    ],
)
def test_signatures_and_credentials_of_others_are_masked_by_their_place(
    text: str,
) -> None:
    shown = redact(text)
    assert SIGNATURE not in shown
    assert "***" in shown
    for kept in (
        "tos.example.com/a.jpg?x-expires=",
        "HTTP/1.1",
        "Host",
        "db.example.com/ledger",
        "host: e.example",
    ):
        assert (kept in shown) == (kept in text)


@pytest.mark.parametrize(
    "text",
    [
        "the image of job 0123456789ab could not be had: tos.example.com: its answer is 403",
        "unknown code 50999 from the provider: its jobs fail and are not retried",
        "a basic watercolor, bearer of good news; is it? yes = maybe",
        "一只猫 👩‍🎨 nobody@example.com https://e.example/a.jpg#top 3 > 2 & 1 < 2",
    ],
)
def test_other_text_stays_as_it_is(text: str, log: Callable[..., str]) -> None:
    assert redact(text) == text
    assert text in log("%s", text)


def test_a_log_line_holds_no_secret_whoever_formats_it(log: Callable[..., str]) -> None:
    log(
        "refused %s by %s at %r",
        KEY,
        {"authorization": f"Bearer {SIGNATURE}"},
        f"https://e.example/?s={SIGNATURE}",
    )
    log(f"refused {KEY}")
    log(PixmillError(f"refused {KEY}"))
    log("%(key)s", {"key": KEY})
    try:
        fail(RuntimeError(f"https://e.example/?s={SIGNATURE} {KEY}"), KeyError(KEY))
    except RuntimeError as error:
        error.add_note(f"with {KEY}")
        shown = log("ended by an internal error", exc_info=True, stack_info=True)
        assert "KeyError" in shown
        assert "RuntimeError: https://e.example/?s=*** ***" in shown
        assert "with ***" in shown_traceback(error)
    for form in forms(KEY).values():
        assert form not in shown
    assert SIGNATURE not in shown


INJECTED = [
    f"a cat\n{LINE}", f"a cat\r{LINE}", f"a cat\r\n{LINE}", f"a cat\v{LINE}", f"a cat\f{LINE}", f"a cat\x85{LINE}",
    f"a cat\u2028{LINE}", f"a cat\u2029{LINE}", f"a cat\x1c{LINE}", f"\x1b[2K\x1b[1G{LINE}", f"\x9b2K{LINE}",
    "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\", "\x08" * 40 + LINE, "a\0b", "\x7f" * 9,
    "a \u202etxt.exe", "\u2066a\u2069", "\u200bfake", "\ufeff", "\ud83d alone", "\u061c",
]  # fmt: skip


@pytest.mark.parametrize("place", ["argument", "message", "exception"])
def test_text_from_outside_makes_no_line_of_its_own_and_steers_no_terminal(
    place: str, log: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """4.9: prompts, provider messages and file names in the log, each event on one line, all of it readable."""
    assert len(INJECTED) >= 10
    for text in INJECTED:
        before = log("-")
        if place == "exception":
            try:
                fail(ValueError(text))
            except ValueError:
                written = log("failed", exc_info=True).removeprefix(before)
        else:
            args = (text,) if place == "argument" else ()
            written = log("said: %s" if args else f"said: {text}", *args).removeprefix(
                before
            )
        lines = written.splitlines()
        assert not any(line.startswith(LINE) for line in lines)
        assert all(line.isprintable() for line in lines), ascii(text)
        # Of an exception more, with its traceback.
        assert len(lines) > 3 if place == "exception" else len(lines) == 3
        written.encode()
    if place == "message":
        for text in INJECTED:
            echo(f"row {text}")
            print_error(
                PixmillError(text.replace("\n", ""), hint=text.replace("\n", ""))
            )
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3 * len(INJECTED)
        assert all(line.isprintable() for line in lines)


def test_a_long_text_is_cut_after_it_was_redacted(log: Callable[..., str]) -> None:
    """4.9: no half of a key is left at the cut."""
    for before in range(FIELD_CHARS - len(KEY), FIELD_CHARS + 1):
        written = log("%s", "a" * before + KEY + "b" * 10_000)
        assert KEY[: len(KEY) // 2] not in written
    assert max(map(len, written.splitlines())) < 2 * FIELD_CHARS + 1000


def test_a_mistake_in_a_log_call_shows_no_argument(
    log: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "canary" not in log("%d pictures", KEY) + capsys.readouterr().err
    assert "%d pictures" in log("-")


def test_the_terminal_shows_no_key_and_json_means_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    echo(f"refused {KEY} at https://e.example/?sign={SIGNATURE}")
    print_error(
        PixmillError(f"refused {KEY}", hint=f"see https://e.example/?sign={SIGNATURE}")
    )
    value = {
        "reason": "".join(INJECTED[:-2]),
        "url": f"https://e.example/?sign={SIGNATURE}",
    }
    print_json({**value, "key": KEY})
    out, err = capsys.readouterr()
    assert "canary" not in out + err
    assert SIGNATURE not in err
    assert json.loads(out) == {**value, "key": "***"}
    assert out.removesuffix("\n").isprintable()


def test_keys_of_the_environment_are_masked_from_the_start(
    monkeypatch: pytest.MonkeyPatch, log: Callable[..., str]
) -> None:
    """4.2: Prefect prints environments at DEBUG."""
    names = (
        "VOLC_SECRETKEY",
        "VOLC_SESSION_TOKEN",
        "PREFECT_API_KEY",
        "PREFECT_SERVER_API_AUTH_STRING",
        "DB_PASSWORD",
    )
    for name in names:
        monkeypatch.setenv(name, f"canary-of-{name}")
    monkeypatch.setenv("HOMEPAGE", "canary-of-nobody")
    redact_logs()
    assert log({name: f"canary-of-{name}" for name in names}).count("canary") == 0
    assert "canary-of-nobody" in log("canary-of-nobody")


@pytest.mark.usefixtures("log")
def test_asking_twice_cleans_once() -> None:
    cleaning = logging.getLogRecordFactory()
    redact_logs()
    assert logging.getLogRecordFactory() is cleaning


def test_the_keys_that_are_looked_for_can_not_be_printed() -> None:
    found = [
        value
        for name, value in vars(redaction).items()
        if name not in ("__builtins__",)
    ]
    assert KEY not in repr(found)
    holders = [value for value in found if type(value).__module__ == redaction.__name__]
    assert holders
    for holder in holders:
        assert not hasattr(holder, "__dict__")
        with pytest.raises(TypeError):
            pickle.dumps(holder)


@pytest.mark.parametrize(
    "text",
    [
        "a-",
        "http://",
        "://",
        "?a=",
        "x-a-a-",
        "authorization:",
        "bearer ",
        "@",
        "\\u0026",
    ],
)
def test_hostile_text_is_searched_in_time(text: str) -> None:
    """A pattern that goes over a text again and again takes minutes for these."""
    assert len(redact(text * (50_000 // len(text)))) < sys.maxsize


@pytest.mark.parametrize(
    "text",
    [
        "out?x=1/simulated/pets/dataset.parquet",
        "wrote 6 rows to /data/out?x=1&y=2/pets.csv",
        "store: is a file; a store is a folder (got 'out?x=1')",
        "next: pixmill status '../what?now=later/pets.yaml'",
        "is it a or b?c=d",
    ],
)
def test_a_question_mark_in_the_name_of_a_file_hides_nothing(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "https://h.example.com/a.jpg?x=hidden&y=hidden",
        "GET /a.jpg?x=hidden HTTP/1.1",
        '127.0.0.1:5000 - "GET /a?x=hidden&amp;y=hidden HTTP/1.1" 200',
        "Max retries exceeded with url: /a.jpg?x=hidden",
        "h.example.com/a.jpg?x=hidden",
        "https:\\/\\/h.example.com\\/a.jpg?x=hidden\\u0026y=hidden",
        "https%3A%2F%2Fh.example.com%2Fa?x=hidden",
        "…cut/a.jpg?x=hidden",
        "out?token=hidden",
        "/data/out?X-Tos-Signature=hidden",
        "https://h.example.com/" + "a" * 5000 + "?x=hidden",
    ],
)
def test_the_query_of_a_url_is_masked_however_the_url_is_written(text: str) -> None:
    assert "hidden" not in redact(text)
