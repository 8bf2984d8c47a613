"""Which clips come into the same shard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.conversion.cutting import ShardOptions, cut
from kconvert.dataset.formats.mds import FORMAT as MDS
from kconvert.dataset.formats.webdataset import WebDataset
from kconvert.errors import UsageError
from kconvert.units import ByteSize

LAYOUT = WebDataset()


@given(st.lists(st.integers(0, 300_000), max_size=40), st.integers(1, 1_000_000), st.integers(1, 10))
def test_shards_have_no_gaps_none_is_empty_and_none_is_too_large(
    sizes: list[int], max_bytes: int, max_samples: int
) -> None:
    options = ShardOptions(ByteSize(max_bytes), max_samples)
    cuts = list(cut(((size, ()) for size in sizes), len(sizes), options, LAYOUT, 5))
    assert [place for planned in cuts for place in range(planned.start, planned.stop)] == list(range(len(sizes)))
    assert [planned.number for planned in cuts] == list(range(5, 5 + len(cuts)))
    for planned in cuts:
        found = sizes[planned.start : planned.stop]
        assert 1 <= len(found) <= max_samples
        bound = LAYOUT.overhead_bytes + sum(map(LAYOUT.max_sample_bytes, found))
        assert bound <= max_bytes or len(found) == 1


@given(st.integers(1, 40), st.data())
def test_so_many_shards_are_equal_within_one_clip(num_shards: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 300_000), min_size=num_shards, max_size=200))
    cuts = list(cut(((size, ()) for size in sizes), len(sizes), ShardOptions(num_shards=num_shards), LAYOUT, 0))
    assert [place for planned in cuts for place in range(planned.start, planned.stop)] == list(range(len(sizes)))
    assert [planned.number for planned in cuts] == list(range(num_shards))
    lengths = {planned.stop - planned.start for planned in cuts}
    assert max(lengths) - min(lengths) <= 1


def test_a_split_with_fewer_clips_is_refused_with_the_numbers() -> None:
    with pytest.raises(UsageError, match="num_shards 9: the split val has 8 clips to write; expected 1 to 8"):
        ShardOptions(num_shards=9).require_enough("val", 8)
    ShardOptions(num_shards=8).require_enough("val", 8)
    ShardOptions().require_enough("val", 0)


def test_a_shard_that_a_format_cannot_hold_is_refused() -> None:
    sizes = [(3 << 30, ())] * 3
    with pytest.raises(UsageError, match="num_shards 2: shard 1 of .*: expected less than .*, as a file of the format"):
        list(cut(sizes, 3, ShardOptions(num_shards=2), MDS, 0))
    assert len(list(cut(sizes, 3, ShardOptions(num_shards=3), MDS, 0))) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_shards": 0}, "num_shards 0: expected 1 or more"),
        ({"num_shards": 4, "max_samples": 5}, "max_samples: would be ignored with --shard.num_shards"),
        ({"num_shards": 4, "max_bytes": ByteSize(5)}, "max_bytes: would be ignored with --shard.num_shards"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ShardOptions(**options)  # type: ignore[arg-type]
