from __future__ import annotations

import pickle
import random
from array import array
from collections.abc import Sequence

import pytest

from kconvert.dataset.split_rows import packed, unpacked

NUM_ROWS = 540_000
"""Of a large split."""
ANY = random.Random(0)


@pytest.mark.parametrize(
    ("indexes", "max_bytes"),
    [
        (range(NUM_ROWS - 1, -1, -3), 10_000),
        (array("I", sorted(ANY.sample(range(NUM_ROWS), NUM_ROWS // 2))), 200_000),
        # No fewer than log2(540,000!) bits, 1.2 MB, can tell one order of all of them from the others.
        (array("I", ANY.sample(range(NUM_ROWS), NUM_ROWS)), 1_800_000),
        ((), 100),
    ],
)
def test_a_selection_is_sent_in_few_bytes_and_arrives_as_it_was(indexes: Sequence[int], max_bytes: int) -> None:
    sent = pickle.dumps(packed(indexes))
    assert len(sent) < max_bytes
    assert list(unpacked(pickle.loads(sent))) == list(indexes)
