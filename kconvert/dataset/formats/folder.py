"""Folders: the official tree, `train/LABEL/CLIP.mp4`, with the list files that video libraries read.

A label's folder is spelt as torchvision's own download code spells it (`datasets.Kinetics`: spaces become `_`, and
`'()` are left out), so that list files have no spaces in their paths. `train.csv` has a line `PATH LABEL_ID` for each
clip, in shuffled order, as MMAction2, PyTorchVideo and SlowFast read it; a shard is a part of it, in `lists/`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import Any

from kconvert.dataset.formats.format import Format, Sample, StoredSample, WrittenShard, data_files, paths_by_split
from kconvert.dataset.manifest import Manifest
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath

_MAX_LINE_BYTES = 256
_UNLABELLED = "unlabelled"
"""The folder of clips that have no label: readers look for a folder a class."""


class Folder(Format):
    """Writes and reads a file a clip."""

    name = "folder"
    title = "Folder of videos"
    folders = ("lists",)
    packed_order = ("sample_index",)

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        return f"lists/{split}-{number:06d}.csv"

    def video_path(self, shard: str, split: str, name: str, label: str) -> str:
        return f"{split}/{label_folder(label)}/{name}.mp4"

    def video_files(self, out: StorePath, shard: str) -> Sequence[str]:
        return [path for path, _ in _entries((out / shard).read_bytes())]

    def is_whole(self, out: StorePath, shard: str) -> bool:
        # A store would be asked for each clip.
        return out.local_path is None or all((out / path).is_file() for path in self.video_files(out, shard))

    def sample_index(self, num_before: int, index: int) -> int:
        # Videos that are files of their own are numbered through the whole split.
        return num_before + index

    def split_bytes(self, shards_bytes: int, videos_bytes: int) -> int:
        return shards_bytes + videos_bytes

    def remove_orphans(self, out: StorePath, split: str, known: Set[str]) -> None:
        for path, kind in list((out / split).walk()):
            if kind == "file" and path.relative_to(out).as_posix() not in known:
                path.remove()

    def max_sample_bytes(self, video_bytes: int) -> int:
        return video_bytes + _MAX_LINE_BYTES

    @property
    def overhead_bytes(self) -> int:
        return 0

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample]) -> WrittenShard:
        lines = []
        for sample in samples:
            split, name = sample.metadata["split"], sample.key.partition("_")[2]
            path = self.video_path(shard, split, name, sample.metadata["label"])
            (out / path).parent.make_folder()
            (out / path).write_bytes(sample.video)
            lines.append(f"{path} {sample.label_id}\n")
        (out / shard).parent.make_folder()
        data = "".join(lines).encode()
        (out / shard).write_bytes(data)
        return WrittenShard(len(data), hashlib.sha256(data).hexdigest(), (0,) * len(lines))

    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        for path, label_id in _entries(file.read(sys.maxsize)):
            video = PurePosixPath(path)
            key = f"{video.parts[0]}_{video.stem}"
            yield StoredSample(Sample(key, label_id, {}, (out / path).read_bytes()), 0)

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        return {
            f"{split}.csv": b"".join((out / path).read_bytes() for path in paths if (out / path).is_file())
            for split, paths in paths_by_split(manifest).items()
        }

    def card_config(self, splits: Sequence[str]) -> Mapping[str, Any]:
        return data_files(splits, "{split}/**/*.mp4")

    def card_text(self) -> Sequence[str]:
        return (
            "A clip is a file `SPLIT/LABEL/CLIP.mp4` (unchanged; spaces in labels are `_`, and `'()` are left out).",
            "`SPLIT.csv` has a line `PATH LABEL_ID` for each, as MMAction2, PyTorchVideo and SlowFast read it.",
        )


FORMAT = Folder()


def label_folder(label: str) -> str:
    """The name of a label's folder."""
    return "".join(char for char in label.replace(" ", "_") if char not in "'()") or _UNLABELLED


def _entries(data: bytes) -> list[tuple[str, int]]:
    """The paths and label ids of a list. Raises `ValueError` if it is none."""
    entries = []
    for number, line in enumerate(data.decode("ascii").splitlines(), start=1):
        path, space, label_id = line.rpartition(" ")
        if not space or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or path.count("/") != 2:
            raise ValueError(f"line {number}: got {line[:100]!r}, expected PATH LABEL_ID")
        entries.append((path, int(label_id)))
    return entries
