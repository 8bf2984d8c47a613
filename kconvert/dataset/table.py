"""The final table of a split, a Parquet file.

What became of each clip of a split, and of each annotation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kconvert.columns.column import Column
from kconvert.columns.combining import order
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
