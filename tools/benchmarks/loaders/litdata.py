from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from litdata import StreamingDataLoader, StreamingDataset

from benchmarks.loaders.pixels import by_torchcodec


class Clips(StreamingDataset):  # type: ignore[misc]
    def __getitem__(self, index: Any) -> torch.Tensor:
        return by_torchcodec(super().__getitem__(index)["video"])


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    rows = Clips(str(folder / "litdata/val"), shuffle=True, drop_last=True)
    return iter(StreamingDataLoader(rows, batch_size=size, num_workers=workers, drop_last=True))
