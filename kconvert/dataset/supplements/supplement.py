"""The interface of supplements: from files of annotations and from the tables of clips to tables of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kconvert.catalog.clip import Clip
from kconvert.catalog.release import Release
from kconvert.catalog.supplement import TableClip, clips_by_id
from kconvert.dataset.manifest import FileEntry
from kconvert.dataset.table import FinalTable
from kconvert.sources.supplements import SupplementFiles
from kconvert.storage.digests import DigestingFile
from kconvert.storage.store import StorePath

Moments = Mapping[str, Sequence[int]]
"""Microseconds from the start of a clip, by the key of its sample."""
RowsOfClip = Callable[[Clip], list[dict[str, Any]]]
"""Gives all that is annotated of a clip: the same keys and types in every row, never `None`. A `frame_index` is -1, as
nobody has looked into the video yet."""
FrameFinder = Callable[[str, Moments], Mapping[str, Sequence[int]]]
"""Gives, for a split and moments of its samples, the index of the frame that is shown nearest to each; -1 if nobody can
say."""


@dataclass(frozen=True)
class Material:
    """What the tables of a supplement are made from."""

    release: Release
    """Of the folder."""
    files: SupplementFiles
    """The annotations."""
    tables: Mapping[str, FinalTable]
    """Of all splits of the folder, in their usual order."""


@dataclass(frozen=True)
class WrittenSupplement:
    """What was written of a supplement."""

    files: tuple[FileEntry, ...]
    """In their order."""
    counts: Mapping[str, Mapping[str, int]]
    """What its rows came to, by split and then by what is counted."""


class Supplement(ABC):
    """One kind of further annotations."""

    name: str
    """What `--with` calls it."""
    row_type: pa.DataType
    """Of each row that a sample has itself."""
    tables: Mapping[str, pa.Schema]
    """Its tables and their columns, by path below the output folder."""
    paths: Sequence[str]
    """Of all files that it may write, below the output folder; beside these, it gives out some as they are."""

    @abstractmethod
    def require(self, files: SupplementFiles, splits: Iterable[str], release: Release) -> None:
        """Raises `AnnotationError` with all that cannot be read in the files of these splits."""

    @abstractmethod
    def rows_of(self, files: SupplementFiles, split: str, release: Release) -> RowsOfClip:
        """What gives the rows of a clip of a split, for its sample. Raises `AnnotationError` as `require` does."""

    @abstractmethod
    def write(self, out: StorePath, material: Material, find_frames: FrameFinder) -> WrittenSupplement:
        """Writes its files, each whole or not at all. Raises `AnnotationError` as `require` does."""


def clips_of(table: FinalTable, split: str, wanted: Container[str]) -> Mapping[str, list[TableClip]]:
    """The clips of the wanted videos, by the id of the video, in the order of their times."""
    columns = ("youtube_id", "start_seconds", "end_seconds", "key", "status", "reason")
    return clips_by_id(split, table.rows(columns), wanted)


class TableWriter:
    """A table that is written a split at a time."""

    def __init__(self, file: DigestingFile, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self.num_rows = 0

    def write(self, columns: Mapping[str, Any]) -> None:
        """Appends rows, given as columns: lists, arrays, or Arrow arrays."""
        arrays = [_column(columns[field.name], field.type) for field in self._schema]
        table = pa.table(arrays, schema=self._schema)
        self.num_rows += table.num_rows
        self._writer.write_table(table)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


@contextmanager
def table_writer(out: StorePath, path: str, schema: pa.Schema, entries: list[FileEntry]) -> Iterator[TableWriter]:
    """Opens a table for writing, of that path below the output folder; it appears whole, when the block ends, or not at
    all. Its entry is added to `entries`."""
    (out / path).parent.make_folder()
    with (out / path).write_whole() as file:
        writer = TableWriter(file, schema)
        try:
            yield writer
        finally:
            writer.close()
    entries.append(FileEntry(path, writer.num_rows, file.size_bytes, file.sha256))


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, array):
        return from_array(values).cast(kind)
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


def from_array(values: array[Any]) -> pa.Array:
    """The same as an Arrow array, without a copy."""
    kind = {"d": pa.float64(), "i": pa.int32()}[values.typecode]
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
