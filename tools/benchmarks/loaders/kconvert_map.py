from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import kconvert
from benchmarks.loaders.pixels import normalised
from kconvert.torch import ClipDataset, ClipSampler


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    clips = kconvert.open(folder / "webdataset", "val")
    samples, sampler = ClipDataset(clips, transform=normalised), ClipSampler(clips, multiple_of=size)
    return (batch["video"] for batch in DataLoader(samples, size, sampler=sampler, num_workers=workers))
