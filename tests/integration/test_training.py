"""Training from a converted folder with torch, in all the ways in which workers and ranks begin."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Once
from ports import free_port
from to_train_from import BAD, NUM_CLIPS, convert, state_after
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import kconvert as library
from kconvert.dataset.reader import Clips
from kconvert.torch import ClipDataset, ClipSampler


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    """k400's val of 23 clips in shards of five, of which two do not decode. Not to be changed."""
    return once("to-train-from", convert) / "out"


@pytest.fixture
def clips(folder: Path) -> Clips:
    return library.open(folder, "val")


def flipped(video: torch.Tensor) -> torch.Tensor:
    """A transform that draws from all three global generators."""
    if torch.rand(()) < 0.5:
        video = video.flip(-1)
    if np.random.random() < 0.5:
        video = video.flip(-2)
    return video.float() / 255 + random.random()


def dataset(clips: Clips, **options: Any) -> ClipDataset:
    return ClipDataset(clips, num_frames=4, stride=2, size=(24, 32), transform=flipped, **options)


def loader(clips: Clips, sampler: ClipSampler, **options: Any) -> DataLoader[Any]:
    return DataLoader(dataset(clips), batch_size=4, sampler=sampler, **options)


def batches(source: DataLoader[Any]) -> list[dict[str, Any]]:
    return list(source)


def digest(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (
            tuple(batch["key"]),
            tuple(batch["replaced"]),
            batch["label"].tolist(),
            round(float(batch["video"].double().sum()), 3),
        )
        for batch in found
    ]


def keys(found: list[dict[str, Any]]) -> list[str]:
    return [key for batch in found for key in batch["key"]]


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[tuple[Any, ...]]]:
    """Three epochs without workers."""
    clips = library.open(folder, "val")
    sampler = ClipSampler(clips, multiple_of=4)
    return [digest(batches(loader(clips, sampler))) for _ in range(3)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize(
    ("context", "num_workers", "persistent"),
    [("fork", 1, False), ("fork", 3, True), ("spawn", 2, True), ("forkserver", 2, True)],
)
def test_batches_are_the_same_however_workers_are_started_and_kept(
    clips: Clips, expected: list[list[tuple[Any, ...]]], context: str, num_workers: int, persistent: bool
) -> None:
    """The epoch reaches persistent workers, generators are those of a sample, nothing open survives a fork."""
    sampler = ClipSampler(clips, multiple_of=4)
    options = {"num_workers": num_workers, "persistent_workers": persistent, "multiprocessing_context": context}
    source = loader(clips, sampler, prefetch_factor=8, **options)
    assert [digest(batches(source)) for _ in range(3)] == expected


def test_epochs_differ_and_the_last_batch_is_whole(expected: list[list[tuple[Any, ...]]]) -> None:
    orders = [tuple(key for batch in epoch for key in batch[0]) for epoch in expected]
    assert len(set(orders)) == 3
    assert {len(order) for order in orders} == {20}
    assert {len(batch[0]) for epoch in expected for batch in epoch} == {4}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("step", [1, 3])
def test_an_interrupted_epoch_goes_on_where_the_loop_was_and_later_ones_are_whole(
    clips: Clips, expected: list[list[tuple[Any, ...]]], num_workers: int, step: int
) -> None:
    """Whatever was prefetched when it was interrupted."""
    sampler = ClipSampler(clips, multiple_of=4, consumed=4 * step)
    sampler.set_epoch(0)
    assert len(sampler) == 20 - 4 * step
    source = loader(clips, sampler, num_workers=num_workers, prefetch_factor=8 if num_workers else None)
    assert digest(batches(source)) == expected[0][step:]
    assert [digest(batches(source)) for _ in range(2)] == expected[1:]


@pytest.mark.filterwarnings("ignore:.set_vital. is deprecated")
@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize(("epochs", "step"), [(0, 0), (0, 2), (0, 5), (1, 0), (1, 3), (1, 5)])
def test_a_stateful_loader_goes_on_where_its_state_was_taken(
    clips: Clips, expected: list[list[tuple[Any, ...]]], num_workers: int, persistent: bool, epochs: int, step: int
) -> None:
    """torchdata's; after whole epochs, too, and with `set_epoch` as loops have it."""
    options = {"num_workers": num_workers, "persistent_workers": persistent}
    taken = stateful(clips, **options)
    state = state_after(taken, epochs, step, 5)
    if step == 5:
        assert digest(batches(taken)) == expected[epochs + 1]
    for sets_epoch in (False, True):
        source = stateful(clips, **options)
        source.load_state_dict(state)
        if step < 5:
            assert digest(batches(source)) == expected[epochs][step:]
        for number in range(epochs + 1, 3):
            if sets_epoch:
                source.sampler.set_epoch(number)
            assert digest(batches(source)) == expected[number]


def stateful(clips: Clips, **options: Any) -> StatefulDataLoader[Any]:
    return StatefulDataLoader(dataset(clips), 4, sampler=ClipSampler(clips, multiple_of=4), **options)


def test_a_state_applies_to_one_epoch(clips: Clips, expected: list[list[tuple[Any, ...]]]) -> None:
    first = ClipSampler(clips, multiple_of=4)
    iterator = iter(first)
    for _ in range(8):
        next(iterator)
    second = ClipSampler(clips, multiple_of=4)
    second.load_state_dict(first.state_dict())
    assert digest(batches(loader(clips, second))) == expected[0][2:]
    assert digest(batches(loader(clips, second))) == expected[1]


def test_a_clip_that_does_not_decode_is_replaced_whole_and_by_one_of_its_rank(clips: Clips) -> None:
    bad = {clips[number].key for number in range(len(clips)) if not decodes(clips, number)}
    assert len(bad) == len(BAD)
    for rank in range(3):
        sampler = ClipSampler(clips, num_replicas=3, rank=rank)
        own = [clips[index].key for index in sampler]
        sampler.set_epoch(0)
        found = batches(loader(clips, sampler))
        replaced = dict(zip([name for batch in found for name in batch["replaced"]], keys(found), strict=True))
        assert set(replaced) - {""} == bad & set(own)
        assert not bad & set(keys(found))
        assert set(keys(found)) <= set(own)
        assert len(keys(found)) == len(own)


def decodes(clips: Clips, number: int) -> bool:
    try:
        clips[number].sample(num_frames=16, stride=4, start=0.0)
    except ValueError:
        return False
    return True


def test_in_evaluation_it_is_not_valid_and_every_clip_is_there_once(clips: Clips) -> None:
    found = [
        sample
        for rank in range(4)
        for sample in map(dataset(clips).__getitem__, ClipSampler(clips, "eval", num_replicas=4, rank=rank))
    ]
    assert sorted(sample["key"] for sample in found) == sorted(clips.column("key"))
    assert sum(not sample["valid"] for sample in found) == len(BAD)
    assert {sample["video"].shape for sample in found} == {torch.Size([4, 3, 24, 32])}
    again = dataset(clips)[next(iter(ClipSampler(clips, "eval")))]
    assert torch.equal(again["video"], next(one for one in found if one["key"] == again["key"])["video"])


def test_errors_are_raised_where_that_is_asked_for(clips: Clips) -> None:
    strict = dataset(clips, on_error="raise")
    with pytest.raises(ValueError, match="cannot be decoded|cannot be"):
        for number in range(len(clips)):
            strict[number]


def test_global_generators_are_as_they_were(clips: Clips) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    for index in ClipSampler(clips):
        dataset(clips)[index]
    after = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    assert before == after


RANKS = """
import multiprocessing, sys
from pathlib import Path
import torch
from torch.utils.data import DataLoader
import kconvert
from kconvert.torch import ClipDataset, ClipSampler
def train(folder, out, ranks, port, workers, rank):
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    clips = kconvert.open(folder, "val")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))
    seen = []
    for mode in ("train", "eval"):
        sampler = ClipSampler(clips, mode)
        loader = DataLoader(ClipDataset(clips, 2, 2, (8, 8)), 4, sampler=sampler, num_workers=workers)
        for epoch in range(2):
            for batch in loader:
                pixels = batch["video"].float().mean((1, 3, 4)) / 255
                if mode == "train":
                    model(pixels).sum().backward()
                seen.append(" ".join([mode, str(epoch), *batch["key"]]))
    torch.distributed.destroy_process_group()
    (Path(out) / f"rank{rank}").write_text("\\n".join(seen))
if __name__ == "__main__":
    folder, out, ranks, port, workers = *sys.argv[1:3], *map(int, sys.argv[3:])
    # What is imported is imported once.
    fork = multiprocessing.get_context("fork")
    own = [fork.Process(target=train, args=(folder, out, ranks, port, workers, rank)) for rank in range(ranks)]
    for one in own:
        one.start()
    for one in own:
        one.join()
    sys.exit(max(abs(one.exitcode) for one in own))
"""


@pytest.mark.parametrize(("ranks", "workers"), [(3, 1), (4, 0)])
def test_ranks_of_a_real_group_share_a_split_and_none_blocks(
    folder: Path, tmp_path: Path, ranks: int, workers: int
) -> None:
    script = tmp_path / "train.py"
    script.write_text(RANKS)
    words = [sys.executable, script, folder, tmp_path, ranks, free_port(), workers]
    env = {**os.environ, "PYTHONDEVMODE": ""}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=env, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    seen: dict[tuple[str, str], list[list[str]]] = {}
    for rank in range(ranks):
        own: dict[tuple[str, str], list[str]] = {}
        for mode, epoch, *names in map(str.split, (tmp_path / f"rank{rank}").read_text().splitlines()):
            own.setdefault((mode, epoch), []).extend(names)
        for place, names in own.items():
            seen.setdefault(place, []).append(names)
    for epoch in "01":
        counts = Counter(name for names in seen["eval", epoch] for name in names)
        assert len(counts) == NUM_CLIPS
        assert set(counts.values()) == {1}
        assert {len(names) for names in seen["train", epoch]} == {NUM_CLIPS // ranks}
    assert seen["train", "0"] != seen["train", "1"]


def test_clips_have_the_names_that_people_know(clips: Clips, folder: Path) -> None:
    assert len(clips.classes) == 400
    assert clips.class_to_idx["zumba"] == clips.targets[0] == clips.classes.index("zumba")
    assert repr(clips) == f"<23 clips of val {folder}>"
    assert len(repr(clips[0])) < 100
    assert [clip.key for clip in clips[[3, 1, -1]]] == [clips[3].key, clips[1].key, clips[22].key]
    assert [len(clips.shard(4, number)) for number in range(4)] == [5, 6, 6, 6]
    assert [clip.key for n in range(4) for clip in clips.shard(4, n)] == clips.column("key")
    few = clips.remap_labels()
    assert (few.classes, set(few.targets), few[0].label_id) == (["zumba"], {0}, 0)
    assert len(clips.filter(label="zumba")) == 23
    with pytest.raises(ValueError, match="no label 'zumbas', expected one of the release's; did you mean 'zumba'"):
        clips.filter(label=["zumbas"])
    for wrong in ("64", [1, "x"], 1 << 70):
        with pytest.raises(ValueError, match="width .*: expected values of int32"):
            clips.filter(width=wrong)
    assert len(clips.filter(lambda column: column("source_width") > 1)) == 0
    assert len(clips.filter(lambda column: column("source_width") > 1, unknown="keep")) == 23
    with pytest.raises(IndexError):
        clips.select([23])
    with pytest.raises(ValueError, match="got a mask"):
        clips[[True, False]]
    assert [clip.key for clip in clips.select(np.array([3, 1]))] == [clips[3].key, clips[1].key]  # type: ignore[arg-type]
    assert few.column("label_id") == few.targets
    assert few[0].metadata["label_id"] == 0
    assert len(few.filter(label_id=0)) == 23


def test_options_that_make_no_sense_are_refused_at_once(clips: Clips) -> None:
    for options in ({"stride": 0}, {"size": (24,)}, {"crop": "middle"}, {"on_error": "skip"}):
        with pytest.raises(ValueError, match="expected"):
            ClipDataset(clips, **options)
    for consumed in (-1, 24):
        with pytest.raises(ValueError, match="expected 0 to 23"):
            ClipSampler(clips, consumed=consumed)
    sampler = ClipSampler(clips)
    with pytest.raises(ValueError, match="expected 0 to 23"):
        sampler.load_state_dict({"epoch": 1, "consumed": 99})
    assert len(sampler) == 23
    for wrong in ({"seed": -1}, {"seed": 0.5}, {"num_replicas": 0}):
        with pytest.raises(ValueError, match="expected"):
            ClipSampler(clips, **wrong)


def test_what_is_wrong_with_a_transform_is_raised(clips: Clips) -> None:
    def broken(video: torch.Tensor) -> torch.Tensor:
        raise ValueError("my bug")

    with pytest.raises(ValueError, match="^my bug$"):
        ClipDataset(clips, 2, 2, (8, 8), transform=broken)[0]


def test_with_another_sampler_torch_says_what_is_random(clips: Clips) -> None:
    samples = ClipDataset(clips, 4, 2, (24, 32))
    loads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        source = DataLoader(samples, 4, shuffle=False)
        loads.append([[float(batch["video"].double().sum()) for batch in source] for _ in range(2)])
    assert loads[0] == loads[1] != loads[2]
    assert loads[0][0] != loads[0][1]
    assert samples[-1]["key"] == clips[-1].key
    assert samples[torch.tensor(3)]["key"] == clips[3].key


def test_after_the_last_sample_a_state_is_that_of_the_next_epoch(clips: Clips) -> None:
    sampler = ClipSampler(clips)
    list(sampler)
    assert sampler.state_dict() == {"epoch": 1, "consumed": 0}


def test_slices_are_those_of_a_list(clips: Clips) -> None:
    keys = clips.column("key")
    for where in (
        slice(None, None, -1),
        slice(3, None, -1),
        slice(8, 1, -3),
        slice(2, 20, 3),
        slice(5, 5),
        slice(-4, None),
    ):
        part = clips[where]
        assert part.column("key") == keys[where]
        assert part[::-1][1:4].column("key") == keys[where][::-1][1:4]
        assert [clip.key for clip in part] == keys[where]


def test_the_row_of_a_clip_is_a_mapping_of_the_table(clips: Clips, folder: Path) -> None:
    rows = {row["key"]: row for row in pq.read_table(folder / "metadata/val.parquet").to_pylist()}
    clip = clips[3]
    assert clip.metadata == rows[clip.key]
    assert json.loads(json.dumps(dict(clip.metadata))) == rows[clip.key]
    assert pickle.loads(pickle.dumps(clip)).metadata == rows[clip.key]
    (only,) = clips.select([3]).remap_labels()
    assert only.metadata == {**rows[clip.key], "label_id": 0}


def test_validation_means_val(folder: Path) -> None:
    assert len(library.open(folder, "validation")) == NUM_CLIPS
    assert [num for _, num in library.shard_urls(folder, "validation")] == [5, 5, 5, 5, 3]


def test_what_is_sent_to_a_worker_is_small_and_arrives_as_the_same_clips(clips: Clips) -> None:
    for chosen in (clips, clips[3:9], clips.filter(youtube_id=clips.column("youtube_id")[5:7]), clips.remap_labels()):
        sent = pickle.dumps(chosen)
        assert len(sent) < 20_000
        arrived = pickle.loads(sent)
        assert arrived.column("key") == chosen.column("key")
        assert arrived.targets == chosen.targets
        assert arrived[0].video == chosen[0].video


def test_a_shard_that_is_exchanged_under_a_reader_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    clips = library.open(copy, "val")
    keys = clips.column("key")
    shard = copy / clips.column("shard")[0]
    shard.write_bytes(shard.read_bytes())
    for reader in (clips, pickle.loads(pickle.dumps(clips))):
        with pytest.raises(OSError, match=f"{shard.name}: was exchanged since the folder was opened; open it again"):
            reader[0]
    assert library.open(copy, "val")[0].key == keys[0]
    shard.unlink()
    with pytest.raises(OSError, match="is gone since the folder was opened"):
        clips[0]


def test_torchcodec_decodes_the_same_frames_from_anywhere(clips: Clips) -> None:
    clip = clips[0]
    frames = list(clip.frames())
    decoder = clip.decoder()
    assert len(decoder) == len(frames)
    for index in (len(frames) - 1, 0, 7):
        assert np.array_equal(decoder[index].permute(1, 2, 0).numpy(), frames[index])


def test_kconvert_itself_does_not_import_torch() -> None:
    code = "import sys, kconvert; kconvert.open; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_one_thread_decodes_and_nothing_stays_open(clips: Clips) -> None:
    samples = ClipDataset(clips, 4, 2, (24, 32))
    samples[0]
    before = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        for number in range(len(clips)):
            samples[number]
    assert (len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))) == before
