"""The phases of the limiter: what may go. `limiter` has the tables of what each lets through and leads to."""

from enum import Enum, auto


class LimiterPhase(Enum):
    """What may go; see the tables of `limiter`."""

    NO_SHARE = auto()
    FIRST_CALL = auto()
    NORMAL = auto()
    OUTAGE = auto()
    PROBING = auto()
