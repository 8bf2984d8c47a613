"""Trainers that know ranks themselves: with the line that the guide gives, none splits once more what is split."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Once
from harness import ROOT
from to_train_from import NUM_CLIPS, convert

import kconvert

WAYS = [("map", "train"), ("map", "eval"), ("stream", "train")]
COMMON = """
import json, sys
import torch
from torch.utils.data import DataLoader
import kconvert
from kconvert.torch import ClipDataset, ClipSampler, stream
folder, out, *ways = sys.argv[1:]
def loader(kind, mode):
    if kind == "stream":
        return DataLoader(stream(folder, "val", 2, mode=mode, num_frames=2, size=(16, 16)), None)
    clips = kconvert.open(folder, "val")
    return DataLoader(ClipDataset(clips, 2, 2, (16, 16)), 2, sampler=ClipSampler(clips, mode=mode, multiple_of=2))
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 3 * 16 * 16, 4))
"""
TRAINERS = {
    "accelerate": """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01))
rank = accelerator.process_index
assert accelerator.num_processes == 2
def seen_by(kind, mode):
    seen = []
    for batch in loader(kind, mode):
        seen += batch["key"]
        if mode == "train":
            accelerator.backward(model(batch["video"].float()).square().mean())
            optimizer.step()
    return seen
""",
    "lightning": """
import pytorch_lightning
class Module(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = model
        self.seen = []
    def step(self, batch, number):
        self.seen.extend(batch["key"])
        return self.model(batch["video"].float()).square().mean()
    training_step = test_step = step
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
class Data(pytorch_lightning.LightningDataModule):
    def __init__(self, *way):
        super().__init__()
        self.train_dataloader = self.test_dataloader = lambda: loader(*way)
def seen_by(kind, mode):
    global rank
    trainer = pytorch_lightning.Trainer(
        use_distributed_sampler=False,
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    module = Module()
    (trainer.fit if mode == "train" else trainer.test)(module, Data(kind, mode))
    assert trainer.world_size == 2
    rank = trainer.global_rank
    return module.seen
""",
}
END = """
seen = {way: seen_by(*way.split("-")) for way in ways}
open(f"{out}/{rank}.json", "w").write(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    """Not to be changed."""
    return once("to-train-from", convert) / "out"


@pytest.fixture(scope="module", params=TRAINERS)
def seen(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two ranks sees, by the ways in which they read."""
    out = tmp_path_factory.mktemp(request.param)
    script = out / "script.py"
    script.write_text(COMMON + TRAINERS[request.param] + END)
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    more = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    ways = ["-".join(way) for way in WAYS]
    done = subprocess.run(
        [*words, *more, script, folder, out, *ways],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize(("kind", "mode"), WAYS)
def test_two_ranks_share_the_clips_once(folder: Path, seen: list[dict[str, Any]], kind: str, mode: str) -> None:
    first, second = (found[f"{kind}-{mode}"] for found in seen)
    assert not set(first) & set(second)
    if mode == "train":
        assert len(first) == len(second) == 10
    else:
        assert sorted(first + second) == sorted(kconvert.open(folder, "val").column("key"))
        assert len(first + second) == NUM_CLIPS
