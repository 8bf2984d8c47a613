"""Which clips each rank sees: the traps of TRAINING pipelines as people met them, each named."""

import itertools
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.dataset.training.order import EpochIndex, Share, balanced, in_one_piece, in_runs, permutation, with_epoch


def own(share: Share, order: Sequence[int]) -> list[int]:
    """The clips of a rank in an epoch of that order."""
    return list(map(int, with_epoch(share, order, 0)))


numbers = st.integers(0, 200)
ranks = st.integers(1, 9)


@given(numbers, ranks, st.integers(1, 5))
def test_in_training_all_ranks_have_as_many_so_that_none_waits_for_ever(num: int, replicas: int, multiple: int) -> None:
    order = permutation(num, 3, 4)
    shares = [own(Share("train", replicas, rank, multiple), order) for rank in range(replicas)]
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == Share("train", replicas, 0, multiple).num(num)
    assert len(shares[0]) % multiple == 0
    assert bool(shares[0]) == bool(num)
    counts = Counter(index for share in shares for index in share)
    if num >= replicas * multiple:
        # What is left over is less than one step of all ranks, and nothing is there twice.
        assert set(counts.values()) <= {1}
        assert num - len(counts) < replicas * multiple


@given(numbers, ranks)
def test_in_evaluation_each_clip_counts_exactly_once(num: int, replicas: int) -> None:
    shares = [own(Share("eval", replicas, rank), range(num)) for rank in range(replicas)]
    assert sorted(index for share in shares for index in share) == list(range(num))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == [Share("eval", replicas, rank).num(num) for rank in range(replicas)]


def test_the_order_differs_between_epochs_and_is_the_same_for_the_same_seed() -> None:
    epochs = [tuple(permutation(100, 0, epoch)) for epoch in range(20)]
    assert len(set(epochs)) == 20
    assert tuple(permutation(100, 0, 7)) == epochs[7]
    assert tuple(permutation(100, 1, 7)) != epochs[7]
    assert all(sorted(epoch) == list(range(100)) for epoch in epochs)


def test_a_rank_does_not_see_the_same_clips_for_ever() -> None:
    seen = [frozenset(own(Share("train", 4, 1), permutation(400, 0, epoch))) for epoch in range(5)]
    assert len(set(seen)) == 5
    assert max(len(one & other) for one in seen for other in seen if one != other) < 50


def test_what_is_left_over_is_other_clips_each_epoch() -> None:
    shares = [[own(Share("train", 3, rank, 4), permutation(39, 0, epoch)) for rank in range(3)] for epoch in range(10)]
    left = [frozenset(range(39)) - {index for share in ranks for index in share} for ranks in shares]
    assert {len(one) for one in left} == {3}
    assert len(set(left)) > 5


def test_balanced_leaves_out_what_has_no_label() -> None:
    targets = [-1] * 50 + [0] * 3 + [1] * 7
    assert {targets[index] for epoch in range(20) for index in balanced(targets, 0, epoch)} == {0, 1}
    assert len(balanced([-1] * 5, 0, 0)) == 5
    assert balanced([], 0, 0) == []


def test_balanced_classes_are_equally_likely() -> None:
    targets = [0] * 900 + [1] * 90 + [2] * 10 + [-1] * 5
    counts = Counter(targets[index] for epoch in range(20) for index in balanced(targets, 0, epoch))
    assert sum(counts.values()) == 20 * len(targets)
    assert max(counts.values()) / min(counts.values()) < 1.2
    drawn = {index for epoch in range(200) for index in balanced(targets, 0, epoch) if targets[index] == 2}
    assert drawn == set(range(990, 1000))


def test_an_index_carries_its_epoch_wherever_it_is_sent() -> None:
    (index, *others) = with_epoch(Share("train", 1, 0), [5, 7, 9, 5], 3, has_repeats=True)
    assert index == 5
    assert isinstance(index, int)
    sent = pickle.loads(pickle.dumps(index))
    assert (int(sent), sent.epoch, sent.repeat, sent.mode, sent.spares) == (5, 3, 0, "train", (7, 9, 5))
    assert [one.repeat for one in others] == [0, 0, 1]
    assert [*range(20)][EpochIndex(4, (0, 0, "eval"), ())] == 4


def test_a_clip_that_is_there_again_is_another_sample_on_whatever_rank() -> None:
    found = [
        (int(index), index.repeat)
        for rank in range(3)
        for order in ([1, 1, 2, 1], [4])
        for index in with_epoch(Share("train", 3, rank, 2), order, 0, has_repeats=True)
    ]
    assert len(found) == len(set(found)) == 12


@pytest.mark.parametrize(("rank", "replicas", "multiple"), [(3, 3, 1), (-1, 2, 1), (0, 1, 0)])
def test_shares_that_make_no_sense_are_refused(rank: int, replicas: int, multiple: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Share("train", replicas, rank, multiple)


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 9), st.integers(0, 5))
def test_runs_follow_each_other_in_a_shard_and_all_clips_are_there(sizes: list[int], length: int, epoch: int) -> None:
    shards = [f"{number}" for number, size in enumerate(sizes) for _ in range(size)]
    order = in_runs(shards, length, 7, epoch)
    assert sorted(order) == list(range(len(shards)))
    assert order == in_runs(shards, length, 7, epoch)
    # Of a shard of n clips, which may begin within a run, at most this many.
    num_runs = 1 + sum(later != earlier + 1 or shards[later] != shards[earlier] for earlier, later in pairwise(order))
    assert num_runs <= 1 + sum(-(-size // length) + 1 for size in sizes)


def test_runs_begin_elsewhere_in_each_epoch_and_mix_what_windows_left_apart() -> None:
    """Of 100 windows of 600 clips, in each of which there are 20 of 700 classes."""
    generator = random.Random(0)
    classes = [20 * window % 700 + generator.randrange(20) for window in range(100) for _ in range(600)]
    shards = [f"{number // 500:03d}" for number in range(len(classes))]
    orders = [in_runs(shards, 4, 0, epoch) for epoch in range(4)]
    pairs = [{tuple(sorted(pair)) for pair in pairwise(order)} for order in orders]
    assert all(len(one & other) < 0.8 * len(one) for one, other in itertools.combinations(pairs, 2))
    assert len({classes[index] for index in range(1000)}) < 50
    assert len({classes[index] for index in orders[0][:1000]}) > 450


@given(numbers, ranks, st.integers(1, 5))
def test_pieces_are_as_many_as_strides(num: int, replicas: int, multiple: int) -> None:
    order = permutation(num, 3, 4)
    for mode in ("train", "eval"):
        shares = [Share(mode, replicas, rank, multiple) for rank in range(replicas)]
        pieces = [list(map(int, in_one_piece(share, order, 0))) for share in shares]
        strides = [own(share, order) for share in shares]
        assert sorted(map(len, pieces)) == sorted(map(len, strides))
        if mode == "eval" or num >= replicas * multiple:
            assert sorted(itertools.chain(*pieces)) == sorted(itertools.chain(*strides))
