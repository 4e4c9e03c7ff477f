"""How a simulator behaves and which keys it accepts."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pixmill.errors import UserError

URL_LIFE = 24 * 3600
"""Seconds that an image URL lives, as documented by the provider."""

_KEYS = {
    "bearer_key": "PIXMILL_API_KEY",
    "access_key": "VOLC_ACCESSKEY",
    "secret_key": "VOLC_SECRETKEY",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One simulator. A limit that is None does not exist; without `bill` and `faults` there are none.

    `latency` and `url_life` are seconds, `qps` calls per second, `concurrency` calls in flight. `made_up` has a
    `NAME=value` line for each key that the environment did not give, to be shown to the person who needs it.
    Raises UserError for a value that no server can have.
    """

    bearer_key: str = field(repr=False)
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    latency: float = 0.0
    qps: float | None = None
    concurrency: int | None = None
    bill: Path | None = None
    faults: Path | None = None
    url_life: float = URL_LIFE
    made_up: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in ("qps", "concurrency"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise UserError(
                    f"{name} is {limit}, it must be above 0",
                    hint=f"leave {name} out for no limit",
                )
        if self.latency < 0:
            raise UserError(f"latency is {self.latency} seconds, it can't be negative")


def settings_from_environment(
    *,
    latency: float = 0.0,
    qps: float | None = None,
    concurrency: int | None = None,
    bill: Path | None = None,
    faults: Path | None = None,
    url_life: float = URL_LIFE,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Settings with the keys of the environment; those that are unset or empty there are made up."""
    given = {name: environment.get(variable) for name, variable in _KEYS.items()}
    keys = {
        name: key or f"simulated-{secrets.token_hex(16)}" for name, key in given.items()
    }
    return Settings(
        **keys,
        session_token=environment.get("VOLC_SESSION_TOKEN") or None,
        latency=latency,
        qps=qps,
        concurrency=concurrency,
        bill=bill,
        faults=faults,
        url_life=url_life,
        made_up=tuple(
            f"{_KEYS[name]}={keys[name]}" for name, key in given.items() if not key
        ),
    )
