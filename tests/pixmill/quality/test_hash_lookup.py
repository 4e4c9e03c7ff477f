"""Looking for images among many by their SHA-256: the same as Arrow's own look-up finds."""

import random
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pixmill.quality.hash_lookup import HashLookup, pair_hashes


def hashes(count: int, first: int = 0) -> list[str]:
    return [sha256(str(at).encode()).hexdigest() for at in range(first, first + count)]


@pytest.mark.parametrize("count", [0, 1, 500])
def test_each_key_is_found_where_it_is_and_others_are_not(count: int) -> None:
    keys = pa.array(hashes(count), pa.string())
    asked: list[str | None] = [*hashes(count + 20), None, None]
    random.Random(5).shuffle(asked)
    wanted = pa.array(asked, pa.string())
    found = HashLookup(keys).find(wanted)
    expected = pc.index_in(wanted, value_set=keys, skip_nulls=True)
    assert found.to_pylist() == expected.to_pylist()


def test_keys_that_only_begin_alike_are_told_apart() -> None:
    key = hashes(1)[0]
    other = key[:16] + key[:48]
    assert HashLookup(pa.array([key])).find(pa.array([other, key])).to_pylist() == [
        None,
        0,
    ]


def test_an_image_of_another_input_image_is_another_pair() -> None:
    image, first, second = hashes(3)
    known = pair_hashes(pa.array([image, image]), pa.array([first, second]))
    wanted = pair_hashes(
        pa.array([image, image, image, first]), pa.array([second, image, None, image])
    )
    assert HashLookup(known).find(wanted).to_pylist() == [1, None, None, None]
