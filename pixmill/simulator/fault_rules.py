"""Which calls a rule of a faults file meets: by number, by time, by prompt, or by a lot that is always drawn alike."""

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smh]?)")


class Occasion(NamedTuple):
    """A call as rules see it: number from 1, prompt, key (hash of what is asked for), seconds since the first call.

    `repeat` counts the earlier calls for the same key.
    """

    number: int
    prompt: str = ""
    key: str = ""
    second: float = 0.0
    repeat: int = 0


def _call(text: str) -> float:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(
            "must be a call number from 1, a range like 3-5, or 3- for all from the third"
        )
    return int(text)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text)
    if not found:
        raise ValueError(
            "must be a span of time since the first call: 30s-90s, 1m-5m, or 30s- for all after it"
        )
    return float(found[1]) * _SECONDS[found[2]]


def _span(read: Callable[[str], float], value: Any) -> tuple[float, float]:
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    begin = read(first)
    end = read(last) if last else (float("inf") if dash else begin)
    if end < begin:
        raise ValueError("ends before it starts")
    return begin, end


Span = tuple[float, float]
EVER: Span = (0, float("inf"))


class When(BaseModel):
    """A part of a server's life: `calls` by number, ends included, and `between` in seconds since the first call."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    calls: Annotated[Span, BeforeValidator(lambda value: _span(_call, value))] = EVER
    between: Annotated[
        Span,
        BeforeValidator(
            lambda value: _span(_seconds, value if "-" in str(value) else "")
        ),
    ] = EVER

    def covers(self, call: Occasion) -> bool:
        """Whether the call comes in this part."""
        return (
            self.calls[0] <= call.number <= self.calls[1]
            and self.between[0] <= call.second <= self.between[1]
        )


class Which(When):
    """The calls that a rule meets, at most `times` of them.

    Of those that fit, `share` (0 to 1) are drawn: by the seed of the file, what is asked for and how often it was asked
    for before, so that the order in which calls arrive makes no difference. `sticky` leaves out how often: a job that
    meets the rule meets it again in every call.
    """

    prompt: str | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    sticky: bool = False
    times: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _sticky_needs_a_share(self) -> Self:
        if self.sticky and self.share is None:
            raise ValueError("sticky says how a share is drawn: name the share")
        return self

    def fits(self, call: Occasion, lot: str) -> bool:
        """Whether the rule is about this call; `lot` names the draw, another one for every rule and seed."""
        return (
            self.covers(call)
            and (self.prompt is None or self.prompt in call.prompt)
            and (
                self.share is None
                or _drawn(f"{lot} {call.key} {0 if self.sticky else call.repeat}")
                < self.share
            )
        )


def _drawn(lot: str) -> float:
    """A number in [0, 1) that is always the same for the same lot."""
    return int.from_bytes(hashlib.sha256(lot.encode()).digest()[:6], "big") / 2**48
