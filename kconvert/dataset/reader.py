"""Reading a converted folder: a split as a sequence of clips, each by one ranged read.

clips = kconvert.open("data/k400", "train")
len(clips), clips[0].label, clips[0].video
long = clips.filter(label=["abseiling", "zumba"]).filter(lambda column: column("duration_seconds") >= 9.5)
loader = torch.utils.data.DataLoader(clips, num_workers=8, shuffle=True, collate_fn=...)
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from kconvert.catalog.release import SPLIT_SYNONYMS
from kconvert.dataset.manifest import LABELS_NAME, Manifest, finished_manifest, require_split
from kconvert.dataset.open import open_layout
from kconvert.dataset.split_rows import SplitColumns, SplitRows, packed, unpacked
from kconvert.dataset.videos import Stamp, Videos, stamps_of
from kconvert.errors import UsageError
from kconvert.storage.open import to_path
from kconvert.storage.store import StorePath
from kconvert.text import did_you_mean
from kconvert.video.frames import decode, upright

if TYPE_CHECKING:
    import numpy
    from torchcodec.decoders import VideoDecoder

    from kconvert.video.sampling import SamplingOptions


@dataclass(frozen=True)
class ClipData:
    """A clip of a converted folder."""

    key: str
    """Of the sample."""
    label: str
    """`""` if it has none."""
    label_id: int
    """-1 if it has none."""
    metadata: Mapping[str, Any] = field(repr=False)
    """Its row in the table, read as it is asked for; `dict(clip.metadata)` is all of it."""
    video: bytes = field(repr=False)
    """The video file's bytes."""

    sound_file: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)
    """Reads the file of its sound; `None` where samples have none, or only the format's library finds it."""

    def sound(self) -> bytes:
        """The file of its sound, FLAC, WAV or m4a, where that was made a member of its own (`--audio.member`).

        Raises: `ValueError` where it was not; `OSError` as reading a clip does.
        """
        if self.sound_file is None:
            raise ValueError(f"{self.key}: its sound is no member of its own that can be found here")
        return self.sound_file()

    def frames(self) -> Iterator[numpy.ndarray[Any, Any]]:
        """The video's frames, decoded with PyAV: arrays of height × width × 3, RGB, uint8, upright.

        Raises: `ValueError` if there is no video stream or a frame cannot be decoded, `ImportError` without numpy.
        """
        return (upright(frame) for frame in decode(self.video))

    def sample(self, **options: Unpack[SamplingOptions]) -> numpy.ndarray[Any, Any]:
        """Some frames, decoded from the keyframe before the first of them: T × height × width × 3, RGB, uint8, upright.

        `num_frames=16`, `stride=4`, `start="random"|"center"|SECONDS`, `size=(H, W)` to scale and crop,
        `crop="center"|"random"`, `generator` of numpy, `too_short="repeat_last"|"wrap"|"error"`: the fields of
        `kconvert.video.sampling.Sampling`.
        Raises: `ValueError` if there is no video stream, a frame cannot be decoded, or an option makes no sense.
        """
        from kconvert.video.sampling import Sampling, sample

        return sample(self.video, Sampling(**options))

    def sample_many(self, num_clips: int = 10, **options: Unpack[SamplingOptions]) -> numpy.ndarray[Any, Any]:
        """Several samples whose starts are equally far apart, as evaluation takes them: num_clips × T × height × width
        × 3. Raises as `sample` does."""
        from kconvert.video.sampling import Sampling, sample_many

        return sample_many(self.video, Sampling(**options), num_clips)

    def decoder(self) -> VideoDecoder:
        """torchcodec's decoder of the video: frames by index or time, exactly, in one thread, as T × 3 × height ×
        width, upright unless the clip is mirrored, which torchcodec does not heed (0.11).

        Raises: `ImportError` where torchcodec is not installed, and what it raises for a video that it cannot read.
        """
        from torchcodec.decoders import VideoDecoder

        return VideoDecoder(self.video, num_ffmpeg_threads=1, seek_mode="exact")


@dataclass(frozen=True)
class _Location:
    """What a process needs to open the clips of a split again."""

    out: StorePath
    """The folder."""
    split: str
    """Its name."""
    format: str
    """Of the folder."""
    table_sha256: str
    """Of its table."""
    classes: tuple[str, ...]
    """All labels of the release, by their ids."""
    stamps: Mapping[str, Stamp]
    """Of the shards on a disk of ours."""
    sound_kind: str | None
    """Of the files of sound that samples have; `None` if they have none."""

    def __hash__(self) -> int:
        return hash((str(self.out), self.split, self.table_sha256))

    def sound_at(self, row: Mapping[str, Any]) -> tuple[str, int] | None:
        """See `Layout.sound_at`."""
        return None if self.sound_kind is None else open_layout(self.format).sound_at(row, self.sound_kind)


@functools.lru_cache(maxsize=4)
def _rows_of(place: _Location) -> SplitRows:
    """The written rows of a split. Raises `ManifestError` if its table is another one by now."""
    order = open_layout(place.format).packed_order
    columns = SplitColumns(place.out, place.split, place.table_sha256, order)
    return SplitRows(columns, range(len(columns)))


class Clips(Sequence[ClipData]):
    """The written clips of a split, in the order of the shards.

    Safe in the workers of a DataLoader, however they are started: what is sent to them is where the folder is, and
    which clips these are; nothing is kept open. Getting one raises `OSError` if its bytes cannot be read, or its shard
    is not what it was when the folder was opened.
    """

    def __init__(
        self,
        rows: SplitRows,
        place: _Location,
        is_whole: bool = False,
        new_ids: dict[int, int] | None = None,
    ) -> None:
        self._rows = rows
        self._place = place
        self._is_whole = is_whole
        self._new_ids = new_ids

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self):,} clips of {self._place.split} {self._place.out}>"

    @overload
    def __getitem__(self, index: int) -> ClipData: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> Clips: ...

    def __getitem__(self, index: int | slice | Sequence[int]) -> ClipData | Clips:
        if isinstance(index, slice):
            return self._some(self._rows.part(range(len(self))[index]))
        if isinstance(index, Sequence) or getattr(index, "ndim", None):
            # An array, too.
            return self.select(index)  # type: ignore[arg-type]
        row = self._row(range(len(self))[operator.index(index)])
        return self._clip(row, self._videos.read(row))

    def together(self, indexes: Sequence[int]) -> dict[int, ClipData]:
        """Clips by their indexes; those that follow each other in a shard are had by one read. Those that it does not
        reach are left out: whoever asks for one alone is told why. Raises `ExchangedError`."""
        rows = {index: self._row(index) for index in sorted(set(indexes))}
        return {index: self._clip(rows[index], video) for index, video in self._videos.together(rows).items()}

    @property
    def classes(self) -> list[str]:
        """The labels, by their ids: all of the release, or those that are there after `remap_labels`."""
        names = self._place.classes
        return list(names) if self._new_ids is None else [names[old] for old in self._new_ids]

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The ids of the labels."""
        return {name: number for number, name in enumerate(self.classes)}

    @property
    def targets(self) -> list[int]:
        """The label id of each clip; -1 without a label."""
        return [self._id(old) for old in self._rows.column("label_id")]

    def column(self, name: str) -> list[Any]:
        """The values of a column of the table. Raises `KeyError` if there is none of that name."""
        return self.targets if name == "label_id" else self._rows.column(name)

    def select(self, indexes: Sequence[int]) -> Clips:
        """The clips of these indexes, in this order. Raises `IndexError` for one that is not there, `ValueError` for a
        mask."""
        chosen = list(getattr(indexes, "tolist", lambda: indexes)())
        if any(isinstance(index, bool) for index in chosen):
            raise ValueError("got a mask of true and false, expected indexes")
        places = range(len(self))
        return self._some(self._rows.at([places[operator.index(index)] for index in chosen]))

    def shard(self, num_shards: int, index: int) -> Clips:
        """One of equal parts (but for one clip) of clips that follow each other, or `IndexError` if it is not there."""
        if not 0 <= index < num_shards:
            raise IndexError(f"shard {index} of {num_shards}: expected 0 to {num_shards - 1}")
        return self[len(self) * index // num_shards : len(self) * (index + 1) // num_shards]

    def remap_labels(self) -> Clips:
        """The same clips with the ids 0, 1, … for the labels that are among them, in the order of the release."""
        there = sorted({label_id for label_id in self._rows.column("label_id") if label_id >= 0})
        return Clips(self._rows, self._place, False, {old: new for new, old in enumerate(there)})

    def filter(
        self,
        condition: Callable[[Callable[[str], Any]], Any] | None = None,
        /,
        *,
        unknown: Literal["drop", "keep"] = "drop",
        **values: Any,
    ) -> Clips:
        """The clips whose columns have these values, or one of them where a list is given; no video is read.

        `condition` takes a function from a column's name to its `pyarrow.compute.field`, and gives an expression:
        `lambda column: (column("width") >= 320) & (column("fps") > 20)`; where it says neither yes nor no, as something
        in it is unknown, `unknown` decides. Raises `KeyError` for an unknown column, `ValueError` for a value that a
        column cannot have, or a label that the release does not have.
        """
        if unknown not in ("drop", "keep"):
            raise ValueError(f"unknown {unknown!r}: expected drop or keep")
        wanted = {name: value if _is_one(value) else list(value) for name, value in values.items()}
        _require_labels(wanted.get("label"), self._place.classes)
        if "label_id" in wanted and self._new_ids is not None:
            old = {new: old for old, new in self._new_ids.items()}
            ids = wanted["label_id"] if isinstance(wanted["label_id"], list) else [wanted["label_id"]]
            wanted["label_id"] = [old.get(one, -2) if one >= 0 else one for one in ids]
        return self._some(self._rows.where(condition, wanted, keeps_unknown=unknown == "keep"))

    def __getstate__(self) -> dict[str, Any]:
        chosen = None if self._is_whole else packed(self._rows.indexes)
        return {**self.__dict__, "_rows": chosen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        chosen, rows = state["_rows"], _rows_of(self._place)
        self._rows = rows if chosen is None else SplitRows(rows.columns, unpacked(chosen))

    def _some(self, rows: SplitRows) -> Clips:
        return Clips(rows, self._place, False, self._new_ids)

    def _id(self, label_id: int) -> int:
        return label_id if self._new_ids is None else self._new_ids.get(label_id, -1)

    @property
    def _videos(self) -> Videos:
        return Videos(self._place.out, self._place.stamps)

    def _clip(self, row: Mapping[str, Any], video: bytes) -> ClipData:
        at = self._place.sound_at(row)
        sound = None if at is None else functools.partial(self._videos.read_sound, row, *at)
        return ClipData(row["key"], row["label"], row["label_id"], row, video, sound)

    def _row(self, index: int) -> Mapping[str, Any]:
        row = self._rows.row(index)
        if self._new_ids is None:
            return row
        return self._rows.row_with_id(index, self._id(row["label_id"]))


def _require_labels(wanted: Any, known: Sequence[str]) -> None:
    """Raises `ValueError` for a label that is not known; for none where none is."""
    for label in wanted if isinstance(wanted, list) else [wanted]:
        if known and label and label not in known:
            hint = did_you_mean(str(label), known)
            raise ValueError(f"no label {label!r}, expected one of the release's{f'; {hint}' if hint else ''}")


def _is_one(value: object) -> bool:
    """Whether this is a value, and not several."""
    return isinstance(value, str) or not isinstance(value, Iterable)


def open_clips(folder: str | os.PathLike[str], split: str) -> Clips:
    """The clips of a split of a folder, or of a place in an object store, that a conversion wrote to; `validation`
    means val.

    Raises: `UsageError` if it is none, or is not finished, or has no such split, or is in a format that is read by its
    own library only.
    """
    out, split, manifest = _finished(folder, split)
    place = _location(out, split, manifest)
    rows = _rows_of(place)
    if not rows.has_offsets():
        raise UsageError(
            f"{out}: the format {manifest.format} does not say where in a file a video is; use its library"
        )
    return Clips(rows, place, is_whole=True)


def shard_urls(folder: str | os.PathLike[str], split: str) -> list[tuple[str, int]]:
    """The shards of a split, each with its number of samples, for those who build their own pipeline. Raises: as
    `open_clips` does."""
    out, split, manifest = _finished(folder, split)
    return [(str(out / shard.path), shard.num_samples) for shard in manifest.shards if shard.split == split]


def _finished(folder: str | os.PathLike[str], split: str) -> tuple[StorePath, str, Manifest]:
    """The place of a finished folder, the usual name of a split that it has, and its manifest. Raises `UsageError`."""
    out, split = to_path(os.fspath(folder)), SPLIT_SYNONYMS.get(split, split)
    manifest = finished_manifest(out)
    require_split(out, manifest, split)
    return out, split, manifest


def _location(out: StorePath, split: str, manifest: Manifest) -> _Location:
    table = manifest.record(split).table
    labels = (out / LABELS_NAME).read_bytes().decode().splitlines()
    stamps = stamps_of(out, [shard.path for shard in manifest.shards if shard.split == split])
    return _Location(out, split, manifest.format, table.sha256, tuple(labels), stamps, manifest.sound_kind)
