"""Reading a converted folder: a split as a sequence of clips, each by one ranged read.

clips = kconvert.open("data/k400", "train")
len(clips), clips[0].label, clips[0].video
long = clips.filter(label=["abseiling", "zumba"]).filter(lambda column: column("duration_seconds") >= 9.5)
loader = torch.utils.data.DataLoader(clips, num_workers=8, shuffle=True, collate_fn=...)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from kconvert.dataset.manifest import finished_manifest, table_path
from kconvert.dataset.open import open_layout
from kconvert.dataset.table import FinalTable
from kconvert.errors import ManifestError, UsageError
from kconvert.storage.open import to_path
from kconvert.storage.store import StorePath
from kconvert.video.frames import decode, upright

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class ClipData:
    """A clip of a converted folder."""

    key: str
    """Of the sample."""
    label: str
    """`""` if it has none."""
    label_id: int
    """-1 if it has none."""
    metadata: Mapping[str, Any]
    """Its row in the table."""
    video: bytes
    """The video file's bytes."""

    def frames(self) -> Iterator[numpy.ndarray[Any, Any]]:
        """The video's frames, decoded with PyAV: arrays of height × width × 3, RGB, uint8, upright.

        Raises: `ValueError` if there is no video stream or a frame cannot be decoded, `ImportError` without numpy.
        """
        return (upright(frame) for frame in decode(self.video))


class Clips(Sequence[ClipData]):
    """The written clips of a split, in the order of the shards.

    Safe in the workers of a DataLoader, however they are started. Getting one raises `OSError` if its bytes cannot be
    read.
    """

    def __init__(self, out: StorePath, rows: FinalTable) -> None:
        self._out = out
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ClipData: ...

    @overload
    def __getitem__(self, index: slice) -> Clips: ...

    def __getitem__(self, index: int | slice) -> ClipData | Clips:
        if isinstance(index, slice):
            return Clips(self._out, self._rows.part(range(len(self))[index]))
        row = self._rows.row(range(len(self))[index])
        return ClipData(row["key"], row["label"], row["label_id"], row, self._video(row))

    def column(self, name: str) -> list[Any]:
        """The values of a column of the table. Raises `KeyError` if there is none of that name."""
        return self._rows.column(name)

    def filter(self, condition: Callable[[Callable[[str], Any]], Any] | None = None, /, **values: Any) -> Clips:
        """The clips whose columns have these values, or one of them where a list is given; no video is read.

        `condition` takes a function from a column's name to its `pyarrow.compute.field`, and gives an expression:
        `lambda column: (column("width") >= 320) & (column("fps") > 20)`. Raises `KeyError` for an unknown column.
        """
        return Clips(self._out, self._rows.where(condition, values))

    def _video(self, row: Mapping[str, Any]) -> bytes:
        path, start, size = self._out / row["shard"], row["offset_bytes"], row["size_bytes"]
        video: bytes = path.read_range(start, start + size)
        if len(video) != size:
            raise OSError(
                f"{path}: ends after {len(video):,} of the {size:,} bytes of {row['key']}; `kconvert verify` says "
                "what else differs"
            )
        return video


def read_split_table(out: StorePath, split: str) -> FinalTable:
    """The table of a split of a finished folder. Raises `ManifestError` if it is not what a conversion writes."""
    path = out / table_path(split)
    try:
        return FinalTable.read(path)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; `kconvert verify {out}` says what else differs") from error


def open_clips(folder: str | os.PathLike[str], split: str) -> Clips:
    """The clips of a split of a folder, or of a place in an object store, that a conversion wrote to.

    Raises: `UsageError` if it is none, or is not finished, or has no such split, or is in a format that is read by its
    own library only.
    """
    out = to_path(os.fspath(folder))
    manifest = finished_manifest(out)
    if split not in manifest.splits:
        raise UsageError(f"{out}: no split {split!r}, expected one of {', '.join(manifest.splits)}")
    rows = read_split_table(out, split).written(open_layout(manifest.format).packed_order)
    if not rows.has_offsets():
        raise UsageError(
            f"{out}: the format {manifest.format} does not say where in a file a video is; use its library"
        )
    return Clips(out, rows)
