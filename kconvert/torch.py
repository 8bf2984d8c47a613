"""Training with torch: `ClipDataset` gives samples, `ClipSampler` says which ones each rank sees in each epoch;
`stream` gives whole batches of the same, read in few large pieces.

clips = kconvert.open("k700-2020-webdataset", "train")
loader = DataLoader(ClipDataset(clips), batch_size=8, sampler=ClipSampler(clips, multiple_of=8), num_workers=8)
"""

from kconvert.dataset.training.clip_dataset import ClipDataset
from kconvert.dataset.training.clip_sampler import ClipSampler
from kconvert.dataset.training.stream import stream

__all__ = ["ClipDataset", "ClipSampler", "stream"]
