"""Rows of the written clips of a split for readers, a column at a time: a worker of a training holds what it asks for,
of half a million rows, and no more."""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import sub
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kconvert.columns.column import Column, give_back
from kconvert.columns.combining import order_by
from kconvert.dataset.manifest import table_path
from kconvert.dataset.table import REPEATED, kind_of, table_schema
from kconvert.errors import ManifestError
from kconvert.storage.store import StorePath

_USUAL = ("key", "label", "label_id", "shard", "offset_bytes", "size_bytes")
"""Columns that every reader of clips asks for; the others come one by one."""


class SplitColumns:
    """The columns of a table, of its written rows, in the order of packing. What is read is held; nothing is open.

    Raises: `ManifestError`, when it is made or a column is asked for, if the table is not that of the digest.
    """

    def __init__(self, out: StorePath, split: str, sha256: str, order: Sequence[str]) -> None:
        """`order` names the columns that rows are sorted by."""
        self._out = out
        self._path = out / table_path(split)
        self._sha256 = sha256
        self._columns: dict[str, pa.Array] = {}
        self._order = _sorted(self._read(["status", *order]), order)
        give_back()

    def __len__(self) -> int:
        return len(self._order)

    @property
    def names(self) -> list[str]:
        """Of all columns."""
        return self._names

    def column(self, name: str) -> pa.Array:
        """A column; texts that many rows share as a dictionary. Raises `KeyError` if there is none of that name."""
        if name not in self._columns:
            if name not in self._names:
                raise KeyError(f"no column {name!r}, expected one of {', '.join(self._names)}")
            self.load(_USUAL if name in _USUAL else (name,))
        return self._columns[name]

    def load(self, names: Iterable[str]) -> None:
        """Reads those of these columns that are not held yet, all at once."""
        missing = [name for name in names if name not in self._columns]
        if missing:
            self._columns |= self._ordered(self._read(missing))
            give_back()

    def _ordered(self, table: pa.Table) -> dict[str, pa.Array]:
        return {name: table.column(name).combine_chunks().take(self._order) for name in table.column_names}

    def _read(self, names: Sequence[str]) -> pa.Table:
        try:
            data = self._path.read_bytes()
            if hashlib.sha256(data).hexdigest() != self._sha256:
                raise ValueError("is not the table that was opened")
            with pq.ParquetFile(pa.BufferReader(data), read_dictionary=sorted({*REPEATED} & {*names})) as file:
                self._names: list[str] = file.metadata.schema.to_arrow_schema().names
                if self._names != table_schema(self._names).names:
                    raise ValueError("its columns are not those of format 2")
                table = file.read(list(names)).unify_dictionaries()
                table.validate(full=True)
                return table
        except FileNotFoundError:
            problem = "is missing"
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = str(error)
        raise ManifestError(f"{self._path}: {problem}; `kconvert verify {self._out}` says what else differs")


def _sorted(table: pa.Table, order: Sequence[str]) -> pa.Array:
    """The indexes of the written rows, sorted."""
    written = Column(pc.equal(table.column("status").cast(pa.string()), "written")).indexes()
    columns = (Column(table.column(name)).take(written) for name in order)
    return written.take(order_by(*columns)).arrow


@dataclass(frozen=True)
class SplitRows:
    """Some of the rows of a split."""

    columns: SplitColumns
    """Of all of them."""
    indexes: Sequence[int]
    """Among these: a `range`, or an `array`."""

    def __len__(self) -> int:
        return len(self.indexes)

    def column(self, name: str) -> list[Any]:
        """A column. Raises `KeyError` if there is none of that name."""
        found = self.columns.column(name)
        is_whole = isinstance(self.indexes, range) and self.indexes == range(len(self.columns))
        values: list[Any] = (found if is_whole else found.take(pa.array(self.indexes, pa.int64()))).to_pylist()
        return values

    def row(self, index: int) -> Mapping[str, Any]:
        """One row, whose values are read as they are asked for."""
        return SplitRow(self.columns, self.indexes[index])

    def row_with_id(self, index: int, label_id: int) -> Mapping[str, Any]:
        """The same with another label id."""
        return SplitRow(self.columns, self.indexes[index], label_id)

    def part(self, indexes: range) -> SplitRows:
        """Some of the rows."""
        if not indexes:
            return SplitRows(self.columns, ())
        # A range that ends before the first has a stop that would count from the end.
        stop = indexes.stop if indexes.stop >= 0 else None
        return SplitRows(self.columns, self.indexes[indexes.start : stop : indexes.step])

    def at(self, indexes: Iterable[int]) -> SplitRows:
        """The rows of these indexes, in this order."""
        return SplitRows(self.columns, array("I", [self.indexes[index] for index in indexes]))

    def has_offsets(self) -> bool:
        """Whether every row says where its video is."""
        return bool(self.columns.column("offset_bytes").null_count == 0)

    def where(
        self,
        condition: Callable[[Callable[[str], Any]], Any] | None,
        values: Mapping[str, Any],
        keeps_unknown: bool = False,
    ) -> SplitRows:
        """The rows whose columns have these values, or one of those in a list, and that meet the condition, or perhaps
        those, too, of which it is not known.

        Raises: `KeyError` for an unknown column, `ValueError` for a value that it cannot have.
        """
        named: dict[str, pa.Array] = {}

        def field(name: str) -> pc.Expression:
            column = self.columns.column(name)
            named[name] = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            return pc.field(name)

        expressions = [] if condition is None else [condition(field)]
        if keeps_unknown:
            expressions = [one | one.is_null() for one in expressions]
        for name, value in values.items():
            wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
            column, kind = field(name), kind_of(name)
            try:
                expressions.append(column.isin(pa.array(wanted, kind)))
            except (pa.ArrowException, OverflowError) as error:
                raise ValueError(f"{name} {value!r}: expected values of {kind} ({error})") from error
        if not expressions:
            return self
        chosen = pa.array(self.indexes, pa.int64())
        rows = pa.table({**named, " index": pa.array(range(len(self.columns)), pa.int64())}).take(chosen)
        for expression in expressions:
            rows = rows.filter(expression)
        return SplitRows(self.columns, array("I", rows.column(" index").to_pylist()))


def packed(indexes: Sequence[int]) -> bytes:
    """Indexes of rows in few bytes, to be sent elsewhere: half a byte each where every second row is chosen, at random
    and in order, three where they are in any order."""
    return zlib.compress(array("i", map(sub, indexes, chain((0,), indexes))).tobytes(), level=1)


def unpacked(data: bytes) -> array[int]:
    """The indexes that were `packed`."""
    steps = array("i")
    steps.frombytes(zlib.decompress(data))
    return array("I", accumulate(steps))


class SplitRow(Mapping[str, Any]):
    """One row, perhaps with another label id; `dict(row)`, and what is sent elsewhere, is a dictionary."""

    def __init__(self, columns: SplitColumns, index: int, label_id: int | None = None) -> None:
        self._columns = columns
        self._index = index
        self._label_id = label_id

    def __getitem__(self, name: str) -> Any:
        if name == "label_id" and self._label_id is not None:
            return self._label_id
        return self._columns.column(name)[self._index].as_py()

    def __iter__(self) -> Iterator[str]:
        # Whoever goes through them all wants the values.
        self._columns.load(self._columns.names)
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)

    def __repr__(self) -> str:
        return f"<the row of {self['key']}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
