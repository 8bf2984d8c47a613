from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from streaming import StreamingDataset
from torch.utils.data import DataLoader

from benchmarks.loaders.pixels import by_torchcodec


class Clips(StreamingDataset):
    def __getitem__(self, index: Any) -> torch.Tensor:
        return by_torchcodec(super().__getitem__(index)["video"])


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    rows = Clips(local=str(folder / "mds/val"), shuffle=True, batch_size=size)
    return iter(DataLoader(rows, size, drop_last=True, num_workers=workers))
