"""Reads a split as users of each library do: `python reading.py READER DIR SPLIT` prints, as JSON, the label id and the
digest of the video of every clip by its key.

Each reader has a process of its own: the libraries warn, and start threads and processes, as they like.
"""

import gc
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# A fifth of the time that such libraries take to be imported.
gc.disable()

Found = dict[str, tuple[int, str]]
HUGGING_FACE_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def found(samples: Iterable[tuple[str, int, bytes]]) -> Found:
    """What was read; a clip that comes twice is told of."""
    read: Found = {}
    for key, label_id, video in samples:
        name = key.rpartition("/")[2]
        assert name not in read, f"{name} came twice"
        read[name] = int(label_id), hashlib.sha256(video).hexdigest()
    return read


def read_webdataset(out: Path, split: str) -> Found:
    """On the brace pattern, shuffled, decoded, in a DataLoader with workers."""
    import torch
    import webdataset as wds

    (pattern,) = re.findall(rf"{split}/\S+", (out / ".nv-meta" / "split.yaml").read_text())
    dataset = wds.WebDataset(str(out / pattern), shardshuffle=100, seed=7, empty_check=False).shuffle(100).decode()
    loader = torch.utils.data.DataLoader(dataset, num_workers=2, batch_size=None)
    return found((sample["__key__"], sample["cls"], sample["mp4"]) for sample in loader)


def read_wids(out: Path, split: str) -> Found:
    """By index, in any order."""
    import wids

    dataset = wids.ShardListDataset(str(out / "index" / f"{split}.json"))
    order = sorted(range(len(dataset)), key=lambda number: -number)
    samples = (dataset[number] for number in order)
    return found((sample["__key__"], sample[".cls"], sample[".mp4"].getvalue()) for sample in samples)


def read_dali(out: Path, split: str) -> Found:
    """By the reader of tars with indexes."""
    from nvidia.dali import fn, pipeline_def

    shards = sorted((out / split).glob("*.tar"))
    indexes = [out / "index" / f"{shard.stem}.idx" for shard in shards]

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)  # type: ignore[untyped-decorator]
    def pipeline() -> Any:
        components: Any = fn.readers.webdataset(
            paths=[str(shard) for shard in shards],
            index_paths=[str(index) for index in indexes],
            ext=["json", "cls", "mp4"],
            missing_component_behavior="error",
            name="reader",
        )
        return tuple(components)

    built = pipeline()
    built.build()

    def samples() -> Iterable[tuple[str, int, bytes]]:
        for _ in range(built.reader_meta("reader")["epoch_size"]):
            text, label, video = (bytes(one.as_array()[0]) for one in built.run())
            yield json.loads(text)["key"], int(label), video

    return found(samples())


def read_energon(out: Path, split: str) -> Found:
    """After `energon prepare`, with a cooker that takes what a crude dataset gives."""
    from megatron.energon import (
        Cooker,
        DefaultTaskEncoder,
        WorkerConfig,
        basic_sample_keys,
        get_savable_loader,
        get_val_dataset,
        stateless,
    )

    @stateless  # type: ignore[untyped-decorator]
    def cook(sample: dict[str, Any]) -> dict[str, Any]:
        return {**basic_sample_keys(sample), "cls": sample["cls"], "mp4": sample["mp4"]}

    class Encoder(DefaultTaskEncoder):  # type: ignore[misc]
        cookers = (Cooker(cook),)
        decoder = None

    workers = WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = get_val_dataset(
        str(out), split_part=split, worker_config=workers, batch_size=None, task_encoder=Encoder()
    )
    loader = get_savable_loader(dataset)
    return found((sample["__key__"], int(sample["cls"]), sample["mp4"]) for sample in loader)


def read_ray(out: Path, split: str) -> Found:
    """As a Ray dataset."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    dataset = ray.data.read_webdataset([str(shard) for shard in sorted((out / split).glob("*.tar"))])
    return found((row["__key__"], row["cls"], row["mp4"]) for row in dataset.iter_rows())


def read_datasets(out: Path, split: str) -> Found:
    """As a Hugging Face dataset."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        return _of_datasets(out, datasets.load_dataset(str(out), split=HUGGING_FACE_SPLITS[split], cache_dir=cache))


def read_datasets_streaming(out: Path, split: str) -> Found:
    """As a Hugging Face dataset that streams."""
    import datasets

    return _of_datasets(out, datasets.load_dataset(str(out), split=HUGGING_FACE_SPLITS[split], streaming=True))


def _of_datasets(out: Path, dataset: Any) -> Found:
    from datasets import Video

    video, label, key = ("mp4", "cls", "__key__") if "mp4" in dataset.features else ("video", "label", "key")
    assert dataset.features[label].names == (out / "labels.txt").read_text().splitlines()
    plain = dataset.cast_column(video, Video(decode=False))
    return found((row[key], row[label], row[video]["bytes"]) for row in plain)


def read_kconvert(out: Path, split: str) -> Found:
    """By kconvert itself, in a DataLoader with workers."""
    import torch

    import kconvert

    clips = kconvert.open(str(out), split)
    loader = torch.utils.data.DataLoader(clips, num_workers=2, batch_size=3, shuffle=True, collate_fn=list)
    return found((clip.key, clip.label_id, clip.video) for batch in loader for clip in batch)


def read_videofolder(out: Path, split: str) -> Found:
    """As a Hugging Face dataset of video files, with the label ids of its metadata."""
    import datasets

    dataset = datasets.load_dataset(str(out), split=HUGGING_FACE_SPLITS[split], streaming=True)
    plain = dataset.cast_column("video", datasets.Video(decode=False))
    labels = (out / "labels.txt").read_text().splitlines()
    rows = ((Path(row["video"]["path"]), row["label"], row["label_id"]) for row in plain)
    samples = []
    for path, label, label_id in rows:
        assert label == (labels[label_id] if label_id >= 0 else None)
        samples.append((f"{split}_{path.stem}", label_id, path.read_bytes()))
    return found(samples)


def read_list(out: Path, split: str) -> Found:
    """As MMAction2's `VideoDataset` and SlowFast's `Kinetics` read their list files: a line, split at the space."""
    entries = (line.strip().split(" ") for line in (out / f"{split}.csv").read_text().splitlines())
    return found((f"{split}_{Path(path).stem}", int(label_id), (out / path).read_bytes()) for path, label_id in entries)


def read_litdata(out: Path, split: str) -> Found:
    """As a LitData streaming dataset, in its loader with workers."""
    import litdata

    dataset = litdata.StreamingDataset(str(out / split), shuffle=True)
    loader = litdata.StreamingDataLoader(dataset, num_workers=2, batch_size=2, collate_fn=list)
    return found((row["key"], row["label_id"], row["video"]) for batch in loader for row in batch)


def read_mds(out: Path, split: str) -> Found:
    """As a MosaicML streaming dataset."""
    import streaming

    dataset = streaming.StreamingDataset(local=str(out / split), shuffle=True, batch_size=1)
    return found((row["key"], row["label_id"], row["video"]) for row in dataset)


def read_lance(out: Path, split: str) -> Found:
    """As a Lance dataset, some rows at a time, in an order of ours."""
    import lance

    dataset = lance.dataset(str(out / f"{split}.lance"))
    order = list(range(dataset.count_rows()))[::-1]
    rows = dataset.take(order, columns=["key", "label_id", "video"]).to_pylist()
    return found((row["key"], row["label_id"], row["video"]) for row in rows)


READERS: dict[str, Callable[[Path, str], Found]] = {
    name.removeprefix("read_"): reader for name, reader in list(globals().items()) if name.startswith("read_")
}


if __name__ == "__main__":
    print(json.dumps(READERS[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])), flush=True)
