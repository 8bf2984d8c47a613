"""Streaming whole batches with torch: the same ones for any number of workers, however they begin, and after a resume."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from conftest import Once
from to_train_from import BAD, convert, state_after
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import kconvert as library
from kconvert.dataset.training.order import balanced
from kconvert.storage.store import StorePath
from kconvert.torch import stream

Epoch = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    """Not to be changed."""
    return once("to-train-from", convert) / "out"


def noisy(video: torch.Tensor) -> torch.Tensor:
    return video.float() + torch.rand(())


def streamed(folder: Path, **options: Any) -> Any:
    usual = {"num_frames": 4, "stride": 2, "size": (24, 32), "transform": noisy}
    return stream(folder, "val", options.pop("batch_size", 4), **{**usual, **options})


def epoch(source: Any) -> Epoch:
    return [(*batch["key"], *batch["replaced"], float(batch["video"].double().sum())) for batch in source]


def keys(found: Epoch) -> list[str]:
    return [name for batch in found for name in batch[: len(batch) // 2]]


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[Epoch]:
    """Three epochs without workers."""
    source = streamed(folder)
    return [epoch(source) for _ in range(3)]


def test_epochs_differ_and_have_whole_batches(folder: Path, expected: list[Epoch]) -> None:
    assert len({tuple(one) for found in expected for one in found}) == 15
    assert {len(found) for found in expected} == {5}
    assert len(streamed(folder)) == 5
    assert len({tuple(sorted(keys(found))) for found in expected}) == 3


@pytest.mark.parametrize(
    ("context", "workers", "persistent"),
    [("fork", 1, True), ("fork", 2, False), ("spawn", 2, True), ("forkserver", 2, False)],
)
def test_batches_are_the_same_for_any_number_of_workers(
    folder: Path, expected: list[Epoch], context: str, workers: int, persistent: bool
) -> None:
    source = DataLoader(
        streamed(folder), None, num_workers=workers, multiprocessing_context=context, persistent_workers=persistent,
        prefetch_factor=8,
    )  # fmt: skip
    assert [epoch(source) for _ in range(3)] == expected


@pytest.mark.filterwarnings("ignore:This DataLoader will create 6 worker processes")
def test_more_workers_than_batches_and_other_numbers_of_them_in_between(folder: Path, expected: list[Epoch]) -> None:
    source = streamed(folder)
    assert epoch(DataLoader(source, None, num_workers=6)) == expected[0]
    assert next(iter(source))["key"] == list(expected[1][0][:4])
    assert epoch(DataLoader(source, None, num_workers=1)) == expected[2]
    source.set_epoch(1)
    assert epoch(source) == expected[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_epoch_goes_on_with_other_workers_and_later_ones_are_whole(
    folder: Path, expected: list[Epoch], workers: int
) -> None:
    source = streamed(folder, consumed=12)
    source.set_epoch(1)
    loader = DataLoader(source, None, num_workers=workers)
    assert epoch(loader) == expected[1][3:]
    assert epoch(loader) == expected[2]


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize(("epochs", "step"), [(0, 0), (0, 1), (0, 5), (1, 0), (1, 3), (1, 5)])
def test_a_stateful_loader_goes_on_where_its_state_was_taken(
    folder: Path, expected: list[Epoch], workers: int, persistent: bool, epochs: int, step: int
) -> None:
    """torchdata's; also before all workers have given a batch, at the end of an epoch, and in a loader that has read
    already."""
    options = {"num_workers": workers, "persistent_workers": persistent}
    state = state_after(StatefulDataLoader(streamed(folder), None, **options), epochs, step, 5)
    used = StatefulDataLoader(streamed(folder), None, **options)
    assert [epoch(used) for _ in range(3)] == expected
    for source in (StatefulDataLoader(streamed(folder), None, **options), used):
        source.load_state_dict(state)
        if step < 5:
            assert epoch(source) == expected[epochs][step:]
        assert [epoch(source) for _ in range(epochs + 1, 3)] == expected[epochs + 1 :]


def doubled(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "video": batch["video"] * 2}


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("stages", "step"),
    [
        (lambda source: source.map(doubled), 3),
        (lambda source: source.repeat(3), 5),
        (lambda source: source.repeat(3), 7),
        (lambda source: source.with_epoch(3), 2),
        (lambda source: source.unbatched(), 6),
    ],
)
def test_what_later_stages_make_goes_on_where_a_state_was_taken(
    folder: Path, stages: Callable[[Any], Any], step: int, workers: int
) -> None:
    """Repetitions, a part of an epoch, and batches that were begun, too; twice."""

    def loader() -> Any:
        return StatefulDataLoader(stages(streamed(folder)), None, num_workers=workers)

    def names(samples: Iterable[dict[str, Any]]) -> list[str]:
        return ["".join(sample["key"]) for sample in samples]

    whole = names(loader())
    taken = loader()
    iterator = iter(taken)
    assert names(next(iterator) for _ in range(step)) == whole[:step]
    once_more = loader()
    once_more.load_state_dict(taken.state_dict())
    iterator = iter(once_more)
    assert names([next(iterator)]) == whole[step : step + 1]
    last = loader()
    last.load_state_dict(once_more.state_dict())
    assert names(last) == whole[step + 1 :]


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_state_may_be_loaded_again_and_again(folder: Path, expected: list[Epoch], workers: int) -> None:
    """Into a loader that stays, whose seed is then that of the state."""
    loader = StatefulDataLoader(streamed(folder), None, num_workers=workers, persistent_workers=True)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    assert epoch(iterator) == expected[0][1:]
    assert [epoch(loader), epoch(loader)] == expected[1:]
    for _ in range(2):
        loader.load_state_dict(state)
        assert [epoch(loader), epoch(loader), epoch(loader)] == [expected[0][1:], *expected[1:]]


def test_loaders_of_one_seed_that_stay_count_together(folder: Path, expected: list[Epoch]) -> None:
    source = streamed(folder)
    found = []
    for _ in range(2):
        torch.manual_seed(2)
        loader = DataLoader(source, None, num_workers=2, persistent_workers=True)
        found += [epoch(loader), epoch(loader)]
    assert found[:3] == expected
    assert len({tuple(one[0]) for one in found}) == 4


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
def test_a_state_of_one_loader_is_nothing_to_workers_of_another(folder: Path, expected: list[Epoch]) -> None:
    other = StatefulDataLoader(streamed(folder), None)
    assert [epoch(other), epoch(other)] == expected[:2]
    next(iter(other))
    source = streamed(folder)
    early = iter(DataLoader(source, None, num_workers=2, worker_init_fn=late))
    assert next(early)["key"] == list(expected[0][0][:4])
    resumed = StatefulDataLoader(source, None)
    resumed.load_state_dict(other.state_dict())
    assert epoch(resumed) == expected[2][1:]
    assert epoch(early) == expected[0][1:]


def test_a_state_is_checked(folder: Path, expected: list[Epoch]) -> None:
    iterator = iter(streamed(folder))
    next(iterator)
    state = iterator.state_dict()
    assert state == {"epoch": 0, "start": 4, "given": 0, "batch_size": 4}
    anew = iter(streamed(folder))
    anew.load_state_dict({**state, "epoch": 1})
    assert epoch(anew) == expected[1][1:]
    for wrong in ({"epoch": -1}, {"start": -4}, {"start": 3}, {"start": 1000}, {"start": 1.5}, {"start": True}):
        with pytest.raises(ValueError, match="state: .*expected"):
            iter(streamed(folder)).load_state_dict({**state, **wrong})
    with pytest.raises(ValueError, match="state: given -1: expected"):
        iter(streamed(folder)).load_state_dict({"epoch": 0, "start": 0})
    with pytest.raises(ValueError, match="of batches of 4: expected those of 5"):
        iter(streamed(folder, batch_size=5)).load_state_dict(state)
    with pytest.raises(ValueError, match="before the first batch"):
        iterator.load_state_dict(state)
    with pytest.raises(TypeError, match="say it by with_length"):
        len(streamed(folder).repeat(3))


def test_classes_are_equally_likely_where_that_is_asked_for(folder: Path) -> None:
    """By the order that a `ClipSampler` has; a clip that is there again is sampled anew."""
    sources = [streamed(folder, balanced=True, batch_size=2, num_replicas=3, rank=rank) for rank in range(3)]
    planned = [index for source in sources for batch in source.planner() for index in batch]
    clips = library.open(folder, "val")
    assert planned == balanced(clips.targets, 0, 0)[:18]
    seen: Counter[int] = Counter()
    for index in planned:
        assert index.repeat == seen[int(index)]
        seen[int(index)] += 1
    assert max(seen.values()) > 1
    source = streamed(folder, balanced=True, batch_size=23)
    first, second = epoch(source), epoch(DataLoader(source, None, num_workers=1))
    assert first != second
    source.set_epoch(0)
    assert epoch(DataLoader(source, None, num_workers=1)) == first
    with pytest.raises(ValueError, match="in evaluation every clip counts once"):
        streamed(folder, balanced=True, mode="eval")


def test_ranks_may_be_more_than_shards_and_more_than_clips(folder: Path) -> None:
    found = [keys(epoch(streamed(folder, mode="eval", num_replicas=8, rank=rank))) for rank in range(8)]
    assert [name for names in found for name in names] == library.open(folder, "val").column("key")
    assert {len(names) for names in found} == {2, 3}
    planned = [[*streamed(folder, num_replicas=8, rank=rank, batch_size=2).planner()] for rank in range(8)]
    assert {len(batches) for batches in planned} == {1}
    assert len({int(index) for batches in planned for batch in batches for index in batch}) == 16
    assert [keys(epoch(streamed(folder, mode="eval", num_replicas=30, rank=rank))) for rank in (0, 29)] == [
        [],
        library.open(folder, "val").column("key")[-1:],
    ]


def test_a_clip_that_does_not_decode_is_replaced_or_not_valid(folder: Path) -> None:
    clips = library.open(folder, "val")
    batch = next(iter(streamed(folder, batch_size=23)))
    bad = set(batch["replaced"]) - {""}
    assert len(bad) == len(BAD)
    assert not bad & set(batch["key"])
    assert set(batch["key"]) <= set(clips.column("key"))
    batch = next(iter(streamed(folder, batch_size=23, mode="eval")))
    assert list(batch["key"]) == clips.column("key")
    assert {key for key, valid in zip(batch["key"], batch["valid"], strict=True) if not valid} == bad
    with pytest.raises(ValueError, match="cannot be decoded|cannot be"):
        list(streamed(folder, on_error="raise"))


def test_stages_of_webdataset_follow(folder: Path, expected: list[Epoch]) -> None:
    names = streamed(folder).map(lambda batch: batch["key"]).map(tuple)
    assert list(names) == [batch[:4] for batch in expected[0]]
    # Nobody knows how many later stages make.
    with pytest.raises(TypeError, match="say it by with_length"):
        len(names)
    assert len(streamed(folder).unbatched().with_length(20, silent=True)) == 20


def late(worker: int) -> None:
    time.sleep(1.5 * (worker == 1))


@pytest.mark.parametrize(("context", "more"), [("fork", "another"), ("fork", "same"), ("spawn", "same")])
def test_all_workers_agree_on_the_epoch_after_one_that_was_left_before_all_had_begun(
    folder: Path, expected: list[Epoch], context: str, more: str
) -> None:
    """However seeds of loaders are drawn."""
    source = streamed(folder)
    options: Any = {"num_workers": 2, "multiprocessing_context": context}
    torch.manual_seed(1)
    looked = iter(DataLoader(source, None, worker_init_fn=late, **options))
    assert next(looked)["key"] == list(expected[0][0][:4])
    del looked
    found = []
    for number in range(2):
        torch.manual_seed(2 + number if more == "another" else 2)
        found.append(epoch(DataLoader(source, None, **options)))
    assert found == expected[1:]


def test_a_worker_that_begins_late_belongs_to_its_own_pass(folder: Path, expected: list[Epoch]) -> None:
    source = streamed(folder)
    early = iter(DataLoader(source, None, num_workers=2, worker_init_fn=late))
    assert next(early)["key"] == list(expected[0][0][:4])
    source.set_epoch(1)
    assert epoch(DataLoader(source, None, num_workers=2)) == expected[1]
    assert epoch(early) == expected[0][1:]
    assert epoch(DataLoader(source, None, num_workers=2)) == expected[2]


def test_persistent_workers_go_on_after_an_epoch_that_was_left(folder: Path, expected: list[Epoch]) -> None:
    source = streamed(folder)
    loader = DataLoader(source, None, num_workers=2, persistent_workers=True, worker_init_fn=late)
    next(iter(loader))
    assert epoch(loader) == expected[1]
    source.set_epoch(0)
    assert [epoch(loader), epoch(loader)] == expected[:2]


def test_clips_that_follow_each_other_are_one_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = library.open(folder, "val")
    reads: list[tuple[int, int]] = []
    original = StorePath.read_range

    def counted(self: Any, start: int, end: int) -> bytes:
        reads.append((start, end))
        return original(self, start, end)

    monkeypatch.setattr(StorePath, "read_range", counted)
    found = clips.together([4, 0, 1, 2, 3, 7, 7])
    assert {index: clip.video for index, clip in found.items()} == {n: clips[n].video for n in (0, 1, 2, 3, 4, 7)}
    assert len(reads) == 2 + 6


def test_what_is_cut_or_gone_is_told_by_name(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    row = library.open(copy, "val")[2].metadata
    with open(copy / row["shard"], "r+b") as file:
        file.truncate(row["offset_bytes"] + 10)
    source = streamed(copy, mode="eval", on_error="raise", batch_size=5)
    with pytest.raises(OSError, match=f"ends after 10 of the .* bytes of {row['key']}"):
        list(source)
    (copy / row["shard"]).unlink()
    with pytest.raises(OSError, match="is gone since the folder was opened; open it again"):
        list(source)


def test_a_bucket_streams_and_what_is_exchanged_in_it_is_refused(folder: Path, expected: list[Epoch]) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/to-stream", recursive=True)
    place = "memory://to-stream"
    clips = library.open(place, "val")
    source = stream(place, "val", 4, num_frames=4, stride=2, size=(24, 32), transform=noisy)
    assert epoch(source) == expected[0]
    assert epoch(DataLoader(source, None, num_workers=2, multiprocessing_context="fork")) == expected[1]
    first, second = (f"/to-stream/val/k400-val-00000{number}.tar" for number in range(2))
    memory.pipe(first, memory.cat(second))
    with pytest.raises(OSError, match=r"are not those that were written; if it was exchanged since"):
        clips[0]
    with pytest.raises(OSError, match=r"are not those that were written|ends after"):
        list(stream(place, "val", 4, mode="eval", num_frames=4, size=(24, 32)))
    memory.rm(first)
    with pytest.raises(OSError, match="is gone since the folder was opened; open it again"):
        list(stream(place, "val", 4, mode="eval", num_frames=4, size=(24, 32)))


def test_options_that_make_no_sense_are_refused_at_once(folder: Path) -> None:
    for options in ({"run_length": 0}, {"num_ahead": 0}, {"batch_size": 0}, {"mode": "test"}, {"stride": 0}):
        with pytest.raises(ValueError, match="expected"):
            streamed(folder, **options)
    for consumed in (-4, 3, 24):
        with pytest.raises(ValueError, match="expected 0 to 20, the samples of this rank's epoch, and whole batches"):
            streamed(folder, consumed=consumed)
    for wrong in ({"seed": -1}, {"seed": 1.5}, {"run_length": 2.5}, {"num_ahead": 1.5}, {"num_replicas": 0}):
        with pytest.raises(ValueError, match="expected"):
            streamed(folder, **wrong)
    for number in (-1, 1.5):
        with pytest.raises(ValueError, match=f"epoch {number}: expected a whole number, 0 or more"):
            streamed(folder).set_epoch(number)
    with pytest.raises(TypeError, match="expected a function of a list of samples"):
        streamed(folder, collate_fn=None)


def test_a_rank_that_has_one_clip_takes_another_rank_s_where_that_is_bad(folder: Path) -> None:
    found = [next(iter(streamed(folder, batch_size=1, num_replicas=23, rank=rank))) for rank in range(23)]
    assert sum(bool(batch["replaced"][0]) for batch in found) == len(BAD)
