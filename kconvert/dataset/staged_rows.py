"""Staged rows: what is known of the clips of an archive before anything is known of those of the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kconvert.columns.column import Column, known_part, whole
from kconvert.columns.combining import joined_lists, sums
from kconvert.dataset.clip_columns import ENCODING, METADATA, SOUND, SOUND_COLUMNS, SOURCE, SOURCE_COLUMNS, STRINGS
from kconvert.storage.digests import DigestingFile
from kconvert.storage.store import StorePath
from kconvert.video.encoding.encoded import SoundFacts
from kconvert.video.metadata import MediaMetadata

STAGED = pa.schema(
    [
        ("name", pa.string()),
        ("member", pa.string()),
        ("defects", STRINGS),
        ("detail", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        *METADATA,
        *ENCODING,
        *SOURCE,
        *SOUND,
        ("part_offset", pa.int64()),
        ("crc32", pa.int64()),
        ("sound_crc32", pa.int64()),
    ]
)
_REPEATED = ["pix_fmt", "video_codec", "audio_codec", "sample_aspect_ratio", "encoding", "detail"]
"""Texts that many rows have in common, which are held once."""
_DIGEST = "sha256"


@dataclass(frozen=True)
class StagedClip:
    """What is known of a clip of an archive before anything is known of the others."""

    name: str
    """The clip's official name, without `.mp4`."""
    member: str
    """Its path in the archive."""
    defects: tuple[str, ...]
    """Found by the check; empty for a good clip."""
    detail: str
    """What the check says of the first; `""` for nothing."""
    size_bytes: int
    """Of the video as it is staged, or as declared by the archive if it is not."""
    sha256: str
    """Of the video's bytes; `""` if they were not loaded."""
    metadata: MediaMetadata
    """What its container states."""
    part_offset: int = -1
    """Where its bytes begin in the part; -1 if they are not staged."""
    crc32: int = 0
    """Of the staged bytes."""
    encoding: str = "unchanged"
    """What became of it: `unchanged`, `remuxed` or `encoded`."""
    encoding_reasons: tuple[str, ...] = ()
    """Why it is not unchanged."""
    encoding_notes: tuple[str, ...] = ()
    """What is odd of it, and what was made of that."""
    encoding_ssim: float | None = None
    """How near it is to what was encoded, up to 1 for equal; `None` where that was not looked at."""
    source: SourceClip | None = None
    """The official file, where what is staged is another one."""
    sound: StagedSound | None = None
    """The file of its sound, which is staged behind the video; `None` if there is none."""


@dataclass(frozen=True)
class SourceClip:
    """An official file that something else is staged for."""

    size_bytes: int
    """As declared by the archive."""
    sha256: str
    """Of its bytes."""
    metadata: MediaMetadata
    """What its container states."""


@dataclass(frozen=True)
class StagedSound:
    """A file of sound that is staged."""

    facts: SoundFacts
    """What is in it."""
    sha256: str
    """Of its bytes."""
    crc32: int
    """Of its bytes."""

    def column(self, name: str) -> Any:
        """The value of one of `SOUND_COLUMNS`."""
        return self.sha256 if name == "sound_sha256" else getattr(self.facts, name.removeprefix("sound_"))


_OF_CLIP = tuple(
    field.name for field in dataclasses.fields(StagedClip) if field.name not in ("metadata", "source", "sound")
)
"""The columns that a clip has a value for itself."""


class StagedRows:
    """The staged rows of some archives, one after the other, a column at a time; a row goes by its index."""

    def __init__(self, chunks: Mapping[str, Sequence[pa.Array]], archives: Column) -> None:
        self._chunks = dict(chunks)
        self.archives = archives
        """The archive of every row."""

    @classmethod
    def read(cls, files: Mapping[str, StorePath]) -> StagedRows:
        """Reads the rows of archives, given by name, in that order."""
        chunks: dict[str, list[pa.Array]] = {name: [] for name in STAGED.names}
        archives = []
        for archive, path in files.items():
            # `pq.read_table` would take each file for a dataset, which takes four times as long.
            with pq.ParquetFile(pa.BufferReader(path.read_bytes()), read_dictionary=_REPEATED) as file:
                table = file.read(use_threads=False)
            archives.append(Column.constant(archive, table.num_rows))
            for name, column in zip(table.column_names, table.columns, strict=True):
                chunks[name].append(_packed(name, column))
        return cls(chunks, Column.joined(archives))

    def followed_by(self, others: StagedRows) -> StagedRows:
        """These rows, and after them the others, without their names: the decisions on them have these."""
        chunks = {name: [*self._chunks[name], *others._chunks[name]] for name in STAGED.names if name != "name"}
        return StagedRows(chunks, Column.joined([self.archives, others.archives]))

    def only(self, names: Iterable[str]) -> StagedRows:
        """The same rows with these columns alone."""
        return StagedRows({name: self._chunks[name] for name in names}, self.archives)

    def __len__(self) -> int:
        return len(self.archives)

    def column(self, name: str) -> Column:
        """A column of `STAGED`."""
        column = self._held(name)
        return column.rewritten(_hex) if name == _DIGEST else column

    def _held(self, name: str) -> Column:
        chunks = self._chunks[name]
        if len(chunks) != 1:
            self._chunks[name] = chunks = [_joined(chunks, STAGED.field(name).type)]
        return Column(chunks[0])

    def defects(self) -> Column:
        """The defects of each, with commas between them."""
        return joined_lists(self.column("defects"))

    def sample_sizes(self) -> Column:
        """The bytes of each video, and of its sound where that is a member of its own: as many as are staged."""
        return sums(self.column("size_bytes"), self.column("sound_size_bytes"))

    def take(self, indexes: Column, names: Iterable[str]) -> StagedRows:
        """These columns of the rows at these indexes; unknown where an index is `None`."""
        taken = {name: [self._held(name).take(indexes).arrow] for name in names}
        return StagedRows(taken, self.archives.take(indexes))

    def columns(self) -> Iterator[tuple[str, Column]]:
        """All columns that are here."""
        return ((name, self.column(name)) for name in self._chunks)

    def rows(self) -> list[dict[str, Any]]:
        """The rows, as dictionaries by column name."""
        values = [column.values for _, column in self.columns()]
        return [dict(zip(self._chunks, row, strict=True)) for row in zip(*values, strict=True)]


def _packed(name: str, column: pa.ChunkedArray) -> pa.Array:
    """A column of an archive as it is held: most clips have neither a sound of their own nor another source, and what
    nobody knows takes no memory; digests are bytes, half as many as digits."""
    if name == _DIGEST:
        return pa.array((bytes.fromhex(text) if text else None for text in column.to_pylist()), pa.binary(32))
    return whole(known_part(column))


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def _joined(chunks: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    """Some arrays as one, of which those that hold nothing have no type."""
    if not chunks:
        return pa.array([], kind)
    return Column.joined([Column(chunk) for chunk in chunks]).arrow


class StagedWriter:
    """The staged rows of an archive being written: a bounded number of them is held in memory."""

    _GROUP_ROWS = 10_000

    def __init__(self, file: DigestingFile) -> None:
        self._file = file
        self._parquet = pq.ParquetWriter(file, STAGED, compression="zstd")
        self._columns = _no_columns()
        self.num_rows = 0

    def add(self, clip: StagedClip) -> None:
        """Appends a row."""
        for name in _OF_CLIP:
            self._columns[name].append(getattr(clip, name))
        for name, _ in METADATA:
            self._columns[name].append(getattr(clip.metadata, name))
        for name in SOURCE_COLUMNS:
            self._columns[name].append(_of_source(clip.source, name.removeprefix("source_")))
        for name in SOUND_COLUMNS:
            self._columns[name].append(None if clip.sound is None else clip.sound.column(name))
        self._columns["sound_crc32"].append(None if clip.sound is None else clip.sound.crc32)
        self.num_rows += 1
        if self.num_rows % self._GROUP_ROWS == 0:
            self._flush()

    def _flush(self) -> None:
        self._parquet.write_table(pa.table(self._columns, schema=STAGED))
        self._columns = _no_columns()

    def finish(self) -> str:
        """Writes what is left; returns the sha256 of the file. To be called once, after the last row."""
        self._flush()
        self._parquet.close()
        return self._file.sha256

    def close(self) -> None:
        """Frees what the writer holds. Without `finish` before it, what was written is worth nothing."""
        with suppress(OSError, pa.ArrowException):
            self._parquet.close()


def _of_source(source: SourceClip | None, name: str) -> Any:
    if source is None:
        return None
    return getattr(source, name) if name in ("size_bytes", "sha256") else getattr(source.metadata, name)


def _no_columns() -> dict[str, list[Any]]:
    return {name: [] for name in STAGED.names}


@contextmanager
def staged_writer(path: StorePath) -> Iterator[StagedWriter]:
    """Opens the staged rows of an archive for writing; they appear whole, when the block ends, or not at all."""
    with path.write_whole() as file:
        writer = StagedWriter(file)
        try:
            yield writer
        finally:
            writer.close()
