"""Pairing the jobs of two sides: the same row, point and replicate. Equal ones are paired in their order."""

from typing import NamedTuple

import numpy as np

from pixmill.datasets.compare.columns import Integers, Jobs

EXAMPLES = 5


class Pairs(NamedTuple):
    """Positions of the jobs that both sides have, `a[n]` beside `b[n]`, in the order of side A."""

    a: Integers
    b: Integers


class RowChanges(NamedTuple):
    """Rows by their keys: how many both sides have, only B (`added`) and only A (`removed`), with the first keys."""

    both: int
    added: int
    removed: int
    added_examples: tuple[str, ...]
    removed_examples: tuple[str, ...]


def match(a: Jobs, b: Jobs) -> Pairs:
    """Pair the jobs of `a` and `b`."""
    _, in_a, in_b = np.intersect1d(
        _unique(a.identity),
        _unique(b.identity),
        assume_unique=True,
        return_indices=True,
    )
    order = np.argsort(in_a)
    return Pairs(in_a[order], in_b[order])


def row_changes(a: Jobs, b: Jobs) -> RowChanges:
    """Say which rows came and went."""
    added = _only_in(b, a)
    removed = _only_in(a, b)
    both = len(np.unique(a.row)) - len(removed)
    return RowChanges(
        both, len(added), len(removed), _keys(b, added), _keys(a, removed)
    )


def _unique(identity: Integers) -> Integers:
    """Tell equal identities apart by their place among each other."""
    order = np.argsort(identity, kind="stable")
    ordered = identity[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    places = np.empty(len(identity), np.int64)
    places[order] = np.arange(len(identity)) - np.repeat(
        begins, np.diff(begins, append=len(identity))
    )
    return (identity.view(np.uint64) + places.astype(np.uint64) * _ODD).view(np.int64)


_ODD = np.uint64(0x9E3779B97F4A7C15)
"""Spreads small numbers over 64 bits, so that no other identity is hit."""


def _only_in(side: Jobs, other: Jobs) -> Integers:
    """Return the position of the first job of each row that `other` does not have, in the order of `side`."""
    rows, first = np.unique(side.row, return_index=True)
    return np.sort(first[~np.isin(rows, other.row)])


def _keys(side: Jobs, positions: Integers) -> tuple[str, ...]:
    return tuple(side.row_key[int(at)].as_py() or "" for at in positions[:EXAMPLES])
