from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.loaders.pixels import by_torchcodec


class Files(Dataset[torch.Tensor]):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.mp4"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return by_torchcodec(str(self.paths[index]))


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    return iter(DataLoader(Files(folder / "folder"), size, shuffle=True, drop_last=True, num_workers=workers))
