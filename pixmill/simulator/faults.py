"""A faults file: rules that say which calls they meet and what these meet, and limits that move.

    - {calls: "3-5", code: 50429, headers: {Retry-After: 2}}
    - {prompt: forbidden, code: 50412}
    - {share: 0.05, wire: reset, at: middle}
    - {share: 0.02, sticky: true, image: {status: 403}}
    - {between: "30s-90s", status: 503, broken: html}
    - {action: submit, share: 0.01, task: expired}

The first rule that fits wins. One that names a `code`, `status` or `body` replaces the answer,
without limits and latency; any other only changes what would have been said anyway. A mapping
has `rules`, and beside them the `seed` of all shares and `limits` instead of the server's own.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from pixmill.errors import UserError
from pixmill.simulator.calls import Call
from pixmill.simulator.fault_effects import Effect, ImageEffect
from pixmill.simulator.fault_rules import Occasion, When, Which
from pixmill.simulator.painting.flaws import Flaw
from pixmill.simulator.responses import (
    NAMED_ERRORS,
    SUCCESS,
    SimulatedResponse,
    is_service_code,
    named_error,
    service_answer,
)
from pixmill.simulator.tasks import Fate
from pixmill.validation_messages import describe_problem

# Statuses of a gateway that gave up waiting: behind it the service works on, and charges.
_GAVE_UP_WAITING = (408, 499, 504)

_WITHOUT_RESULT: Collection[Fate | None] = (
    "expired",
    "failed",
    "canceled",
    "over_max_retries",
)


def _check_fate(value: Any) -> Any:
    words = get_args(get_args(Fate)[1])
    if is_service_code(value) or value in words:
        return value
    raise ValueError(f"must be a code of the service, or one of {', '.join(words)}")


def _check_code(value: Any) -> Any:
    if is_service_code(value) or value in NAMED_ERRORS:
        return value
    raise ValueError(f"must be a number, or one of {', '.join(NAMED_ERRORS)}")


class FaultRule(Which, Effect):
    """One rule; docs/simulator.md says what its fields do."""

    code: Annotated[int | str, BeforeValidator(_check_code)] | None = None
    """A code of the service, or the name of an error of its gateways."""

    message: str | None = None
    """Said instead of the documented message."""

    charged: bool | None = None
    """Whether the call is charged, where that doesn't follow from the answer."""

    image: ImageEffect | None = None
    """What fetching the images of a success meets."""

    picture: Flaw | None = None
    """What is wrong with the pictures of a success."""

    task: Annotated[Fate, BeforeValidator(_check_fate)] | None = None
    """What becomes of the task that a submit starts, or what a poll is told of its task."""

    @model_validator(mode="after")
    def _images_come_with_an_answer(self) -> Self:
        if self.image and (self.replaces or self.broken or self.wire):
            raise ValueError(
                "image is about what a success brings, "
                "so the rule can't spoil the answer as well"
            )
        return self

    @model_validator(mode="after")
    def _pictures_come_with_an_answer(self) -> Self:
        if self.picture and (self.replaces or self.action == "poll"):
            raise ValueError(
                "picture is about what a success brings, "
                "so the rule can't replace the answer or meet polls"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_started_or_asked_for(self) -> Self:
        if self.task is None:
            return self
        if self.action not in ("submit", "poll"):
            raise ValueError("task needs an action, submit or poll")
        if self.replaces:
            raise ValueError(
                "task is about what the service says, "
                "so the rule can't replace the answer as well"
            )
        return self

    @property
    def replaces(self) -> bool:
        """Whether the answer is this rule's, not the service's."""
        return not (self.code is None and self.status is None and self.body is None)

    def answer(self, call: Call) -> SimulatedResponse:
        """Return what it says instead of the service."""
        if self.code is None:
            # Its status and body are put in by what the rule does to any answer.
            return SimulatedResponse(200, b"")
        if isinstance(self.code, str):
            return named_error(self.code, self.message)
        return service_answer(
            self.code,
            call.request_id,
            call.elapsed,
            message=self.message,
        )

    def charges(self, code: int | str | None) -> bool:
        """Whether a call that ended with `code` is charged.

        Unless the rule says so: a success is, however much of it arrives, and what a gateway
        gave up waiting for.
        """
        if self.charged is not None:
            return self.charged
        if self.task in _WITHOUT_RESULT:
            return False
        if code is None:
            return self.status in _GAVE_UP_WAITING
        return code == SUCCESS


class Limit(When):
    """Limits that hold for a while; one that is not named is the server's own."""

    qps: Annotated[float, Field(gt=0)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None


class Met(NamedTuple):
    """The rule that a call meets."""

    place: int
    """Where it is in the file, from 0."""

    rule: FaultRule


class Faults:
    """The rules in force, how often each has been used, and how often each key was asked for."""

    def __init__(
        self,
        rules: Iterable[FaultRule],
        limits: Sequence[Limit] = (),
        seed: int = 0,
    ) -> None:
        self._rules = list(rules)
        self._limits = limits
        self._seed = seed
        self._used: Counter[int] = Counter()
        self._asked: Counter[str] = Counter()

    def match(self, call: Occasion) -> Met | None:
        """Return the rule that this call meets; it counts as used, and the call as made."""
        call = call._replace(repeat=self._asked[call.key])
        self._asked[call.key] += 1
        for place, rule in enumerate(self._rules):
            is_used_up = rule.times is not None and self._used[place] >= rule.times
            if not is_used_up and rule.fits(call, f"{self._seed} {place}"):
                self._used[place] += 1
                return Met(place, rule)
        return None

    def limit(self, call: Occasion) -> Limit | None:
        """Return the limits that hold now; None for the server's own. The first that fit win."""
        return next((limit for limit in self._limits if limit.covers(call)), None)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    rules: list[FaultRule] = []
    limits: list[Limit] = []


def load_faults(path: Path) -> Faults:
    """Read YAML or JSON: a list of rules, or a mapping.

    Raises UserError with every mistake and where it is.
    """
    try:
        # As a file, whose name YAML says with a place in it.
        with path.open(encoding="utf-8") as file:
            raw = yaml.safe_load(file) or []
        given = _File.model_validate({"rules": raw} if isinstance(raw, list) else raw)
    except ValidationError as error:
        mistakes = []
        for item in error.errors():
            mistakes.append(f"  {_place(item['loc'])}: {describe_problem(item)}")
        listed = "\n".join(mistakes)
        fields = ", ".join(FaultRule.model_fields)
        raise UserError(
            f"the faults file {path} has mistakes:\n{listed}",
            hint=f"docs/simulator.md shows them all; the keys of a rule are {fields}",
        ) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"the faults file {path} can't be read: {error}") from error
    return Faults(given.rules, given.limits, given.seed)


def _place(location: tuple[int | str, ...]) -> str:
    """Return a place as people count it: `rule[0].wire` for `("rules", 0, "wire")`."""
    if len(location) < 2:
        return ", ".join(["the file", *map(str, location)])
    section, number, *fields = map(str, location)
    return ".".join([f"{section.removesuffix('s')}[{number}]", *fields])
