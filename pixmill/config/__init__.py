"""The YAML of a run: its model, how it is loaded and checked, where store and ledger are."""
