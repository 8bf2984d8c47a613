"""Trainers that know ranks themselves: with the line that the guide gives, none splits once more what is split."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Once
from harness import ROOT
from to_train_from import NUM_CLIPS, convert

import kconvert

COMMON = """
import json, sys
import torch
from torch.utils.data import DataLoader
import kconvert
from kconvert.torch import ClipDataset, ClipSampler, stream
folder, kind, mode, out = sys.argv[1:]
def loader():
    if kind == "stream":
        return DataLoader(stream(folder, "val", 2, mode=mode, num_frames=2, size=(16, 16)), None)
    clips = kconvert.open(folder, "val")
    return DataLoader(ClipDataset(clips, 2, 2, (16, 16)), 2, sampler=ClipSampler(clips, mode=mode, multiple_of=2))
seen = []
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 3 * 16 * 16, 4))
"""
TRAINERS = {
    "accelerate": """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.01))
for batch in loader():
    seen += batch["key"]
    if mode == "train":
        accelerator.backward(model(batch["video"].float()).square().mean())
        optimizer.step()
rank = accelerator.process_index
assert accelerator.num_processes == 2
""",
    "lightning": """
import pytorch_lightning
class Module(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = model
    def step(self, batch, number):
        seen.extend(batch["key"])
        return self.model(batch["video"].float()).square().mean()
    training_step = test_step = step
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
trainer = pytorch_lightning.Trainer(
    use_distributed_sampler=False,
    accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)
class Data(pytorch_lightning.LightningDataModule):
    train_dataloader = test_dataloader = lambda self: loader()
(trainer.fit if mode == "train" else trainer.test)(Module(), Data())
rank = trainer.global_rank
assert trainer.world_size == 2
""",
}
END = """
open(f"{out}/{rank}.json", "w").write(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def folder(once: Once) -> Path:
    """Not to be changed."""
    return once("to-train-from", convert) / "out"


@pytest.mark.parametrize(("kind", "mode"), [("map", "train"), ("map", "eval"), ("stream", "train")])
@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_ranks_share_the_clips_once(folder: Path, tmp_path: Path, trainer: str, kind: str, mode: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(COMMON + TRAINERS[trainer] + END)
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    more = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    done = subprocess.run(
        [*words, *more, script, folder, kind, mode, tmp_path],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert not set(first) & set(second)
    if mode == "train":
        assert len(first) == len(second) == 10
    else:
        assert sorted(first + second) == sorted(kconvert.open(folder, "val").column("key"))
        assert len(first + second) == NUM_CLIPS
