"""Paying: a run from its plan to its summary, executors, outcomes, reasons to stop, repair."""
