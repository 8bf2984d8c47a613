"""Formats: what shards look like that are packed.

A format promises: equal samples in equal order give equal bytes, `max_sample_bytes` is never exceeded, and what it
reads back is what it wrote.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast, get_args

from kconvert.catalog.release import SUPPLEMENT_NAMES
from kconvert.dataset.layout import ExpectedSamples, Layout
from kconvert.dataset.manifest import JOURNAL_FOLDER, Manifest
from kconvert.errors import UsageError
from kconvert.storage.digests import DigestedReader, DigestingFile
from kconvert.storage.files import make_folder
from kconvert.storage.store import TEMPORARY_SUFFIX, StorePath
from kconvert.units import ByteSize
from kconvert.video.boxes import Bytes
from kconvert.video.encoding.options import AudioMember

if TYPE_CHECKING:
    from kconvert.columns.column import Column

_COPY_BYTES = 1 << 20
SOUND_KINDS: tuple[str, ...] = get_args(AudioMember)
"""Of the files of sound: the names of their columns, or the endings of their members."""

_CARD_SPLITS = {"val": "validation"}
"""What Hugging Face datasets calls the splits."""


@dataclass(frozen=True)
class Sound:
    """The sound of a clip as a file of its own."""

    kind: str
    """Its ending: `flac`, `wav` or `m4a`."""
    data: bytes
    """Its bytes."""


@dataclass(frozen=True)
class Sample:
    """A clip in a shard."""

    key: str
    """Unique over all splits."""
    label_id: int
    """-1 if it has no label."""
    metadata: Mapping[str, Any]
    """The same keys and types in every sample, and never `None`."""
    video: bytes
    """The bytes of the file."""
    annotations: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Further ones that samples have themselves, by what `--with` calls them; the same names in every sample."""
    sound: Sound | None = None
    """Of the same kind in every sample; `None` if samples have none."""

    @property
    def num_bytes(self) -> int:
        """Of video and sound."""
        return len(self.video) + (0 if self.sound is None else len(self.sound.data))


@dataclass(frozen=True)
class StoredSample:
    """A sample as it was found in a shard."""

    sample: Sample
    """As it was read."""
    offset_bytes: int | None
    """Where the video's bytes begin in their file; `None` if that cannot be said."""


@dataclass(frozen=True)
class WrittenShard:
    """A shard that is in place."""

    size_bytes: int
    """Of the shard, without what stands with it."""
    sha256: str
    """Of the shard, hexadecimal."""
    offsets: tuple[int | None, ...]
    """Where each sample's video begins in its file; `None` if that cannot be said."""


class Format(Layout):
    """One way to store samples in shards that kconvert packs."""

    has_annotations = True
    """Whether a sample can have further annotations."""
    max_shard_bytes: int | None = None
    """Shards must be smaller, in bytes; `None` if they may have any size."""

    def require_shards_of(self, num_bytes: int, what: str = "--shard.max_bytes") -> None:
        """Raises `UsageError`, which begins with `what`, if its shards cannot have as many bytes."""
        if self.max_shard_bytes is not None and num_bytes >= self.max_shard_bytes:
            raise UsageError(
                f"{what} {num_bytes}: expected less than {ByteSize(self.max_shard_bytes)}, as a file of the "
                f"format {self.name} cannot be larger"
            )

    @abstractmethod
    def shard_path(self, release: str, split: str, number: int, num_shards: int | None) -> str:
        """The path of a shard; `num_shards` is how many the split has, where that is known before the last is cut."""

    def video_paths(self, shard: str, split: str, names: Column, labels: Column) -> Column:
        """The paths of the files that hold the videos of the clips of that shard, by their safe names and labels."""
        from kconvert.columns.column import Column

        return Column.constant(shard, len(names))

    @abstractmethod
    def max_sample_bytes(self, video_bytes: int, annotation_bytes: Sequence[int] = ()) -> int:
        """At most how many bytes of a shard, and of its videos' own files, a sample takes, each of whose further
        annotations has so many as text."""

    @property
    @abstractmethod
    def overhead_bytes(self) -> int:
        """At most how many bytes a shard has beside its samples."""

    @abstractmethod
    def write(self, out: StorePath, shard: str, samples: Iterable[Sample], labels: Sequence[str] = ()) -> WrittenShard:
        """Writes a shard and what stands with it; nothing is half-made under its name. `labels` are those of the
        release, which some shards list."""

    @abstractmethod
    def read(self, out: StorePath, shard: str, file: DigestedReader) -> Iterator[StoredSample]:
        """The samples of a shard, in order; `file` is the shard, opened, and digested as far as it is read.

        Raises: `ValueError` if it is not exactly what `write` writes, `OSError` if a file is not there.
        """

    def sample_problems(
        self, out: StorePath, shard: str, file: DigestedReader, expected: ExpectedSamples, on_sample: Callable[[], None]
    ) -> Iterator[str]:
        num_samples = 0
        try:
            for index, stored in enumerate(self.read(out, shard, file)):
                num_samples += 1
                on_sample()
                if expected.rows is None:
                    continue
                row = expected.rows[index] if index < len(expected.rows) else None
                number = self.sample_index(expected.num_before, index)
                if problem := row_problem(stored, number, row):
                    yield f"sample {index} ({stored.sample.key}): {problem}"
        except (ValueError, KeyError, TypeError) as error:
            yield f"after {num_samples} samples: {error}"
        num_rows = num_samples if expected.rows is None else len(expected.rows)
        for number, what in ((expected.num_samples, "manifest"), (num_rows, "table")):
            if number != num_samples:
                yield f"{num_samples} samples, the {what} says {number}"


def videos_of(stored: Iterable[StoredSample], rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Bytes]]:
    """The videos of the clips with these rows, from the samples of a shard: for `Layout.videos` where nobody knows
    where in it they are."""
    wanted = {row["key"] for row in rows}
    return ((one.sample.key, one.sample.video) for one in stored if one.sample.key in wanted)


def row_problem(stored: StoredSample, sample_index: int, row: Mapping[str, Any] | None) -> str:
    """How a sample differs from its row; `""` if it does not."""
    if row is None:
        return "has no row in the table"
    sample = stored.sample
    found: dict[str, Any] = {
        **sample.metadata,
        "sample_index": sample_index,
        "offset_bytes": stored.offset_bytes,
        "label_id": sample.label_id,
        "sha256": hashlib.sha256(sample.video).hexdigest(),
        "size_bytes": len(sample.video),
    }
    expected = {name: row[name] for name in found if name in row}
    unknown = {name: None if found[name] is None else -1 for name, value in expected.items() if value is None}
    expected |= unknown
    expected |= {"release": found.get("release"), **{flag: flag in row["defects"] for flag in ("short", "few_frames")}}
    if row["key"] != sample.key:
        return f"the row there is of {row['key']}"
    wrong = sorted(name for name in found if found[name] != expected[name])
    sound = None if sample.sound is None else hashlib.sha256(sample.sound.data).hexdigest()
    if (sound or "") != row.get("sound_sha256", ""):
        wrong.append("sound_sha256")
    own = {name: sample.metadata[name] for name in ("sha256", "label_id") if name in sample.metadata}
    if any(found[name] != value for name, value in own.items()):
        wrong.append("its own JSON")
    return f"differs from its row in {', '.join(wrong)}" if wrong else ""


def card_split(split: str) -> str:
    """What Hugging Face datasets call a split."""
    return _CARD_SPLITS.get(split, split)


def paths_by_split(manifest: Manifest) -> dict[str, list[str]]:
    """The paths of the shards of each split, in order."""
    return {split: [one.path for one in manifest.shards if one.split == split] for split in manifest.splits}


def data_files(splits: Sequence[str], *patterns: str) -> dict[str, Any]:
    """The front matter of a dataset card with one config, of files whose patterns hold `{split}`."""
    paths = {split: [pattern.format(split=split) for pattern in patterns] for split in splits}
    files = [
        {"split": card_split(split), "path": found[0] if len(found) == 1 else found} for split, found in paths.items()
    ]
    return {"configs": [{"config_name": "default", "data_files": files}]} if files else {}


def groups_of(samples: Iterable[Sample], max_bytes: int) -> Iterator[list[Sample]]:
    """Samples that are written together: as many as have videos of so many bytes, one at least."""
    group: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        if group and num_bytes + sample.num_bytes > max_bytes:
            yield group
            group, num_bytes = [], 0
        group.append(sample)
        num_bytes += sample.num_bytes
    if group:
        yield group


def row_of(sample: Sample) -> dict[str, Any]:
    """A sample as a row for libraries of rows: `key`, `label`, `label_id`, `facts` (JSON), `video`, and JSON for each
    further annotation."""
    metadata = json.dumps(dict(sample.metadata))
    label = sample.metadata["label"]
    row = {"key": sample.key, "label": label, "label_id": sample.label_id, "facts": metadata, "video": sample.video}
    if sample.sound is not None:
        row[sample.sound.kind] = sample.sound.data
    return {**row, **{name: annotations_text(rows) for name, rows in sample.annotations.items()}}


def sample_of(row: Mapping[str, Any]) -> Sample:
    """The sample that `row_of` made a row of. Raises `ValueError` if the row contradicts itself."""
    metadata = json.loads(row["facts"])
    if metadata.get("label") != row["label"]:
        raise ValueError(f"{row['key']}: the label is not that of its metadata")
    annotations: dict[str, Any] = {name: json.loads(row[name]) for name in SUPPLEMENT_NAMES if name in row}
    sounds = [Sound(kind, row[kind]) for kind in SOUND_KINDS if kind in row]
    return Sample(row["key"], row["label_id"], metadata, row["video"], annotations, *sounds)


def annotations_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of an annotation as JSON."""
    return json.dumps(rows, ensure_ascii=True, separators=(",", ":"))


FACTS: Mapping[str, type] = {
    "key": str,
    "release": str,
    "split": str,
    "youtube_id": str,
    "start_seconds": int,
    "end_seconds": int,
    "label": str,
    "label_id": int,
    "label_source": str,
    "duration_seconds": float,
    "num_frames": int,
    "fps": float,
    "width": int,
    "height": int,
    "video_codec": str,
    "audio_codec": str,
    "size_bytes": int,
    "sha256": str,
    "source": str,
    "short": bool,
    "few_frames": bool,
}
"""What the metadata of a sample are, and their types."""
MAX_ROW_BYTES = 4096
"""Of what `row_of` has beside the video, and of a library's own bytes for each row."""


@contextmanager
def scratch_folder(out: StorePath) -> Iterator[Path]:
    """A folder for a library that writes files by itself; it is gone when the block ends, or the next run begins."""
    parent = Path(str(out / JOURNAL_FOLDER))
    make_folder(parent)
    with tempfile.TemporaryDirectory(suffix=TEMPORARY_SUFFIX, dir=parent) as folder:
        yield Path(folder)


def put_in_place(source: Path, path: StorePath) -> DigestingFile:
    """Copies a file that a library wrote to where it belongs, whole or not at all."""
    path.parent.make_folder()
    with open(source, "rb") as made, path.write_whole() as file:
        shutil.copyfileobj(made, cast(IO[bytes], file), _COPY_BYTES)
    return file
