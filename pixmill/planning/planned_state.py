"""What a plan knows of a job."""

from enum import IntEnum


class PlannedState(IntEnum):
    """What a job is when the plan is made."""

    PENDING = 0
    CACHED = 1
    REFUSED = 2
    FAILED = 3
    IN_DOUBT = 4
    INVALID = 5
    LEFT_OUT = 6
    """Not a job: excluded by a condition, or a further variant of an invalid row, which is counted
    once, at its first variant."""
