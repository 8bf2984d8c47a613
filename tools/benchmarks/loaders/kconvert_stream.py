from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from benchmarks.loaders.pixels import normalised
from kconvert.torch import stream


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    source = stream(folder / "webdataset", "val", size, transform=normalised)
    return (batch["video"] for batch in DataLoader(source, None, num_workers=workers))
