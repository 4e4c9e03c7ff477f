"""The ledger: the database of attempts and outcomes, and the only record of what was paid."""

from pixmill.ledger.ledger import Ledger, ledger_exists, open_ledger
from pixmill.ledger.records import Claim, Known, Recorded, Refused, RunLimits, State

__all__ = [
    "Claim",
    "Known",
    "Ledger",
    "Recorded",
    "Refused",
    "RunLimits",
    "State",
    "ledger_exists",
    "open_ledger",
]
