"""Folders: the official tree, `train/LABEL/CLIP.mp4`, with the list files that video libraries read.

A label's folder is spelt as torchvision's own download code spells it (`datasets.Kinetics`: spaces become `_`, and
`'()` are left out), so that list files have no spaces in their paths. `train.csv` has a line `PATH LABEL_ID` for each
clip, in shuffled order, as MMAction2, PyTorchVideo and SlowFast read it; a shard is a part of it, in `lists/`.
`train/metadata.csv` has the same for Hugging Face datasets.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from kconvert.catalog.release import Release
from kconvert.dataset.croissant import Media
from kconvert.dataset.formats.format import (
    SOUND_KINDS,
    Format,
    Sample,
    Sound,
    StoredSample,
    WrittenShard,
    card_split,
    data_files,
    paths_by_split,
)
from kconvert.dataset.manifest import Manifest, release_of
from kconvert.storage.digests import DigestedReader
from kconvert.storage.store import StorePath

if TYPE_CHECKING:
    from kconvert.columns.column import Column

_MAX_LINE_BYTES = 256
_ENDING = ".mp4"
_SOUND_ENDINGS = tuple(f".{kind}" for kind in SOUND_KINDS)
_METADATA_NAME = "metadata.csv"
"""In the folder of a split: what Hugging Face datasets takes labels from, which else numbers folders by itself."""


class Folder(Format):
    """Writes and reads a file a clip."""

    name = "folder"
    title = "Folder of videos"
    folders = ("lists",)
    has_annotations = False
    shard_kind = "text/csv"
    packed_order = ("sample_index",)

    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        return f"lists/{split}-{number:06d}.csv"

    def video_paths(self, shard: str, split: str, names: Column, labels: Column) -> Column:
        from kconvert.columns.column import Column

        return Column.of(_video_path(split, name, label) for name, label in zip(names, labels, strict=True))

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
            name = path.relative_to(out).as_posix()
            is_known = name in known or (path.name.endswith(_SOUND_ENDINGS) and _video_of(name) in known)
            if kind == "file" and not is_known and name != f"{split}/{_METADATA_NAME}":
                path.remove()

    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        return video_bytes + sum(annotation_bytes) + _MAX_LINE_BYTES

    @property
    def overhead_bytes(self) -> int:
        return 0

    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        lines = []
        for sample in samples:
            split, name = sample.metadata["split"], sample.key.partition("_")[2]
            path = _video_path(split, name, sample.metadata["label"])
            (out / path).parent.make_folder()
            if sample.sound is not None:
                # Before the video has its name, so that there is none without its sound.
                (out / _sound_of(path, sample.sound.kind)).write_bytes(sample.sound.data)
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
            files = {kind: out / _sound_of(path, kind) for kind in SOUND_KINDS}
            sounds = [Sound(kind, found.read_bytes()) for kind, found in files.items() if found.is_file()]
            yield StoredSample(Sample(key, label_id, {}, (out / path).read_bytes(), {}, *sounds[:1]), 0)

    def sound_at(self, row: Mapping[str, Any], kind: str) -> tuple[str, int] | None:
        return _sound_of(row["shard"], kind), 0

    def index_files(self, out: StorePath, manifest: Manifest) -> Mapping[str, bytes]:
        labels = release_of(manifest).labels
        files = {}
        for split, paths in paths_by_split(manifest).items():
            data = b"".join((out / path).read_bytes() for path in paths if (out / path).is_file())
            files[f"{split}.csv"] = data
            if paths:
                files[f"{split}/{_METADATA_NAME}"] = _metadata(split, data, labels)
        return files

    def media(self, manifest: Manifest) -> Media | None:
        # A file that stands alone is read as raw bytes where it may be a text, too (mlcroissant 1.1, `Read`).
        files = {"encodingFormat": ["video/mp4", "text/plain"], "includes": "*.mp4"}
        return Media(files, {"extract": {"fileProperty": "fullpath"}}) if manifest.shards else None

    def card_config(
        self, release: Release, splits: Sequence[str], annotations: Sequence[str], sound: str | None
    ) -> Mapping[str, Any]:
        return data_files(splits, "{split}/**/*.mp4", f"{{split}}/{_METADATA_NAME}")

    def reading_lines(self, split: str, shards: Sequence[str]) -> Sequence[str]:
        return (
            "import kconvert",
            f'samples = kconvert.open(".", "{split}")  # random access',
            "",
            f'samples = [line.rsplit(" ", 1) for line in open("{split}.csv")]  # path, label id',
            "",
            "import os, datasets",
            f'samples = datasets.load_dataset(os.getcwd(), split="{card_split(split)}", streaming=True).decode(False)',
        )

    def card_text(self) -> Sequence[str]:
        return (
            "A clip is a file `SPLIT/LABEL/CLIP.mp4` (unchanged; spaces in labels are `_`, and `'()` are left out).",
            "`SPLIT.csv` has a line `PATH LABEL_ID` for each, as MMAction2, PyTorchVideo and SlowFast read it;",
            "`SPLIT/metadata.csv` has the same for Hugging Face datasets. Clips without labels are in no folder.",
        )


FORMAT = Folder()


def label_folder(label: str) -> str:
    """The name of a label's folder."""
    return "".join(char for char in label.replace(" ", "_") if char not in "'()")


def _sound_of(video: str, kind: str) -> str:
    """The path of the file of a video's sound, which is beside it."""
    return f"{video.removesuffix(_ENDING)}.{kind}"


def _video_of(sound: str) -> str:
    return f"{sound.rpartition('.')[0]}{_ENDING}"


def _metadata(split: str, lines: bytes, labels: Sequence[str]) -> bytes:
    """The metadata of a split as Hugging Face datasets reads them; nothing where its list was changed, so that the two
    differ."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file_name", "label", "label_id"))
    try:
        for path, label_id in _entries(lines):
            writer.writerow((path.removeprefix(f"{split}/"), labels[label_id] if label_id >= 0 else "", label_id))
    except (ValueError, IndexError):
        return b""
    return text.getvalue().encode()


def _entries(data: bytes) -> list[tuple[str, int]]:
    """The paths and label ids of a list. Raises `ValueError` if it is none."""
    entries = []
    for number, line in enumerate(data.decode("ascii").splitlines(), start=1):
        path, space, label_id = line.rpartition(" ")
        parts = path.split("/")
        if not space or len(parts) not in (2, 3) or {"", ".", ".."} & set(parts):
            raise ValueError(f"line {number}: got {line[:100]!r}, expected PATH LABEL_ID")
        entries.append((path, int(label_id)))
    return entries


def _video_path(split: str, name: str, label: str) -> str:
    # Readers take each folder for a class: a clip that has none stands outside of them.
    folder = f"{split}/{label_folder(label)}" if label else split
    return f"{folder}/{name}.mp4"
