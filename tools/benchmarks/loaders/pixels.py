"""Sixteen frames, every fourth, from a random start, scaled to cover 224 x 224 and cropped."""

from __future__ import annotations

from typing import Any

import torch
from torchcodec.decoders import VideoDecoder

SIZE = 224
MEAN, STD = (torch.tensor(found).view(3, 1, 1, 1) for found in ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)))


def normalised(video: torch.Tensor) -> torch.Tensor:
    """From T × C × H × W, uint8, to C × T × H × W."""
    return (video.transpose(0, 1).float() / 255 - MEAN) / STD


def indexes(num_frames: int) -> list[int]:
    start = int(torch.randint(max(1, num_frames - 60), ()))
    return [min(start + 4 * number, num_frames - 1) for number in range(16)]


def cropped(frames: torch.Tensor) -> torch.Tensor:
    height, width = frames.shape[-2:]
    scale = SIZE / min(height, width)
    size = (max(SIZE, round(height * scale)), max(SIZE, round(width * scale)))
    frames = torch.nn.functional.interpolate(frames.float(), size, mode="bilinear").round().to(torch.uint8)
    top, left = (int(torch.randint(side - SIZE + 1, ())) for side in size)
    return normalised(frames[..., top : top + SIZE, left : left + SIZE])


def by_torchcodec(source: Any) -> torch.Tensor:
    """From a path or bytes."""
    decoder = VideoDecoder(source, num_ffmpeg_threads=1)
    return cropped(decoder.get_frames_at(indexes(len(decoder))).data)
