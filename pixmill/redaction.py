"""Keeps keys and signatures out of logs and off terminals, and every event on one line.

Keys that this process holds are known by value: `remember` takes them in, and they are found as
they are, escaped (in URLs, JSON and HTML), in hex and in base64. What lets somebody in without
being known is found by where it stands: in the query of a URL, before its host, in a header.
"""

import base64
import json
import logging
import os
import re
import textwrap
import threading
import traceback
from collections.abc import Callable

MASK = "***"
SHORTEST = 12
"""Characters. Shorter keys are made up for a simulator, and may be words that a text holds anyway.
"""

FIELD_CHARS = 2048
"""What is shown of a log message, and of a line of a traceback."""

_SECRET_VARIABLES = re.compile(r"(KEY|SECRET|TOKEN|PASSWORD|AUTH_STRING)$")
_NAMES = (
    "signature",
    "sign",
    "sig",
    "token",
    "credential",
    "secret",
    "password",
    "key",
    "accesskeyid",
)
_CREDENTIALS = (
    # Authorization: HMAC-SHA256 Credential=…, also as a dict or a list of pairs is printed
    re.compile(
        r"(?i)((?:authorization|cookie|x-(?:[a-z]{1,20}-){0,3}(?:token|signature|key))"
        r"(?:b?['\"]\s{0,3}[:,]\s{0,3}b?['\"]|\s{0,3}:\s{0,3}))[^'\"\r\n]+"
    ),
    re.compile(r"(?i)(\b(?:bearer|basic)\s{1,3})(?=\S{0,200}\d)[\w.~+/=-]{8,}"),
    # Begins with its rarest character, as a search that begins with many names is slow.
    re.compile(
        rf"(?i)(=)(?:{'|'.join(f'(?<={name}=)' for name in _NAMES)})[^&\s'\"<>,]+"
    ),
    re.compile(r"(://)[^\s/'\"<>?#]{1,512}(?=@)"),
)
_QUERY = re.compile(r"((?:[?&]|&amp;|\\u0026)[\w.%~\[\]-]{1,64}=)[^&\s'\"<>#]+")
_ADDRESS = re.compile(
    r"(?i):(?://|\\/\\/|%2f%2f)|%3a%2f%2f|^[\w-]+(?:\.[\w-]+)+(?::\d+)?/|^…"
)
"""What stands before the query of a URL, which may be escaped or cut, and never before a `?` in the
name of a file.
"""

_REQUEST = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|(?i:url):)\s{1,3}$")
_ENDS = " \t\n\r'\"<>("
_ADDRESS_CHARS = 4096
"""How far before a query its URL is looked for."""

_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
)
"""C0 and C1 controls, ESC among them, but for tab and line feed; what turns the direction of text;
lone surrogates.
"""
_CONTROLS = re.compile(f"[{_INVISIBLE}]")
_CONTROLS_AND_BREAKS = re.compile(f"[\t\n{_INVISIBLE}]")


class _Keys:
    """The keys to look for.

    Nothing prints them: the one pattern that matches them all is made when it is needed.
    """

    __slots__ = ("_lock", "_pattern", "_values")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        with self._lock:
            if value not in self._values:
                self._values.add(value)
                self._pattern = None

    def mask(self, text: str) -> str:
        with self._lock:
            if not self._values:
                return text
            if self._pattern is None:
                # Or of a key that begins another the rest would be left to be read.
                longest_first = sorted(
                    self._values, key=lambda value: (-len(value), value)
                )
                self._pattern = re.compile(
                    "|".join(form for value in longest_first for form in _forms(value))
                )
            pattern = self._pattern
        return pattern.sub(MASK, text)


_keys = _Keys()


def remember(key: str) -> None:
    """Let `key` be masked from now on, unless it is too short to be one."""
    if len(key) >= SHORTEST:
        _keys.add(key)


def mask_secrets(text: str) -> str:
    """Return `text` with every key that this process holds masked, in whatever form it stands
    there.
    """
    return _keys.mask(text)


def redact(text: str) -> str:
    """Return `text` without keys, credentials and signatures: values in the query of a URL are
    masked, names stay.
    """
    text = mask_secrets(text)
    for pattern in _CREDENTIALS:
        text = pattern.sub(rf"\1{MASK}", text)
    parts = []
    end = 0
    is_address = False
    for found in _QUERY.finditer(text):
        # What follows at once on a query belongs to it.
        if not end or found.start() != end:
            at = found.start()
            first = max(0, at - _ADDRESS_CHARS)
            begins = max(text.rfind(mark, first, at) for mark in _ENDS) + 1
            if not begins and first:
                # Its beginning is too far back to be seen: better mask a file's name than show a key.
                is_address = True
            else:
                before = text[begins:at]
                is_target = before.startswith("/") and _REQUEST.search(
                    text[max(0, begins - 12) : begins]
                )
                is_address = bool(_ADDRESS.search(before) or is_target)
        parts += [
            text[end : found.start()],
            found[1] + MASK if is_address else found[0],
        ]
        end = found.end()
    return "".join([*parts, text[end:]])


def escape_control_chars(text: str) -> str:
    """Return `text` with control, direction and other invisible characters escaped, but for line
    feed and tab.
    """
    return _CONTROLS.sub(_escape, text)


def single_line(text: str) -> str:
    """Return `text` as one line that shows all its characters."""
    return _CONTROLS_AND_BREAKS.sub(_escape, text)


def visible_json(text: str) -> str:
    """Return the JSON `text` with characters that don't show written as JSON escapes: it means the
    same.
    """
    return _CONTROLS.sub(
        lambda found: json.dumps(found[0], allow_nan=False)[1:-1], text
    )


def shown_traceback(error: BaseException | None) -> str:
    """Return the traceback of `error` and its causes, redacted, each line cut to `FIELD_CHARS`."""
    text = escape_control_chars(redact("".join(traceback.format_exception(error))))
    return "\n".join(map(_cut, text.rstrip("\n").split("\n")))


def redact_logs() -> None:
    """Redact every log record of this process from now on, whoever logs and wherever it goes.

    Records are cleaned where they are made: handlers come and go, Prefect's among them, and some
    loggers don't propagate. Keys in the environment are remembered, as Prefect prints the
    environment in places.
    """
    for name, value in os.environ.items():
        if _SECRET_VARIABLES.search(name):
            remember(value)
    make = logging.getLogRecordFactory()
    if not isinstance(make, _CleanRecords):
        logging.setLogRecordFactory(_CleanRecords(make))


class _CleanRecords:
    """Makes log records that hold no secret and take one line, with a traceback that can't be taken
    for another.
    """

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: object, **options: object) -> logging.LogRecord:
        record = self._make(*args, **options)
        try:
            said = record.getMessage()
        except Exception:
            # A mistake in the caller's format, of which a handler would complain with all arguments.
            record.args = ()
            said = str(record.msg)
        shown = _cut(single_line(redact(said)))
        if shown != said:
            record.msg = shown
            record.args = ()
        if record.exc_info:
            record.exc_text = _aside(shown_traceback(record.exc_info[1]))
            # Or a formatter would print it anew.
            record.exc_info = None
        if record.stack_info:
            record.stack_info = _aside(escape_control_chars(redact(record.stack_info)))
        return record


def _aside(text: str) -> str:
    return textwrap.indent(text, "  | ", lambda _: True)


def _cut(text: str) -> str:
    more = len(text) - FIELD_CHARS
    return f"{text[:FIELD_CHARS]}… ({more:,} more characters)" if more > 0 else text


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _forms(value: str) -> list[str]:
    data = value.encode()
    return [
        "".join(map(_any_escape, value)),
        f"(?i:{data.hex()})",
        *(_in_base64(data, at) for at in range(3)),
    ]


def _any_escape(character: str) -> str:
    """A pattern for a character as it is or as URLs, JSON, HTML and reprs escape it; letters and
    digits never are.
    """
    if character.isalnum():
        return character
    code = ord(character)
    plain = rf"\\*{re.escape(character)}"
    escaped = (
        rf"%(?:25)?{code:02x}|\\+u{code:04x}|\\+x{code:02x}|&#{code};|&#x{code:x};"
    )
    return f"(?i:{plain}|{escaped})"


def _in_base64(data: bytes, before: int) -> str:
    """A pattern for the base64 digits that `data` alone decides, `before` bytes into a group of
    three.
    """
    digits = base64.b64encode(bytes(before) + data).decode()
    own = digits[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
    return own.replace("+", r"(?:[+-]|%2[bB])").replace("/", r"(?:\\*/|_|%2[fF])")
