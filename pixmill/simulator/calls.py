"""An authenticated call, as rules and the service see it."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from pixmill.simulator.responses import new_request_id

Action: TypeAlias = Literal["process", "submit", "poll"]
"""What a call is for: pictures at once, a task that makes them, or what became of a task."""

ACTIONS: Mapping[str, Action] = {
    "CVProcess": "process",
    "CVSync2AsyncSubmitTask": "submit",
    "CVSync2AsyncGetResult": "poll",
}
"""By the name that the query of a call has."""

# Equal requests have equal text, in whatever order and spelling a client writes them.
_canonical = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
).encode


class Call(NamedTuple):
    """An authenticated call."""

    action: Action

    number: int
    """From 1. Polls are counted separately: how many there are depends on time alone."""

    body: Mapping[str, Any]
    """Empty where what came is not a JSON object."""

    key: str
    """The hash of what is asked for."""

    prompt: str
    """As text, whatever was sent; of a poll that of its task."""

    request_id: str

    started: int
    """On the monotonic clock, in nanoseconds."""

    @property
    def req_key(self) -> str:
        """Empty where the body names none."""
        return str(self.body.get("req_key", ""))

    @property
    def elapsed(self) -> int:
        """Nanoseconds since the call came."""
        return time.monotonic_ns() - self.started


def read_call(
    action: Action,
    raw: bytes,
    number: int,
) -> Call:
    """Return the call with the body `raw`, which has just come."""
    started = time.monotonic_ns()
    try:
        body = json.loads(raw)
        asked_for = {
            # How an image comes does not change it.
            name: value
            for name, value in body.items()
            if name != "return_url"
        }
        text = _canonical(asked_for).encode()
    except (ValueError, AttributeError, RecursionError):
        # Not JSON, not an object, or text that is not Unicode.
        body = {}
        text = raw
    return Call(
        action=action,
        number=number,
        body=body,
        key=hashlib.sha256(text).hexdigest(),
        prompt=str(body.get("prompt")),
        request_id=new_request_id(),
        started=started,
    )
