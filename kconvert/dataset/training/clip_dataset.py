"""A map-style dataset for torch: samples of clips. What is random of them is that of the seed, the epoch and the index
alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from torch.utils.data import Dataset

from kconvert.dataset.reader import ClipData, Clips
from kconvert.dataset.training.order import EpochIndex, Mode
from kconvert.video.sampling import Crop

Transform = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class _Place:
    """Where in a training a sample is."""

    index: int
    """Of the clip."""
    epoch: int
    """From 0."""
    mode: Mode
    """Of the sampler."""
    spares: Sequence[int]
    """Clips that may take its place."""


@dataclass(eq=False)
class ClipDataset(Dataset[dict[str, Any]]):  # type: ignore[misc]
    """Samples of the clips of a split: `video` (T × C × H × W, uint8, or what the transform makes of it), `label` (-1
    without one), `key`, `replaced` (`""`, or the key of the clip that failed) and `valid`.

    A clip that cannot be decoded is replaced by another one of the same rank's epoch, whole; in evaluation its sample
    is black, and not `valid`, so that it counts for nothing. Safe in workers, however they are started.
    """

    clips: Clips
    """Of a split."""
    num_frames: int = 16
    """T."""
    stride: int = 4
    """From one frame to the next."""
    size: tuple[int, int] = (224, 224)
    """H and W: frames are scaled to cover that, and cropped."""
    crop: Crop = "random"
    """Where; in evaluation always in the middle, as is the start."""
    transform: Transform | None = None
    """Of the video; the global generators of torch, numpy and Python are seeded for it, and restored after it."""
    on_error: Literal["replace", "raise"] = "replace"
    """What becomes of a clip that cannot be decoded or read."""
    seed: int = 0
    """Of all that is random."""

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = self._place(index)
        clip = self.clips[place.index]
        try:
            return self._sample(clip, place, replaced="")
        except (ValueError, OSError):
            if self.on_error == "raise":
                raise
        if place.mode == "eval":
            black = torch.zeros(self.num_frames, 3, *self.size, dtype=torch.uint8)
            return {**self._about(clip, ""), "video": self._transformed(black, place), "valid": False}
        for spare in place.spares:
            try:
                return self._sample(self.clips[spare], place, replaced=clip.key)
            except (ValueError, OSError):
                # The next one is tried.
                continue
        num_tried = len(place.spares)
        raise ValueError(f"{clip.key}: cannot be decoded; nor could the {num_tried} clips that were tried instead")

    def _place(self, index: int) -> _Place:
        if isinstance(index, EpochIndex):
            return _Place(int(index), index.epoch, index.mode, index.spares)
        # Of another sampler, which says no epoch.
        spares = numpy.random.default_rng([self.seed, index]).integers(len(self.clips), size=8).tolist()
        return _Place(range(len(self.clips))[index], 0, "train", spares)

    def _sample(self, clip: ClipData, place: _Place, replaced: str) -> dict[str, Any]:
        is_eval = place.mode == "eval"
        pixels = clip.sample(
            num_frames=self.num_frames,
            stride=self.stride,
            start="center" if is_eval else "random",
            size=self.size,
            crop="center" if is_eval else self.crop,
            generator=numpy.random.default_rng(self._entropy(place)),
        )
        video = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return {**self._about(clip, replaced), "video": self._transformed(video, place), "valid": True}

    def _about(self, clip: ClipData, replaced: str) -> dict[str, Any]:
        return {"label": clip.label_id, "key": clip.key, "replaced": replaced}

    def _transformed(self, video: torch.Tensor, place: _Place) -> Any:
        if self.transform is None:
            return video
        with _seeded(self._entropy(place)):
            return self.transform(video)

    def _entropy(self, place: _Place) -> list[int]:
        return [self.seed, place.epoch, place.index]


@contextmanager
def _seeded(entropy: Sequence[int]) -> Iterator[None]:
    """Seeds the global generators, and puts them back."""
    states = torch.get_rng_state(), numpy.random.get_state(), random.getstate()
    seed = int(numpy.random.SeedSequence([*entropy, 1]).generate_state(1)[0])
    torch.random.default_generator.manual_seed(seed)
    numpy.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        numpy.random.set_state(states[1])
        random.setstate(states[2])
