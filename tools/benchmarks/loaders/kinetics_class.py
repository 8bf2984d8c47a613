from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import Kinetics
from torchvision.datasets.samplers import RandomClipSampler

from benchmarks.loaders.pixels import cropped


def collated(samples: Sequence[tuple[Any, ...]]) -> torch.Tensor:
    return torch.stack([video for video, *_ in samples])


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    # Every fourth frame of videos of 30 a second. The sound and the label of a sample are left out.
    clips = Kinetics(folder / "folder", 16, "400", "val", frame_rate=7.5, transform=cropped, num_workers=workers)
    sampler = RandomClipSampler(clips.video_clips, 1)
    return iter(DataLoader(clips, size, sampler=sampler, drop_last=True, num_workers=workers, collate_fn=collated))
