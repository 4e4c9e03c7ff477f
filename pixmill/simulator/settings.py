"""How a simulator behaves and which keys it accepts."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pixmill.errors import UserError
from pixmill.simulator.tasks import RETENTION

URL_LIFE = 24 * 3600
"""Seconds that an image URL lives, as documented by the provider."""

_KEYS = {
    "bearer_key": "PIXMILL_API_KEY",
    "access_key": "VOLC_ACCESSKEY",
    "secret_key": "VOLC_SECRETKEY",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One simulator. Raises UserError for a value that no server can have."""

    bearer_key: str = field(repr=False)
    """What gateways accept."""

    access_key: str = field(repr=False)
    """With the next two what the signed endpoint accepts."""

    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    latency: float = 0.0
    """Seconds that a call takes, or a task works, give or take a tenth."""

    qps: float | None = None
    """Calls per second; None is no limit."""

    concurrency: int | None = None
    """Calls in flight and tasks that work, of each `req_key`; None is no limit."""

    bill: Path | None = None
    """Where charges are written down; None for nowhere."""

    faults: Path | None = None
    """A file of faults to answer with."""

    url_life: float = URL_LIFE
    """Seconds that an image URL lives."""

    retention: float = RETENTION
    """Seconds after its submit for which a task can be asked for."""

    made_up: tuple[str, ...] = field(default=(), repr=False)
    """`NAME=value` for each key that the environment did not give, to be shown once."""

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
    retention: float = RETENTION,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return settings with the keys of the environment.

    Keys that are unset or empty there are made up.
    """
    keys: dict[str, str] = {}
    made_up: list[str] = []
    for name, variable in _KEYS.items():
        key = environment.get(variable)
        if not key:
            key = f"simulated-{secrets.token_hex(16)}"
            made_up.append(f"{variable}={key}")
        keys[name] = key
    return Settings(
        **keys,
        session_token=environment.get("VOLC_SESSION_TOKEN") or None,
        latency=latency,
        qps=qps,
        concurrency=concurrency,
        bill=bill,
        faults=faults,
        url_life=url_life,
        retention=retention,
        made_up=tuple(made_up),
    )
