"""Tables: rows of clips as Arrow columns, in Parquet files.

There are two kinds. The staged rows of an archive say what its clips are; the final table of a split says what became
of each. Work on whole splits stays in columns: a release has 650,000 rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kconvert.dataset.manifest import table_path
from kconvert.errors import ManifestError
from kconvert.storage.digests import DigestingFile
from kconvert.storage.store import StorePath
from kconvert.video.encoding.encoded import SoundFacts
from kconvert.video.metadata import MediaMetadata

_STRINGS = pa.list_(pa.string())
_GROUP_ROWS = 1 << 16
"""Of a row group of a final table."""

_METADATA = [
    ("duration_seconds", pa.float64()),
    ("num_frames", pa.int64()),
    ("fps", pa.float64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("pix_fmt", pa.string()),
    ("video_codec", pa.string()),
    ("audio_codec", pa.string()),
    ("rotation_degrees", pa.int32()),
    ("bit_rate", pa.int64()),
    ("sample_aspect_ratio", pa.string()),
    ("is_variable_frame_rate", pa.bool_()),
    ("num_decoded_frames", pa.int64()),
]

_ENCODING = [
    ("encoding", pa.string()),
    ("encoding_reasons", _STRINGS),
    ("encoding_notes", _STRINGS),
    ("encoding_ssim", pa.float64()),
]
ENCODING_COLUMNS: tuple[str, ...] = tuple(name for name, _ in _ENCODING)
"""Whether a clip was `unchanged`, `remuxed` or `encoded` before it was written; why, what was odd, how near it is."""

_SOURCE = [
    ("source_size_bytes", pa.int64()),
    ("source_sha256", pa.string()),
    ("source_width", pa.int32()),
    ("source_height", pa.int32()),
    ("source_fps", pa.float64()),
    ("source_num_frames", pa.int64()),
    ("source_duration_seconds", pa.float64()),
    ("source_video_codec", pa.string()),
    ("source_audio_codec", pa.string()),
]
SOURCE_COLUMNS: tuple[str, ...] = tuple(name for name, _ in _SOURCE)
"""What is said of the official file where what is written differs from it; unknown where it does not."""

_SOUND = [
    ("sound_size_bytes", pa.int64()),
    ("sound_sha256", pa.string()),
    ("sound_rate", pa.int32()),
    ("sound_num_channels", pa.int32()),
    ("sound_num_samples", pa.int64()),
    ("sound_lead_seconds", pa.float64()),
    ("is_silent", pa.bool_()),
]
SOUND_COLUMNS: tuple[str, ...] = tuple(name for name, _ in _SOUND)
"""What is said of the sound where it is a member of its own; unknown where it is not."""

STAGED = pa.schema(
    [
        ("name", pa.string()),
        ("member", pa.string()),
        ("defects", _STRINGS),
        ("detail", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        *_METADATA,
        *_ENCODING,
        *_SOURCE,
        *_SOUND,
        ("part_offset", pa.int64()),
        ("crc32", pa.int64()),
        ("sound_crc32", pa.int64()),
    ]
)

TABLE = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("youtube_id", pa.string()),
        ("start_seconds", pa.int32()),
        ("end_seconds", pa.int32()),
        ("label", pa.string()),
        ("label_id", pa.int32()),
        ("label_source", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("excluded_by", _STRINGS),
        ("defects", _STRINGS),
        ("detail", pa.string()),
        ("source", pa.string()),
        ("original_defects", _STRINGS),
        ("archive", pa.string()),
        ("member", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        *_METADATA,
        ("shard", pa.string()),
        ("sample_index", pa.int32()),
        ("offset_bytes", pa.int64()),
        *_ENCODING,
        *_SOURCE,
    ]
)
"""The columns of `metadata/{split}.parquet`, format 2."""
TABLE_WITH_SOUND = pa.schema([*TABLE, *_SOUND])
"""The same where the sound of clips is a member of its own."""
_NAME = ("name", pa.string())
"""A column at the end where names are no keys."""
_LABEL_IDS = ("label_ids", pa.list_(pa.int32()))
"""The same where clips may have several labels."""
CARRIED = "list_"
"""What columns begin with, behind all others, that are carried over from lists of clips; they are texts."""


def table_schema(columns: Collection[str]) -> pa.Schema:
    """The schema of a final table that has these columns."""
    schema = TABLE_WITH_SOUND if SOUND_COLUMNS[0] in columns else TABLE
    carried = [(name, pa.string()) for name in columns if name.startswith(CARRIED)]
    further = [one for one in (_NAME, _LABEL_IDS) if one[0] in columns]
    return pa.schema([*schema, *further, *carried])


_KINDS = {column.name: column.type for column in table_schema((SOUND_COLUMNS[0], _NAME[0], _LABEL_IDS[0]))}
"""The type of each column that a final table may have."""


def kind_of(column: str) -> pa.DataType:
    """The type of a column that a final table may have. Raises `KeyError` for any other."""
    return pa.string() if column.startswith(CARRIED) else _KINDS[column]


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


class StagedRows:
    """The staged rows of some archives, one after the other; a row goes by its index."""

    def __init__(self, table: pa.Table, archives: Sequence[str], lengths: Sequence[int]) -> None:
        self._table = table
        self._archives = archives
        self._lengths = lengths

    @classmethod
    def read(cls, files: Mapping[str, StorePath]) -> StagedRows:
        """Reads the rows of archives, given by name, in that order."""
        # `pq.read_table` would take each file for a dataset, which takes four times as long.
        sources = [pa.BufferReader(path.read_bytes()) for path in files.values()]
        tables = [pq.ParquetFile(source).read(use_threads=False) for source in sources]
        lengths = [table.num_rows for table in tables]
        joined = pa.concat_tables(tables) if tables else STAGED.empty_table()
        return cls(joined, list(files), lengths)

    def followed_by(self, others: StagedRows) -> StagedRows:
        """These rows, and after them the others."""
        joined = pa.concat_tables([self._table, others._table]).combine_chunks()
        return StagedRows(joined, [*self._archives, *others._archives], [*self._lengths, *others._lengths])

    def since(self, index: int) -> StagedRows:
        """The rows from an index on, without a copy; their archives are not known."""
        return StagedRows(self._table.slice(index), [], [])

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def archive_column(self) -> list[str]:
        """The archive of every row."""
        lengths = zip(self._archives, self._lengths, strict=True)
        return [archive for archive, length in lengths for _ in range(length)]

    def column(self, name: str) -> list[Any]:
        """A column of `STAGED`."""
        values: list[Any] = self._table.column(name).to_pylist()
        return values

    def take(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        """Some rows, as dictionaries by column name."""
        rows: list[dict[str, Any]] = self._table.take(pa.array(indexes, pa.int64())).to_pylist()
        return rows

    def sample_sizes(self) -> list[int]:
        """The bytes of each video, and of its sound where that is a member of its own: as many as are staged."""
        pairs = zip(self.column("size_bytes"), self.column("sound_size_bytes"), strict=True)
        return [video + (sound or 0) for video, sound in pairs]

    def gather(self, indexes: Iterable[int | None], names: Iterable[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
        """Columns of the rows at these indexes, one at a time; unknown where an index is `None`."""
        indices = pa.array(indexes, pa.int64())
        return ((name, self._table.column(name).take(indices)) for name in names)


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
        for field in dataclasses.fields(clip):
            if field.name not in ("metadata", "source", "sound"):
                self._columns[field.name].append(getattr(clip, field.name))
        for name, _ in _METADATA:
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


def write_table(path: StorePath, columns: Iterable[tuple[str, Any]]) -> str:
    """Writes a final table from its columns, sorted by key and then by the given order; strings are never null.

    Columns may be made lazily: each is given up before the next is asked for. Returns the file's sha256.
    """
    arrays = {name: _without_nulls(_column(values, kind_of(name)), kind_of(name)) for name, values in columns}
    schema = table_schema(arrays)
    table = pa.table([arrays[name] for name in schema.names], schema=schema)
    order = pa.table({"key": table["key"], "index": pa.array(range(table.num_rows), pa.int64())}).sort_by(
        [("key", "ascending"), ("index", "ascending")]
    )["index"]
    with path.write_whole() as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, max(1, table.num_rows), _GROUP_ROWS):
            writer.write_table(table.take(order.slice(start, _GROUP_ROWS)))
    return file.sha256


def _column(values: Any, kind: pa.DataType) -> pa.ChunkedArray:
    """A column from a list or from an Arrow array."""
    array = pa.array(values, kind) if isinstance(values, list) else values
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array], kind)


def _without_nulls(array: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind == pa.string():
        return array.fill_null("")
    if kind == _STRINGS:
        return array.fill_null([]) if array.null_count else array
    return array


class FinalTable:
    """A final table that was read."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def read(cls, path: StorePath) -> FinalTable:
        """Reads a table. Raises `ValueError` if it is not one of format 2."""
        try:
            table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read()
            table.validate(full=True)
        except FileNotFoundError as error:
            raise ValueError("is missing") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ValueError(f"not a Parquet file that can be read ({error})") from error
        if not table.schema.equals(table_schema(table.column_names)):
            raise ValueError("its columns are not those of format 2")
        return cls(table)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def column(self, name: str) -> list[Any]:
        """A column. Raises `KeyError` if there is none of that name."""
        values: list[Any] = self._table.column(name).to_pylist()
        return values

    def row(self, index: int) -> dict[str, Any]:
        """One row."""
        return {
            name: column[index].as_py()
            for name, column in zip(self._table.column_names, self._table.columns, strict=True)
        }

    def written(self, order: Sequence[str]) -> FinalTable:
        """The rows of the clips that were written, in the order of packing: sorted by these columns of the layout's."""
        rows = self._table.filter(pc.field("status") == "written")
        return FinalTable(rows.sort_by([(name, "ascending") for name in order]).combine_chunks())

    def flagged(self) -> FinalTable:
        """The rows of clips that something was found in, or that were rejected."""
        has_defect = pc.list_value_length(pc.field("defects")) + pc.list_value_length(pc.field("original_defects")) > 0
        return FinalTable(self._table.filter(has_defect | (pc.field("status") == "rejected")).combine_chunks())

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Some columns of every row."""
        return zip(*(self.column(name) for name in names), strict=True)

    def sample_sizes(self) -> list[int]:
        """The bytes of each video, and of its sound where that is a member of its own."""
        if SOUND_COLUMNS[0] not in self._table.column_names:
            return self.column("size_bytes")
        return [video + (sound or 0) for video, sound in self.rows(("size_bytes", SOUND_COLUMNS[0]))]

    def has_offsets(self) -> bool:
        """Whether every row says where its video is."""
        return bool(self._table["offset_bytes"].null_count == 0)

    def where(self, values: Mapping[str, Any]) -> FinalTable:
        """The rows whose columns have these values, or one of those in a list."""
        rows = self._table
        for name, value in values.items():
            wanted = value if isinstance(value, list) else [value]
            rows = rows.filter(pc.field(name).isin(pa.array(wanted, rows.field(name).type)))
        return FinalTable(rows.combine_chunks())

    def indexes_by_file(self) -> dict[str, list[int]]:
        """The indexes of the rows whose videos are in each file, in the order of their samples."""
        order = pc.sort_indices(
            self._table, [("shard", "ascending"), ("sample_index", "ascending"), ("key", "ascending")]
        ).to_pylist()
        shards = self._table.column("shard").to_pylist()
        found: dict[str, list[int]] = {}
        for index in order:
            if shards[index]:
                found.setdefault(shards[index], []).append(index)
        return found

    def take(self, indexes: Sequence[int]) -> list[dict[str, Any]]:
        """Some rows, as dictionaries by column name."""
        rows: list[dict[str, Any]] = self._table.take(pa.array(indexes, pa.int64())).to_pylist()
        return rows


def read_split_table(out: StorePath, split: str) -> FinalTable:
    """The table of a split of a finished folder. Raises `ManifestError` if it is not what a conversion writes."""
    path = out / table_path(split)
    try:
        return FinalTable.read(path)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; `kconvert verify {out}` says what else differs") from error
