"""The column: values of one kind, one a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

BATCH_ROWS = 1 << 16
"""That Python looks at at a time."""
_TABLE_ROWS = 1 << 20
"""That others are looked up in at a time: a table of them takes a hundred bytes a row."""
_MANY = 8
"""Of two columns, one is much longer that has so many times the values of the other."""
_KINDS: Mapping[str, pa.DataType] = {
    "text": pa.string(),
    "number": pa.int64(),
    "index": pa.int32(),
    "flag": pa.bool_(),
    "texts": pa.list_(pa.string()),
    "indexes": pa.list_(pa.int32()),
    "draw": pa.binary(16),
}
_CODES = ((pa.int8(), 1 << 7), (pa.int16(), 1 << 15), (pa.int32(), 1 << 31))
"""Kinds of codes of texts that are held once, and of how many at most."""
Kind = Literal["text", "number", "index", "flag", "texts", "indexes", "draw"]


class Column:
    """Values of one kind, or `None`. A text that many rows have is held once where that was asked for.

    One of nothing but `None` takes no memory, and has no kind: it can be joined, taken from and chosen between, and
    says what is known.
    """

    def __init__(self, arrow: pa.Array | pa.ChunkedArray) -> None:
        self.arrow = arrow
        """As Arrow has it."""

    @classmethod
    def of(cls, values: Iterable[Any], kind: Kind = "text") -> Column:
        """A column of these values."""
        return cls(pa.array(list(values), _KINDS[kind]))

    @classmethod
    def constant(cls, value: Any, length: int, kind: Kind = "text") -> Column:
        """As many times the same value: a text is held once, and `None` takes no memory."""
        return cls(_repeated(value, length, _KINDS[kind]))

    @classmethod
    def numbers(cls, start: int, stop: int) -> Column:
        """The numbers from `start` up to `stop`, without it."""
        return cls(pa.array(range(start, stop), pa.int32()))

    @classmethod
    def joined(cls, columns: Sequence[Column], kind: Kind = "text") -> Column:
        """The values of these columns, one after the other; without any columns, an empty one of that kind."""
        if len(columns) == 1 and isinstance(columns[0].arrow, pa.Array):
            return columns[0]
        chunks = [chunk for column in columns for chunk in _chunks(column) if len(chunk)]
        if not chunks:
            return columns[0] if columns else cls(pa.array([], _KINDS[kind]))
        joined = pa.chunked_array(_of_one_kind(chunks))
        is_encoded = pa.types.is_dictionary(joined.type)
        return cls(_narrow(whole(joined.unify_dictionaries())) if is_encoded else whole(joined))

    def __len__(self) -> int:
        return len(self.arrow)

    def __reduce__(self) -> tuple[type[Column], tuple[pa.Array]]:
        return Column, (_own(whole(self.arrow)),)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Any]]:
        """The values, some at a time."""
        for start in range(0, len(self), BATCH_ROWS):
            yield self.arrow.slice(start, BATCH_ROWS).to_pylist()

    def slice(self, start: int, stop: int | None = None) -> Column:
        """The values from `start` up to `stop`, without a copy."""
        return Column(self.arrow.slice(start, None if stop is None else stop - start))

    @property
    def values(self) -> list[Any]:
        """All of them; of as many rows as Python may hold at a time."""
        found: list[Any] = self.arrow.to_pylist()
        return found

    def take(self, indexes: Column) -> Column:
        """The values at these indexes; `None` where an index is."""
        return Column(whole(self.arrow).take(whole(indexes.arrow).cast(pa.int32())))

    def where(self, mask: Column) -> Column:
        """The values where a flag is set."""
        return Column(whole(self.arrow.filter(mask.arrow)))

    def indexes(self) -> Column:
        """Where a flag of this column is set."""
        return Column(pc.indices_nonzero(whole(self.arrow)).cast(pa.int32()))

    def find(self, values: Column) -> Column:
        """Where each of the values is in this column for the first time; `None` where it is not."""
        if len(values) * _MANY > len(self):
            return _found(self, values)
        # A table of a few values takes less time and memory than one of many.
        places = self.is_in(values).indexes()
        return places.take(_found(self.take(places), values))

    def is_in(self, values: Column) -> Column:
        """Whether each value is among others."""
        if len(self) * _MANY < len(values):
            values = values.where(values.is_in(self))
        if pa.types.is_dictionary(self.arrow.type):
            return _by_text(self, lambda texts: texts.is_in(values))
        return Column(_are_among(whole(self.arrow), values))

    def is_known(self) -> Column:
        """Whether each is a value."""
        return Column(whole(pc.is_valid(self.arrow)))

    def equals(self, other: Any) -> Column:
        """Whether each is that value, or the one of another column; no `None` is."""
        if pa.types.is_dictionary(self.arrow.type) and not isinstance(other, Column):
            return _by_text(self, lambda texts: texts.equals(other))
        own = plain(self.arrow)
        found = pc.equal(own, plain(other.arrow) if isinstance(other, Column) else pa.scalar(other, own.type))
        return Column(whole(found).fill_null(False))

    def __and__(self, other: Column) -> Column:
        return Column(pc.and_(whole(self.arrow), whole(other.arrow)))

    def __or__(self, other: Column) -> Column:
        return Column(pc.or_(whole(self.arrow), whole(other.arrow)))

    def __invert__(self) -> Column:
        return Column(pc.invert(whole(self.arrow)))

    def choose(self, yes: Column, no: Column) -> Column:
        """The values of the one column where a flag of this is set, else those of the other."""
        return Column(_chosen(whole(self.arrow), *_alike(whole(yes.arrow), whole(no.arrow))))

    def or_else(self, other: Column) -> Column:
        """The values of another column where these are `None`."""
        return self.is_known().choose(self, other)

    def each(self, function: Callable[[Any], Any], kind: Kind = "text") -> Column:
        """What a function makes of each different value; each text that it makes is held once."""
        found = encoded(whole(self.arrow))
        known = list(map(function, found.dictionary.to_pylist()))
        made = pa.array(known, _KINDS[kind])
        if kind != "text":
            return Column(made.take(found.indices))
        again = made.dictionary_encode()
        return Column(pa.DictionaryArray.from_arrays(again.indices.take(found.indices), again.dictionary))

    def rewritten(self, function: Callable[[Any], Any], kind: Kind = "text") -> Column:
        """What a function makes of each value; for what hardly any two rows have in common."""
        made = [pa.array(list(map(function, batch)), _KINDS[kind]) for batch in self.batches()]
        return Column(pa.concat_arrays(made) if made else pa.array([], _KINDS[kind]))

    def encoded(self) -> Column:
        """The same, of which each text is held once, in as little memory as can be."""
        return Column(_narrow(encoded(whole(self.arrow))))

    def distinct(self) -> list[Any]:
        """Each value once, in the order in which they come."""
        found: list[Any] = pc.unique(self.arrow).to_pylist()
        return found

    def sum(self) -> int:
        """Of numbers, or of flags that are set."""
        return int(pc.sum(self.arrow).as_py() or 0)


def _repeated(value: Any, length: int, kind: pa.DataType) -> pa.Array:
    if value is None:
        return pa.nulls(length)
    if not length:
        return pa.array([], kind)
    if kind == pa.string():
        return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), length), pa.array([value]))
    return pa.repeat(pa.scalar(value, kind), length)


def _of_one_kind(chunks: list[pa.Array]) -> list[pa.Array]:
    """The same, however they hold their texts; what is `None` throughout has no kind."""
    if all(pa.types.is_null(chunk.type) for chunk in chunks):
        return chunks
    if all(pa.types.is_dictionary(chunk.type) or pa.types.is_null(chunk.type) for chunk in chunks):
        kind = pa.dictionary(pa.int32(), pa.string())
        return [pa.nulls(len(chunk), kind) if pa.types.is_null(chunk.type) else encoded(chunk) for chunk in chunks]
    if len({chunk.type for chunk in chunks}) == 1:
        return chunks
    plain_chunks = [plain(chunk) for chunk in chunks]
    known = next(chunk.type for chunk in plain_chunks if not pa.types.is_null(chunk.type))
    return [chunk.cast(known) for chunk in plain_chunks]


def _alike(first: pa.Array, second: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The same, of one kind where one of them has none, as it is `None` throughout."""
    if pa.types.is_null(first.type):
        return pa.nulls(len(first), second.type), second
    return first, pa.nulls(len(second), first.type) if pa.types.is_null(second.type) else second


def _chosen(flags: pa.Array, first: pa.Array, second: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(first.type) and not pa.types.is_dictionary(second.type):
        return pc.if_else(flags, first, second)
    # Of two dictionaries, one is made.
    both = pa.chunked_array([encoded(first), encoded(second)]).unify_dictionaries()
    codes = pc.if_else(flags, both.chunk(0).indices, both.chunk(1).indices)
    return pa.DictionaryArray.from_arrays(codes, both.chunk(0).dictionary)


def _tables(values: Column) -> Iterator[tuple[int, pa.Array]]:
    """Values, not too many at a time to look others up in them, each with the index of the first."""
    for start in range(0, len(values), _TABLE_ROWS):
        yield start, plain(whole(values.arrow.slice(start, _TABLE_ROWS)))


def _are_among(own: pa.Array, values: Column) -> pa.Array:
    found = pa.repeat(False, len(own))
    for _, some in _tables(values):
        found = pc.or_(found, pc.is_in(own, value_set=some, skip_nulls=True))
    return found


def _found(among: Column, values: Column) -> Column:
    """Where each value is among others."""
    own = whole(plain(values.arrow))
    found = pa.nulls(len(own), pa.int32())
    for start, some in _tables(among):
        places = pc.add(pc.index_in(own, value_set=some, skip_nulls=True), pa.scalar(start, pa.int32()))
        found = pc.coalesce(found, places)
    return Column(found)


def known_part(array: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The same, which takes no memory if nothing in it is known."""
    return pa.nulls(len(array)) if array.null_count == len(array) > 0 else array


def give_back() -> None:
    """Gives memory back to the system that no column takes any more; a few milliseconds."""
    pa.default_memory_pool().release_unused()
    # Of the C library, too.
    pa.system_memory_pool().release_unused()


def whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In one piece."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """With each text as often as it is there."""
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array


def encoded(array: pa.Array) -> pa.Array:
    """With each text once, by codes of one kind."""
    if not pa.types.is_dictionary(array.type):
        return array.dictionary_encode()
    if array.type.index_type == pa.int32():
        return array
    return pa.DictionaryArray.from_arrays(array.indices.cast(pa.int32()), array.dictionary)


def _narrow(array: pa.Array) -> pa.Array:
    """Texts that are held once, by codes that take as little memory as can be."""
    kind = next(kind for kind, most in _CODES if len(array.dictionary) <= most)
    return pa.DictionaryArray.from_arrays(array.indices.cast(kind), array.dictionary)


def _by_text(texts: Column, function: Callable[[Column], Column]) -> Column:
    """The flags that a function gives each text that is held once; none for `None`."""
    found = whole(texts.arrow)
    return Column(function(Column(found.dictionary)).arrow.take(found.indices).fill_null(False))


def _own(array: pa.Array) -> pa.Array:
    """The same without texts that are held for other rows, and none of these have."""
    if pa.types.is_dictionary(array.type) and len(array.dictionary) > len(array):
        return _narrow(plain(array).dictionary_encode())
    return array


def _chunks(column: Column) -> list[pa.Array]:
    return column.arrow.chunks if isinstance(column.arrow, pa.ChunkedArray) else [column.arrow]
