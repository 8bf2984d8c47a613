"""Trains a small R(2+1)D on clips whose classes are the way in which a square moves, and asks: is it learnt, and is the
curve of losses the same to the last bit where the training was killed, and went on from its last checkpoint?

With --stream batches come from `kconvert.torch.stream`, else from `ClipDataset` and `ClipSampler`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import kconvert as command
from packing import clip_name, origin
from smoke import parse
from torch import nn
from torch.utils.data import DataLoader

import kconvert
from kconvert.torch import ClipDataset, ClipSampler, stream

MOTIONS = {"abseiling": (1, 0), "archery": (-1, 0), "bowling": (0, 1), "zumba": (0, -1)}
"""The labels of k400 that stand for them, and where the square goes in a frame, in pixels."""
SIDE, SQUARE, NUM_FRAMES, RATE = 48, 14, 95, 10
BATCH = 8
SAMPLE: dict[str, Any] = {"num_frames": 8, "stride": 1, "size": (32, 32)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign training", description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--clips", type=int, default=96, help="to train from; a third as many are kept to be tried on")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--kills", type=int, default=3, help="of the training that is gone on with")
    parser.add_argument("--stream", action="store_true", help="batches from a stream")
    parser.add_argument("--train", type=Path, default=None, help=argparse.SUPPRESS)
    options = parse(parser, None, clips=16, epochs=2, kills=1)
    if options.train is not None:
        train(options.train, options.train.parent, options.epochs, options.stream)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for kind, number in (("train", options.clips), ("val", options.clips // 3)):
            convert(folder, kind, number)
        start = time.monotonic()
        curves = [trained(folder, options, kills) for kills in (0, options.kills)]
        accuracies = [evaluate(folder, number) for number in range(2)]
    seconds = (time.monotonic() - start) / 2
    losses = curves[0]
    print(
        f"{options.clips} clips of {len(MOTIONS)} classes, {options.epochs} epochs, {len(losses)} steps, "
        f"{seconds:.0f} s a training; loss {losses[0]:.3f} to {losses[-1]:.3f}"
    )
    print(f"of {options.clips // 3} others, {accuracies[0]:.0%} are right; by chance {1 / len(MOTIONS):.0%}")
    is_same = curves[0] == curves[1] and accuracies[0] == accuracies[1]
    print(f"killed {options.kills} times and gone on: {'the same losses' if is_same else 'OTHER LOSSES'}")
    is_learnt = options.smoke or accuracies[0] >= 0.9
    return int(not (is_same and is_learnt))


def convert(folder: Path, kind: str, num_clips: int) -> None:
    """k400's val of made clips, as `folder/kind`."""
    labels = {clip_name(number): list(MOTIONS)[number % len(MOTIONS)] for number in range(num_clips)}
    clips = {name: made_clip(folder, MOTIONS[label], f"{kind} {name}") for name, label in labels.items()}
    root = origin(folder / f"{kind}-origin", clips)
    lines = ["label,youtube_id,time_start,time_end,split"]
    lines += [f"{label},{name[:11]},0,10,val" for name, label in labels.items()]
    (root / "400/annotations/val.csv").write_text("\n".join(lines), "utf-8")
    words = ("k400", "--split", "val", "--origin", root, "--out", folder / kind, "--shard.max_samples", 7)
    ran = command(*words)
    assert ran.code == 0, ran.err


def made_clip(folder: Path, motion: tuple[int, int], seed: str) -> bytes:
    """A square that goes one way over noise, from anywhere, at the speed of a walk."""
    draw = random.Random(seed)
    noise = np.random.default_rng(draw.randrange(1 << 30))
    x, y, speed = draw.randrange(SIDE), draw.randrange(SIDE), draw.uniform(1.5, 3)
    colour = np.array([draw.randint(120, 255) for _ in range(3)], np.uint8)
    frames = noise.integers(0, 90, (NUM_FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    for number, frame in enumerate(frames):
        rows = np.arange(SQUARE) + round(y + motion[1] * speed * number)
        columns = np.arange(SQUARE) + round(x + motion[0] * speed * number)
        frame[np.ix_(rows % SIDE, columns % SIDE)] = colour
    path = folder / "made.mp4"
    words = [
        "ffmpeg",
        "-v",
        "error",
        "-y",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{SIDE}x{SIDE}",
        "-r",
        str(RATE),
    ]
    more = [
        "-i",
        "-",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "24",
        "-g",
        "8",
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run([*words, *more], input=frames.tobytes(), check=True)
    return path.read_bytes()


class Mixed(nn.Sequential):  # type: ignore[misc]
    """A convolution over space, and one over time."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
            nn.Conv3d(outputs, outputs, (3, 1, 1), 1, (1, 0, 0), bias=False),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
        )


def made_model() -> nn.Module:
    torch.manual_seed(0)
    stages = (Mixed(3, 16, 2), Mixed(16, 32, 2), Mixed(32, 64, 2))
    return nn.Sequential(*stages, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, len(MOTIONS)))


def scaled(video: torch.Tensor) -> torch.Tensor:
    """From T × C × H × W to C × T × H × W, about 0."""
    return video.transpose(0, 1).float() / 128 - 1


def loaded(folder: Path, by_stream: bool, consumed: int, epoch: int) -> Iterator[Iterator[dict[str, Any]]]:
    """The batches of each epoch, from the first that was not consumed on."""
    if by_stream:
        source = stream(folder / "train", "val", BATCH, transform=scaled, consumed=consumed, **SAMPLE)
        source.set_epoch(epoch)
        loader = DataLoader(source, None, num_workers=2)
    else:
        clips = kconvert.open(folder / "train", "val")
        sampler = ClipSampler(clips, multiple_of=BATCH, consumed=consumed)
        sampler.set_epoch(epoch)
        loader = DataLoader(ClipDataset(clips, transform=scaled, **SAMPLE), BATCH, sampler=sampler, num_workers=2)
    while True:
        yield iter(loader)


def train(checkpoint: Path, folder: Path, num_epochs: int, by_stream: bool) -> None:
    """Trains from the checkpoint on, if there is one; writes one after every third step, and at the end."""
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    model, losses, epoch, consumed = made_model(), [], 0, 0
    optimizer = torch.optim.AdamW(model.parameters(), 0.003)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        losses, epoch, consumed = state["losses"], state["epoch"], state["consumed"]

    def keep() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}
        torch.save({**state, "epoch": epoch, "consumed": consumed}, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)

    epochs = loaded(folder, by_stream, consumed, epoch)
    while epoch < num_epochs:
        for batch in next(epochs):
            loss = nn.functional.cross_entropy(model(batch["video"]), classes(batch["label"]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            consumed += len(batch["label"])
            if len(losses) % 3 == 0:
                keep()
        epoch, consumed = epoch + 1, 0
        keep()
    print(json.dumps(losses))


def classes(labels: torch.Tensor) -> torch.Tensor:
    """From the ids of labels in k400 to those of the motions."""
    order = kconvert_ids()
    return torch.tensor([order.index(int(label)) for label in labels])


def kconvert_ids() -> list[int]:
    from kconvert.catalog.shelf import load_release

    return [load_release("k400").label_ids[name] for name in MOTIONS]


def trained(folder: Path, options: argparse.Namespace, num_kills: int) -> list[float]:
    """The losses of a training that is killed so many times."""
    checkpoint = folder / f"{int(num_kills > 0)}.pt"
    words = [sys.executable, "-W", "ignore", "-m", "campaigns.training", "--train", str(checkpoint)]
    words += ["--epochs", str(options.epochs), *(["--stream"] if options.stream else [])]
    draw = random.Random(1)
    for _ in range(num_kills):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
        # After the next checkpoint or the one after that.
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.05)
        time.sleep(draw.random())
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    losses: list[float] = json.loads(done.stdout)
    return losses


def evaluate(folder: Path, number: int) -> float:
    """The share of the other clips that are right."""
    model = made_model()
    model.load_state_dict(torch.load(folder / f"{number}.pt", weights_only=True)["model"])
    model.eval()
    clips = kconvert.open(folder / "val", "val")
    samples = ClipDataset(clips, transform=scaled, **SAMPLE)
    loader = DataLoader(samples, BATCH, sampler=ClipSampler(clips, mode="eval"))
    with torch.no_grad():
        right = [(model(batch["video"]).argmax(1) == classes(batch["label"])).sum().item() for batch in loader]
    return float(sum(right) / len(clips))


if __name__ == "__main__":
    raise SystemExit(main())
