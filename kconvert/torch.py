"""Training with torch: `ClipDataset` gives samples, `ClipSampler` says which ones each rank sees in each epoch.

clips = kconvert.open("k700-2020-webdataset", "train")
loader = DataLoader(ClipDataset(clips), batch_size=8, sampler=ClipSampler(clips, multiple_of=8), num_workers=8)
"""

from kconvert.dataset.training.clip_dataset import ClipDataset
from kconvert.dataset.training.clip_sampler import ClipSampler

__all__ = ["ClipDataset", "ClipSampler"]
