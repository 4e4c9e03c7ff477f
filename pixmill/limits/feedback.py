"""What the limits know of a call: when it was sent, and what its answer says about them.

The words are the limits' own, so that they depend on no provider: `execution` translates.
"""

from enum import Enum, auto
from typing import NamedTuple


class Permit(NamedTuple):
    """A call that was sent, or a task of an earlier process whose slot was taken."""

    number: int
    """Its place among all calls of this process, from 1. Of a task that this process did not
    submit, the place of the last call before its slot was taken: its end tells nothing of an
    earlier time."""

    at: float
    """When it was sent, by the limiter's clock, in seconds."""

    others_in_flight: int
    """How many other calls of the account were in flight when it was sent, as far as is known."""

    paced: bool
    """Whether it had to wait for its turn: only then was the rate in full use."""


class Feedback(Enum):
    """What an answer says about the limits."""

    OK = auto()
    """The service did its work, whatever it made of the request."""

    ACCEPTED = auto()
    """The service took on a task, which keeps its slot."""

    ENDED = auto()
    """A task that was accepted has ended, or nobody waits for it any more."""

    RATE_LIMITED = auto()
    """Too many calls per second (50429)."""

    CONCURRENCY_LIMITED = auto()
    """Too many calls in flight (50430)."""

    FAULT = auto()
    """A passing error, or no usable answer."""

    TURNED_AWAY = auto()
    """Key, account or address were not accepted: it answers, and shows nothing else."""
