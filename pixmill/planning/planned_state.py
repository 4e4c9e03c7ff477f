"""What a plan knows of a job."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class PlannedState(IntEnum):
    """What a job is when the plan is made. All but the last two are of jobs that there are."""

    PENDING = 0
    """To be paid for, or asked for where its task works at the provider."""
    CACHED = 1
    REFUSED = 2
    FAILED = 3
    IN_DOUBT = 4
    INVALID = 5
    LEFT_OUT = 6
    """Not a job: excluded by a condition, a candidate whose turn has not come, or a further variant of
    an invalid row, which is counted once, at its first variant."""


def are_jobs(states: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Mark which `states`, in an array of any shape, are of jobs that there are."""
    return np.asarray(states < PlannedState.INVALID)
