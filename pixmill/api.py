"""What a Python program may ask of pixmill without running anything."""

from pixmill.config.model import Config
from pixmill.ledger import open_ledger
from pixmill.planning.plan import Plan
from pixmill.planning.planner import make_plan


def plan(config: Config) -> Plan:
    """Return the plan of a run of `config` against its ledger; nothing is sent or written.

    Raises TableError where the table can't be used and LedgerError where the ledger can't be read.
    """
    ledger = open_ledger(config.ledger_address, read_only=True)
    try:
        return make_plan(config, ledger)
    finally:
        if ledger:
            ledger.close()
