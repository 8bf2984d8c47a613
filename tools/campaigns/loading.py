"""Thousands of samples from one worker of torch's DataLoader: its memory, open files and threads must stay
as they are."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from harness import kconvert as command
from miniature.made import make_clip
from packing import clip_name, origin
from smoke import parse
from torch.utils.data import DataLoader

import kconvert
from kconvert.torch import ClipDataset, ClipSampler, stream

NUM_CLIPS = 40
BATCH = 4
MAX_GROWTH_BYTES = 16 << 20
"""From a quarter of the samples on, by when caches are full."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign loading", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--samples", type=int, default=5000)
    options = parse(parser, None, samples=120)
    num_wrong = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        out = Path(name) / "out"
        clips = {clip_name(number): make_clip("with_audio", str(number)) for number in range(NUM_CLIPS)}
        ran = command("k400", "--split", "val", "--origin", origin(Path(name) / "origin", clips), "--out", out)
        assert ran.code == 0, ran.err
        for kind, loader in loaders(out).items():
            seen = list(watched(endless(loader), options.samples))
            first, last = seen[len(seen) // 4], seen[-1]
            print(
                f"{kind}: {options.samples:,} samples; from a quarter on {(last[0] - first[0]) / 1e6:+.1f} MB of "
                f"{first[0] / 1e6:.0f}, files {first[1]} to {last[1]}, threads {first[2]} to {last[2]}",
                flush=True,
            )
            is_flat = last[0] - first[0] <= MAX_GROWTH_BYTES and last[1] <= first[1] and last[2] <= first[2]
            num_wrong += not is_flat and not options.smoke
    return int(num_wrong > 0)


def loaders(out: Path) -> dict[str, DataLoader[Any]]:
    """Each with one worker, which stays."""
    clips = kconvert.open(out, "val")
    shape: dict[str, Any] = {"num_frames": 8, "stride": 2, "size": (48, 48)}
    kept: dict[str, Any] = {"num_workers": 1, "persistent_workers": True}
    sampler = ClipSampler(clips, multiple_of=BATCH)
    return {
        "ClipDataset": DataLoader(ClipDataset(clips, **shape), BATCH, sampler=sampler, **kept),
        "stream": DataLoader(stream(out, "val", BATCH, **shape), None, **kept),
    }


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of one epoch after the other."""
    while True:
        yield from loader


def watched(batches: Iterable[Any], num_samples: int) -> Iterator[tuple[int, int, int]]:
    """Bytes that the worker has for itself, its open files and its threads, twenty times on the way."""
    every = max(1, num_samples // BATCH // 20)
    others = set(psutil.Process().children())
    for number, _ in enumerate(batches):
        if number % every == 0:
            worker = next(one for one in psutil.Process().children() if one not in others)
            yield worker.memory_full_info().uss, worker.num_fds(), worker.num_threads()
        if number * BATCH >= num_samples:
            return


if __name__ == "__main__":
    raise SystemExit(main())
