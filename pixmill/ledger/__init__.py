"""The ledger: the database of attempts and outcomes, and the only record of what was paid."""

from pixmill.ledger.ledger import Ledger, ledger_exists, open_ledger
from pixmill.ledger.records import (
    Attempt,
    Claim,
    ClaimDenied,
    ClaimTerms,
    KnownStates,
    MissingImages,
    State,
    Task,
)

__all__ = [
    "Attempt",
    "Claim",
    "ClaimDenied",
    "ClaimTerms",
    "KnownStates",
    "Ledger",
    "MissingImages",
    "State",
    "Task",
    "ledger_exists",
    "open_ledger",
]
