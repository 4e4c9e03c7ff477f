"""`pixmill view`: pages of a store for a browser on this machine, which change while runs go on.

Nothing here writes to a store or a ledger. `stored_datasets` finds what there is, `live_jobs` reads
a run that is under way, `site` makes pages of both, and `app` lets only its own browser in.
"""
