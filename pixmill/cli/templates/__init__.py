"""The files that `pixmill init` writes: a commented config and a small table for it."""
