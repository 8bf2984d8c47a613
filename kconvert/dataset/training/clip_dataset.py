"""A map-style dataset for torch: samples of clips. What is random of them is that of the seed, the epoch and the index
alone."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy
import torch
from torch.utils.data import Dataset

from kconvert.dataset.reader import ClipData, Clips
from kconvert.dataset.training.order import EpochIndex, Mode
from kconvert.dataset.videos import ExchangedError
from kconvert.video.sampling import Crop, Sampling, sample

Transform = Callable[[torch.Tensor], Any]
_Found = tuple[torch.Tensor, int, str]
"""The video, the label and the key of a clip."""


@dataclass(frozen=True)
class _Place:
    """Where in a training a sample is."""

    index: int
    """Of the clip."""
    entropy: tuple[int, ...]
    """What all that is random of it comes from."""
    mode: Mode
    """Of the sampler."""
    spares: Sequence[int]
    """Clips that may take its place."""


@dataclass(eq=False)
class ClipDataset(Dataset[dict[str, Any]]):  # type: ignore[misc]
    """Samples of the clips of a split: `video` (T × C × H × W, uint8, or what the transform makes of it), `label` (-1
    without one), `key`, `replaced` (`""`, or the key of the clip that failed) and `valid`.

    A clip that cannot be decoded or read is replaced by another one of the same rank's epoch, whole; in evaluation its
    sample is black, and not `valid`, so that it counts for nothing. Safe in workers, however they are started.

    With another sampler than `ClipSampler`, every pass is one of training, and what is random comes from torch's
    generator.
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

    def __post_init__(self) -> None:
        _ = self._options("train")
        if self.on_error not in ("replace", "raise"):
            raise ValueError(f"on_error {self.on_error!r}: expected replace or raise")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.sample_of(index, self.clips.__getitem__)

    def sample_of(self, index: int, read: Callable[[int], ClipData]) -> dict[str, Any]:
        """The sample of an index; `read` gives its clip, and raises as `clips` do."""
        place = self._place(index)
        try:
            found = self._sample(read(place.index), place)
        except ExchangedError:
            raise
        except (ValueError, OSError) as failure:
            if self.on_error == "raise":
                raise
            return self._instead(place, failure)
        return self._finished(found, place)

    def _instead(self, place: _Place, failure: Exception) -> dict[str, Any]:
        """What stands for a clip that failed."""
        failed = self.clips.select([place.index])
        (key,), (label,) = failed.column("key"), failed.targets
        if place.mode == "eval":
            black = torch.zeros(self.num_frames, 3, *self.size, dtype=torch.uint8)
            return {**self._finished((black, label, key), place), "valid": False}
        for spare in place.spares:
            try:
                found = self._sample(self.clips[spare], place)
            except ExchangedError:
                raise
            except (ValueError, OSError):
                # The next one is tried.
                continue
            return {**self._finished(found, place), "replaced": key}
        num = len(place.spares)
        raise ValueError(f"{key}: {failure}; nor could the {num} clips be had that were tried instead") from failure

    def _place(self, index: int) -> _Place:
        if isinstance(index, EpochIndex):
            return _Place(int(index), (self.seed, index.epoch, int(index), index.repeat), index.mode, index.spares)
        # Of another sampler, which says no epoch: torch's generator, seeded anew in each worker, says what is random.
        number = range(len(self.clips))[operator.index(index)]
        drawn = int(torch.randint(1 << 62, ()).item())
        spares = numpy.random.default_rng([drawn, 1]).integers(len(self.clips), size=8).tolist()
        return _Place(number, (drawn,), "train", spares)

    def _options(self, mode: Mode) -> Sampling:
        is_eval = mode == "eval"
        return Sampling(
            num_frames=self.num_frames,
            stride=self.stride,
            start="center" if is_eval else "random",
            size=self.size,
            crop="center" if is_eval else self.crop,
        )

    def _sample(self, clip: ClipData, place: _Place) -> _Found:
        """The video, the label and the key of a clip."""
        options = replace(self._options(place.mode), generator=numpy.random.default_rng(place.entropy))
        pixels = sample(clip.video, options)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), clip.label_id, clip.key

    def _finished(self, found: _Found, place: _Place) -> dict[str, Any]:
        video, label, key = found
        return {"video": self._transformed(video, place), "label": label, "key": key, "replaced": "", "valid": True}

    def _transformed(self, video: torch.Tensor, place: _Place) -> Any:
        if self.transform is None:
            return video
        with _seeded(place.entropy):
            return self.transform(video)


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
