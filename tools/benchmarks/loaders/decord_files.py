from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.loaders.pixels import cropped, indexes


class Files(Dataset[torch.Tensor]):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.rglob("*.mp4"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        import decord

        reader = decord.VideoReader(str(self.paths[index]), num_threads=1)
        return cropped(torch.from_numpy(reader.get_batch(indexes(len(reader))).asnumpy()).permute(0, 3, 1, 2))


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    return iter(DataLoader(Files(folder / "folder"), size, shuffle=True, drop_last=True, num_workers=workers))
