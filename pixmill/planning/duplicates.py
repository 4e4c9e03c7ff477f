"""Duplicates over a whole table, found by hashes: jobs that ask for the same, rows whose keys contradict each other."""

import numpy as np
from numpy.typing import NDArray


def mark_first_occurrences(
    hashes: NDArray[np.uint64],
    valid: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Mark the first valid position of each hash."""
    # 64 bits of SHA-256: two of a billion keys have one hash with a probability of 3 %.
    ordered = np.sort(hashes[valid])
    if not (ordered[1:] == ordered[:-1]).any():
        # As in most tables, and in a fifth of the time.
        return valid.copy()
    del ordered
    first = np.zeros(len(hashes), np.bool_)
    where = np.flatnonzero(valid)
    first[where[np.unique(hashes[where], return_index=True)[1]]] = True
    return first


def conflicting_row_keys(
    row_hashes: NDArray[np.int64],
    contents: NDArray[np.uint64],
    has_jobs: NDArray[np.bool_],
) -> tuple[frozenset[int], NDArray[np.intp]]:
    """Return the hashes of row keys whose rows ask for different things, and those rows.

    The arrays go by row; `contents` are hashes of requests, and only rows that have jobs count. Without row keys,
    `row_hashes` is empty.
    """
    if not len(row_hashes):
        return frozenset(), np.zeros(0, np.intp)
    valid = np.flatnonzero(has_jobs)
    by_hash = np.sort(row_hashes[valid])
    if not (by_hash[1:] == by_hash[:-1]).any():
        # As in most tables, and in a third of the time.
        return frozenset(), np.zeros(0, np.intp)
    del by_hash
    # Rows of one key are neighbours then, and those of one request among them.
    order = valid[np.lexsort((contents[valid], row_hashes[valid]))]
    requests = contents[order]
    differs = requests[1:] != requests[:-1]
    del requests  # a million rows are eight megabytes each time
    rows = row_hashes[order]
    bad = np.unique(rows[1:][(rows[1:] == rows[:-1]) & differs])
    return frozenset(int(value) for value in bad), np.flatnonzero(
        np.isin(row_hashes, bad) & has_jobs
    )
