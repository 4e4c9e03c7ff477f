"""The ledger: the database of attempts and outcomes, and the only record of what was paid."""

from pixmill.ledger.ledger import Ledger, ledger_exists, open_ledger
from pixmill.ledger.records import Claim, Known, MissingImages, Recorded, Refused, RunLimits, State

__all__ = [
    "Claim",
    "Known",
    "Ledger",
    "MissingImages",
    "Recorded",
    "Refused",
    "RunLimits",
    "State",
    "ledger_exists",
    "open_ledger",
]
