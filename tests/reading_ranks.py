"""Reads a split on four ranks as torch's distributed training has them (gloo), with two workers each, through a library
that knows of ranks by itself: what each of them does with a split that cannot be divided.

    python reading_ranks.py READER FOLDER SPLIT

prints, as JSON, the keys that each rank has seen.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ports import free_port
from reading import HUGGING_FACE_SPLITS

NUM_RANKS = 4
NUM_WORKERS = 2


def loaded(dataset: Any) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    yield from DataLoader(dataset, batch_size=None, num_workers=NUM_WORKERS)


def read_webdataset(out: Path, split: str) -> Iterator[str]:
    import webdataset

    # The line of the card, made for the folder that this stands in.
    (line,) = (line for line in (out / "README.md").read_text().splitlines() if "webdataset.WebDataset(" in line)
    found: dict[str, Any] = {"webdataset": webdataset}
    exec(line, found)
    return (sample["__key__"] for sample in loaded(found["samples"]))


def read_datasets(out: Path, split: str) -> Iterator[str]:
    import datasets
    import datasets.distributed
    import torch.distributed

    samples = datasets.load_dataset(str(out), split=HUGGING_FACE_SPLITS[split], streaming=True).decode(False)
    rank = torch.distributed.get_rank()
    own = datasets.distributed.split_dataset_by_node(samples, rank=rank, world_size=NUM_RANKS)
    return (sample["__key__"] for sample in loaded(own))


def read_litdata(out: Path, split: str, drop_last: bool | None = None) -> Iterator[str]:
    import litdata

    samples = litdata.StreamingDataset(str(out / split), shuffle=False, drop_last=drop_last)
    return (sample["key"] for sample in loaded(samples))


def read_litdata_keeping(out: Path, split: str) -> Iterator[str]:
    return read_litdata(out, split, drop_last=False)


def read_mds(out: Path, split: str) -> Iterator[str]:
    import streaming

    samples = streaming.StreamingDataset(local=str(out / split), shuffle=False, batch_size=1)
    return (sample["key"] for sample in loaded(samples))


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    name.removeprefix("read_"): reader for name, reader in list(globals().items()) if name.startswith("read_")
}


MODULES = {
    "webdataset": "webdataset",
    "datasets": "datasets.distributed",
    "litdata": "litdata",
    "litdata_keeping": "litdata",
    "mds": "streaming",
}


def ray_shares(out: Path, split: str, equal: bool) -> list[list[str]]:
    """Ray Data divides by itself: what its four consumers, as Ray Train has them, are given."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    samples = ray.data.read_webdataset([str(shard) for shard in sorted((out / split).glob("*.tar"))])
    shares = samples.streaming_split(NUM_RANKS, equal=equal)
    with ThreadPoolExecutor(NUM_RANKS) as threads:
        return list(threads.map(lambda share: [row["__key__"] for row in share.iter_rows()], shares))


RAY_MODES = {"ray": False, "ray_equal": True}


def as_rank(reader: str, out: str, split: str, rank: int, port: int, results: Any) -> None:
    import torch.distributed

    # As torchrun says it.
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(NUM_RANKS), "LOCAL_WORLD_SIZE": str(NUM_RANKS),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    os.chdir(out)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=NUM_RANKS)
    results.put((rank, list(READERS[reader](Path(out), split))))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def gloo_shares(reader: str, out: str, split: str) -> list[list[str]]:
    port = free_port()
    # Imports take most of the time, so that they are made once.
    for module in ("torch.distributed", "torch.utils.data", MODULES[reader]):
        importlib.import_module(module)
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    ranks = [fork.Process(target=as_rank, args=(reader, out, split, rank, port, results)) for rank in range(NUM_RANKS)]
    for one in ranks:
        one.start()
    found = dict(results.get(timeout=300) for _ in ranks)
    for one in ranks:
        one.join()
    assert [one.exitcode for one in ranks] == [0] * NUM_RANKS
    return [found[rank] for rank in range(NUM_RANKS)]


def main(reader: str, out: str, split: str) -> None:
    in_ray = reader in RAY_MODES
    shares = ray_shares(Path(out), split, RAY_MODES[reader]) if in_ray else gloo_shares(reader, out, split)
    print(json.dumps(shares), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
