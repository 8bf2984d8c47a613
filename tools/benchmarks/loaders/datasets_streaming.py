from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
from torch.utils.data import DataLoader

from benchmarks.loaders.pixels import by_torchcodec


def sample(row: dict[str, Any]) -> dict[str, Any]:
    return {"video": by_torchcodec(row["mp4"]["bytes"])}


def batches(folder: Path, size: int, workers: int) -> Iterator[torch.Tensor]:
    rows = datasets.load_dataset(str(folder / "webdataset"), split="validation", streaming=True)
    rows = rows.cast_column("mp4", datasets.Video(decode=False)).shuffle(buffer_size=100, seed=0)
    found = rows.map(sample, remove_columns=rows.column_names).with_format("torch")
    return (batch["video"] for batch in DataLoader(found, size, drop_last=True, num_workers=workers))
