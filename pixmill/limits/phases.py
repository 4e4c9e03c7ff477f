"""The phases of the limiter: what may go. `limiter` has the table of what leads from one to
another."""

from enum import Enum, auto


class LimiterPhase(Enum):
    """What may go."""

    NO_SHARE = auto()
    """Nothing, until this process has a share of the account."""

    FIRST_CALL = auto()
    """One call at a time, until the service itself has answered one (real providers only)."""

    NORMAL = auto()
    """Calls within both limits."""

    OUTAGE = auto()
    """One call, after a pause: the probe."""

    PROBING = auto()
    """Nothing, as the probe is in flight."""
