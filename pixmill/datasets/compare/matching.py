"""Pairs the jobs of two sides: the same row, point and replicate. Equal ones are paired in order."""

from typing import NamedTuple

import numpy as np

from pixmill.datasets.compare.columns import Integers, Jobs

EXAMPLES = 5

# Spreads small numbers over 64 bits, so that no other identity is hit: 2**64 divided by the
# golden ratio, as in Fibonacci hashing.
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Pairs(NamedTuple):
    """Positions of the jobs that both sides have: two arrays (pairs,), in the order of side A."""

    a: Integers
    b: Integers


class RowChanges(NamedTuple):
    """How many rows came and went, by their keys."""

    both: int

    added: int
    """How many only B has."""

    removed: int
    """How many only A has."""

    added_examples: tuple[str, ...]
    """The first keys of these."""

    removed_examples: tuple[str, ...]


def match(a: Jobs, b: Jobs) -> Pairs:
    """Pair the jobs of `a` and `b`."""
    _, in_a, in_b = np.intersect1d(
        _make_unique(a.identity),
        _make_unique(b.identity),
        assume_unique=True,
        return_indices=True,
    )
    # It returns them by their hashes.
    order = np.argsort(in_a)
    return Pairs(in_a[order], in_b[order])


def row_changes(a: Jobs, b: Jobs) -> RowChanges:
    """Say which rows came and went."""
    added = _only_in(b, a)
    removed = _only_in(a, b)
    both = len(np.unique(a.row)) - len(removed)
    return RowChanges(
        both=both,
        added=len(added),
        removed=len(removed),
        added_examples=_keys(b, added),
        removed_examples=_keys(a, removed),
    )


def _make_unique(identity: Integers) -> Integers:
    """Distinguish equal identities by their place among each other, from 0.

    identity   7 5 7 7
    place      0 0 1 2
    returns    7 5 7+ODD 7+2·ODD
    """
    order = np.argsort(identity, kind="stable")
    ordered = identity[order]
    # Where a run of equal ones begins, and how long each run is.
    begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    lengths = np.diff(begins, append=len(identity))
    places = np.empty(len(identity), np.int64)
    places[order] = np.arange(len(identity)) - np.repeat(begins, lengths)
    # Without a sign: adding is to wrap around.
    spread = places.astype(np.uint64) * _ODD
    return (identity.view(np.uint64) + spread).view(np.int64)


def _only_in(side: Jobs, other: Jobs) -> Integers:
    """Return the position of the first job of each row that `other` does not have.

    They are in the order of `side`.
    """
    rows, first = np.unique(side.row, return_index=True)
    is_missing = ~np.isin(rows, other.row)
    return np.sort(first[is_missing])


def _keys(
    side: Jobs,
    positions: Integers,
) -> tuple[str, ...]:
    return tuple(side.row_key[int(at)].as_py() or "" for at in positions[:EXAMPLES])
