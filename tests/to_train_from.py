"""A converted folder that the tests of training read."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from harness import kconvert
from miniature.made import make_clip
from packing import clip_name, origin
from torchdata.stateful_dataloader import StatefulDataLoader

# A server of processes makes the imports of its workers once.
multiprocessing.set_forkserver_preload(["torch", "kconvert.torch"])

NUM_CLIPS = 23
BAD = (4, 11)
"""Clips that pass the check of the default depth, and do not decode."""


def state_after(loader: StatefulDataLoader[Any], epochs: int, step: int, num_batches: int) -> dict[str, Any]:
    """The state after whole epochs, and so many batches of the next one; of the last, that one has ended."""
    for _ in range(epochs):
        list(loader)
    iterator = iter(loader)
    for _ in range(step):
        next(iterator)
    if step == num_batches:
        with pytest.raises(StopIteration):
            next(iterator)
    state: dict[str, Any] = loader.state_dict()
    return state


def convert(place: Path) -> None:
    """k400's val of 23 clips in shards of five, of which two do not decode, as `out`."""
    kinds = ["flipped" if number in BAD else "good" for number in range(NUM_CLIPS)]
    clips = {clip_name(number): make_clip(kind, str(number)) for number, kind in enumerate(kinds)}
    words = ("k400", "--split", "val", "--out", place / "out", "--shard.max_samples", 5)
    ran = kconvert(*words, "--origin", origin(place / "origin", clips))
    assert ran.code == 0, ran.err
