"""Scripted faults: a list of rules, each saying which calls it meets and what it does to their answers.

    - {calls: "3-5", code: 50429, headers: {Retry-After: "2"}}
    - {prompt: forbidden, code: 50412}
    - {calls: "9-", status: 504, body: "<html>Gateway Time-out</html>", charged: true, times: 1}

The first rule that matches wins. One that names a `code`, `status` or `body` takes the place of the answer, without
limits and latency; any other only adds its delay, headers and charge to what would have been said anyway.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from pixmill.errors import UserError


def _span(value: Any) -> tuple[int, float]:
    first, dash, last = str(value).partition("-")
    if not first.strip().isdecimal() or not (last.strip() or "0").isdecimal() or int(first) < 1:
        raise ValueError("has to be a call number from 1, a range like 3-5, or 3- for all from the third")
    end = float(last) if last.strip() else (float("inf") if dash else float(first))
    if end < int(first):
        raise ValueError("ends before it starts")
    return int(first), end


class Rule(BaseModel):
    """One rule; see the module for what its fields do. `delay` is in seconds, `times` limits how often it is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls: Annotated[tuple[int, float], BeforeValidator(_span)] = (1, float("inf"))
    prompt: str | None = None
    code: int | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    message: str | None = None
    body: str | None = None
    headers: dict[str, str] = {}
    delay: Annotated[float, Field(ge=0)] = 0
    charged: bool | None = None
    times: Annotated[int, Field(ge=1)] | None = None

    @property
    def replaces(self) -> bool:
        """Whether the answer is this rule's, not the service's."""
        return not (self.code is None and self.status is None and self.body is None)

    def matches(self, call: int, prompt: str) -> bool:
        """Whether the rule is about this call."""
        return self.calls[0] <= call <= self.calls[1] and (self.prompt is None or self.prompt in prompt)


class Faults:
    """The rules in force, and how often each has been used."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(rule, [0]) for rule in rules]

    def match(self, call: int, prompt: str) -> Rule | None:
        """The rule that this call meets; it counts as used."""
        for rule, used in self._rules:
            if rule.matches(call, prompt) and (rule.times is None or used[0] < rule.times):
                used[0] += 1
                return rule
        return None


def load_faults(path: Path) -> Faults:
    """Read a YAML or JSON list of rules. Raises UserError with every mistake and where it is."""
    try:
        return Faults(TypeAdapter(list[Rule]).validate_python(yaml.safe_load(path.read_text("utf-8")) or []))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"the faults file {path} can't be read: {error}") from error
    except ValidationError as error:
        mistakes = "\n".join(f"  {_place(item['loc'])}: {item['msg']}" for item in error.errors())
        raise UserError(
            f"the faults file {path} has mistakes:\n{mistakes}", hint=f"a rule knows {', '.join(Rule.model_fields)}"
        ) from error


def _place(location: tuple[int | str, ...]) -> str:
    if not location:
        return "the file"
    return f"rule[{location[0]}]" + "".join(f".{part}" for part in location[1:])
