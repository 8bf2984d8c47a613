from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset
from torch.utils.data import DataLoader

from benchmarks.loaders.pixels import by_torchcodec


def sample(found: dict[str, Any]) -> torch.Tensor:
    return by_torchcodec(found["mp4"])


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    shards = sorted(map(str, (folder / "webdataset/val").glob("*.tar")))
    rows = webdataset.WebDataset(shards, shardshuffle=len(shards), seed=0).shuffle(100).map(sample)
    return iter(DataLoader(rows.batched(size, partial=False, collation_fn=torch.stack), None, num_workers=workers))
