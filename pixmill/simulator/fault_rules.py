"""Which calls a rule of a faults file meets: by number, by time, by prompt, or by lot.

The lot is drawn from a hash, so that a rehearsal is the same every time.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pixmill.simulator.calls import Action

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")


class Occasion(NamedTuple):
    """A call as rules see it."""

    number: int
    """From 1, since the server started."""

    prompt: str = ""

    key: str = ""
    """The hash of what is asked for."""

    action: Action = "process"

    second: float = 0.0
    """Seconds since the first call."""

    repeat: int = 0
    """How many earlier calls asked for the same."""


class Span(NamedTuple):
    """A range of call numbers or of seconds, ends included."""

    begin: float = 0
    end: float = float("inf")

    def covers(self, value: float) -> bool:
        """Whether `value` is in the span."""
        return self.begin <= value <= self.end


EVER = Span()


def _read_span(
    read: Callable[[str], float],
    value: Any,
) -> Span:
    """Return the span that `3`, `3-5` or `3-` says; ValueError where it says none."""
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    begin = read(first)
    if last:
        end = read(last)
    elif dash:
        end = float("inf")
    else:
        end = begin
    if end < begin:
        raise ValueError("ends before it starts")
    return Span(begin, end)


def _read_calls(value: Any) -> Span:
    def read(text: str) -> float:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(
                "must be a call number from 1, a range like 3-5, "
                "or 3- for all from the third"
            )
        return int(text)

    return _read_span(read, value)


def _read_times(value: Any) -> Span:
    def read(text: str) -> float:
        found = _TIME.fullmatch(text)
        # A moment alone meets no call.
        if not found or "-" not in str(value):
            raise ValueError(
                "must be a span of time since the first call: 30s-90s, 1m-5m, "
                "or 30s- for all after it"
            )
        return float(found[1]) * _SECONDS[found[2]]

    return _read_span(read, value)


class When(BaseModel):
    """A part of a server's life."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    calls: Annotated[Span, BeforeValidator(_read_calls)] = EVER
    """By the numbers of the calls, from 1."""

    between: Annotated[Span, BeforeValidator(_read_times)] = EVER
    """In seconds since the first call."""

    def covers(self, call: Occasion) -> bool:
        """Whether the call comes in this part."""
        return self.calls.covers(call.number) and self.between.covers(call.second)


class Which(When):
    """The calls that a rule meets."""

    action: Action | None = None
    """What the calls are for; without, any but polls."""

    prompt: str | None = None
    """A part of the prompt."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """How many of those that fit are drawn, 0 to 1."""

    sticky: bool = False
    """Whether a job that meets the rule meets it again in every call."""

    times: Annotated[int, Field(ge=1)] | None = None
    """The most calls that meet the rule."""

    @model_validator(mode="after")
    def _sticky_needs_a_share(self) -> Self:
        if self.sticky and self.share is None:
            raise ValueError("sticky says how a share is drawn: name the share")
        return self

    def fits(
        self,
        call: Occasion,
        lot: str,
    ) -> bool:
        """Whether the rule is about this call; `lot` differs between rules and seeds."""
        if not self.covers(call):
            return False
        # Most rules were written for calls that cost something.
        about = (self.action,) if self.action else ("process", "submit")
        if call.action not in about:
            return False
        if self.prompt is not None and self.prompt not in call.prompt:
            return False
        if self.share is None:
            return True
        # By what is asked for and how often before, never by the number of the call: the
        # order in which calls arrive makes no difference.
        repeat = 0 if self.sticky else call.repeat
        digest = hashlib.sha256(f"{lot} {call.key} {repeat}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48 < self.share
