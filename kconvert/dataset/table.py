"""The final table of a split, a Parquet file.

What became of each clip of a split, and of each annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kconvert.columns.column import Column, known_part
from kconvert.columns.combining import are_filled, counts, order, order_by, sums
from kconvert.dataset.clip_columns import ENCODING, METADATA, SOUND, SOUND_COLUMNS, SOURCE, STRINGS
from kconvert.dataset.manifest import table_path
from kconvert.errors import ManifestError
from kconvert.storage.store import StorePath

_GROUP_ROWS = 1 << 16
"""Of a row group of a final table."""

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
        ("excluded_by", STRINGS),
        ("defects", STRINGS),
        ("detail", pa.string()),
        ("source", pa.string()),
        ("original_defects", STRINGS),
        ("archive", pa.string()),
        ("member", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        *METADATA,
        ("shard", pa.string()),
        ("sample_index", pa.int32()),
        ("offset_bytes", pa.int64()),
        *ENCODING,
        *SOURCE,
    ]
)
"""The columns of `metadata/{split}.parquet`, format 2."""
TABLE_WITH_SOUND = pa.schema([*TABLE, *SOUND])
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


ColumnsAt = Callable[[Column], Iterable[tuple[str, Column]]]
"""Gives the columns of the rows at these indexes."""


def columns_at(columns: Mapping[str, Column]) -> ColumnsAt:
    """Of columns that are there already."""
    return lambda indexes: ((name, column.take(indexes)) for name, column in columns.items())


def write_table(path: StorePath, keys: Column, rows: ColumnsAt) -> str:
    """Writes a final table, sorted by key, or what stands for it, and then by the given order; strings are never null.

    Columns are asked for a row group at a time. Returns the file's sha256.
    """
    places = order(keys)
    first = _group(rows(places.slice(0, _GROUP_ROWS)))
    with path.write_whole() as file, pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for start in range(_GROUP_ROWS, len(places), _GROUP_ROWS):
            writer.write_table(_group(rows(places.slice(start, start + _GROUP_ROWS))))
    return file.sha256


def _group(columns: Iterable[tuple[str, Column]]) -> pa.Table:
    arrays = {name: _without_nulls(column.arrow.cast(kind_of(name)), kind_of(name)) for name, column in columns}
    schema = table_schema(arrays)
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def _without_nulls(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return array.fill_null("")
    if kind == STRINGS:
        return array.fill_null([]) if array.null_count else array
    return array


REPEATED = [
    "split", "label", "label_source", "status", "reason", "detail", "source", "archive", "pix_fmt", "video_codec",
    "audio_codec", "sample_aspect_ratio", "shard", "encoding", "source_video_codec", "source_audio_codec",
]  # fmt: skip
"""Columns of texts that many rows have in common, and which are held once."""


def _read_column(file: pq.ParquetFile, name: str) -> Column:
    """A column by itself, so that no more than one is in memory twice. Raises `ValueError` if it lacks texts."""
    column = file.read([name]).column(name)
    column.validate(full=True)
    if column.null_count and kind_of(name) in (pa.string(), STRINGS):
        raise ValueError(f"its column {name} lacks values, where format 2 has texts")
    return Column.joined([Column(known_part(column))])


class FinalTable:
    """A final table that was read, or some of its rows, a column at a time."""

    def __init__(self, columns: Mapping[str, Column], indexes: Column | None = None) -> None:
        """`indexes` are those of the rows; `None` for all. What is pickled is these rows alone."""
        self._columns = columns
        self._indexes = indexes

    @classmethod
    def read(cls, path: StorePath) -> FinalTable:
        """Reads a table. Raises `ValueError` if it is not one of format 2."""
        try:
            data = pa.BufferReader(path.read_bytes())
            schema = pq.read_metadata(data).schema.to_arrow_schema()
            if not schema.equals(table_schema(schema.names)):
                raise ValueError("its columns are not those of format 2")
            with pq.ParquetFile(data, read_dictionary=REPEATED) as file:
                return cls({name: _read_column(file, name) for name in schema.names})
        except FileNotFoundError as error:
            raise ValueError("is missing") from error
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"not a Parquet file that can be read ({error})") from error

    def __len__(self) -> int:
        return len(self._columns["key"] if self._indexes is None else self._indexes)

    def __reduce__(self) -> tuple[type[FinalTable], tuple[Mapping[str, Column]]]:
        return FinalTable, ({name: self.column(name) for name in self._columns},)

    def column(self, name: str) -> Column:
        """A column. Raises `KeyError` if there is none of that name."""
        column = self._columns[name]
        return column if self._indexes is None else column.take(self._indexes)

    def row(self, index: int) -> dict[str, Any]:
        """One row."""
        return self.take(Column.of([index], "index")).dicts()[0]

    def dicts(self) -> list[dict[str, Any]]:
        """The rows, as dictionaries by column name."""
        return [dict(zip(self._columns, row, strict=True)) for row in self.rows(tuple(self._columns))]

    def rows(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Some columns of every row."""
        return zip(*(self.column(name) for name in names), strict=True)

    def take(self, indexes: Column) -> FinalTable:
        """The rows at these indexes."""
        return FinalTable(self._columns, indexes if self._indexes is None else self._indexes.take(indexes))

    def written(self, order: Sequence[str]) -> FinalTable:
        """The rows of the clips that were written, in the order of packing: sorted by these columns of the layout's."""
        rows = self.take(self.column("status").equals("written").indexes())
        return rows.take(order_by(*(rows.column(name) for name in order)))

    def flagged(self) -> FinalTable:
        """The rows of clips that something was found in, or that were rejected."""
        has_defect = are_filled(self.column("defects")) | are_filled(self.column("original_defects"))
        return self.take((has_defect | self.column("status").equals("rejected")).indexes())

    def sample_sizes(self) -> Column:
        """The bytes of each video, and of its sound where that is a member of its own."""
        sizes = self.column("size_bytes")
        return sums(sizes, self.column(SOUND_COLUMNS[0])) if SOUND_COLUMNS[0] in self._columns else sizes

    def has_offsets(self) -> bool:
        """Whether every row says where its video is."""
        return self.column("offset_bytes").is_known().sum() == len(self)

    def where(self, values: Mapping[str, Any]) -> FinalTable:
        """The rows whose columns, of texts, have these values, or one of those in a list."""
        rows = self
        for name, value in values.items():
            wanted = Column.of(value if isinstance(value, list) else [value])
            rows = rows.take(rows.column(name).is_in(wanted).indexes())
        return rows

    def indexes_by_file(self) -> dict[str, Column]:
        """The indexes of the rows whose videos are in each file, in the order of their samples."""
        places = (~self.column("shard").equals("")).indexes()
        shards = self.column("shard").take(places)
        places = places.take(order_by(shards, self.column("sample_index").take(places)))
        found, start = {}, 0
        for shard, number in counts(self.column("shard").take(places)).items():
            found[shard] = places.slice(start, start + number)
            start += number
        return found


def read_split_table(out: StorePath, split: str) -> FinalTable:
    """The table of a split of a finished folder. Raises `ManifestError` if it is not what a conversion writes."""
    path = out / table_path(split)
    try:
        return FinalTable.read(path)
    except ValueError as error:
        raise ManifestError(f"{path}: {error}; `kconvert verify {out}` says what else differs") from error
