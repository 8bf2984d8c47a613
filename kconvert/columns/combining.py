"""Combining: what is made of the values of columns together."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kconvert.columns.column import BATCH_ROWS, Column, encoded, plain, whole

_MAX_NUMBER = 1 << 40


def are_first(values: Column) -> Column:
    """Whether no value before is the same; of what is `None`, no value is."""
    # Sorting takes a tenth of the memory of a table of all values.
    found = whole(plain(values.arrow))
    places = order(Column(found))
    again: list[Column] = []
    for start in range(0, len(found), BATCH_ROWS):
        near = places.slice(start, start + BATCH_ROWS + 1)
        sorted_values = found.take(near.arrow)
        is_same = pc.equal(sorted_values[1:], sorted_values[:-1]).fill_null(False)
        again.append(near.slice(1).where(Column(is_same)))
    return ~Column.numbers(0, len(found)).is_in(Column.joined(again, "index"))


def order(values: Column) -> Column:
    """The indexes that sort values; those of equal ones stay in their order."""
    return Column(pc.sort_indices(whole(values.arrow)).cast(pa.int32()))


def order_by(first: Column, *others: Column) -> Column:
    """The indexes that sort rows by these columns."""
    columns = {str(place): _ranked(whole(column.arrow)) for place, column in enumerate((first, *others))}
    keys = [(name, "ascending") for name in columns]
    return Column(pc.sort_indices(pa.table(columns), sort_keys=keys).cast(pa.int32()))


def _ranked(array: pa.Array) -> pa.Array:
    """Numbers in the order of the values: a fifth of the time that texts take to be sorted."""
    if pa.types.is_null(array.type):
        return array.cast(pa.int32())
    if not pa.types.is_dictionary(array.type):
        return array
    ranks = pc.sort_indices(pc.sort_indices(array.dictionary))
    return ranks.take(array.indices)


def are_sorted(values: Column) -> bool:
    """Whether no value is less than the one before."""
    found = plain(whole(values.arrow))
    return not pc.any(pc.less(found[1:], found[:-1])).as_py()


def counts(values: Column) -> dict[Any, int]:
    """How often each value is there, in the order in which they come."""
    found = pc.value_counts(plain(whole(values.arrow)))
    return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))


def are_matched(texts: Column, pattern: str) -> Column:
    """Whether a pattern, of RE2's syntax, fits each whole text."""
    return Column(whole(pc.match_substring_regex(plain(texts.arrow), rf"\A(?:{pattern})\z")))


def behind(prefix: str, texts: Column) -> Column:
    """Each text with a prefix."""
    return Column(pc.binary_join_element_wise(prefix, whole(plain(texts.arrow)), ""))


def side_by_side(*texts: Column) -> Column:
    """The texts of each row of these columns, with spaces between them."""
    return Column(pc.binary_join_element_wise(*(whole(plain(one.arrow)) for one in texts), " "))


def joined_lists(lists: Column) -> Column:
    """The texts of each list with commas between them; what many rows have is held once."""
    return Column(pc.binary_join(whole(lists.arrow), ",")).encoded()


def are_filled(lists: Column) -> Column:
    """Whether each list has any texts."""
    if pa.types.is_null(lists.arrow.type):
        return Column.constant(False, len(lists), "flag")
    return Column(whole(pc.greater(pc.list_value_length(lists.arrow), 0)).fill_null(False))


def values_of(lists: Column) -> Column:
    """The texts of all lists, one after the other."""
    if pa.types.is_null(lists.arrow.type):
        return Column.of([])
    return Column(whole(pc.list_flatten(lists.arrow)))


def pairs(texts: Column, numbers: Column) -> Column:
    """A number for each different pair of a text and a number below 2**40."""
    codes = encoded(whole(texts.arrow)).indices.cast(pa.int64())
    return Column(pc.add(pc.multiply(codes, _MAX_NUMBER), whole(numbers.arrow)))


def sums(numbers: Column, others: Column) -> Column:
    """The sums of numbers; `None` of the others counts as 0."""
    return Column(pc.add(whole(numbers.arrow), whole(others.arrow.cast(pa.int64())).fill_null(0)))


def shifted(indexes: Column, by: int) -> Column:
    """Each index with a number added."""
    return Column(pc.add(indexes.arrow, pa.scalar(by, pa.int32())))


def spread(values: Column, mask: Column) -> Column:
    """Values, one after the other, where a flag is set; `None` elsewhere."""
    flags = whole(mask.arrow)
    places = pc.subtract(pc.cumulative_sum(flags.cast(pa.int32())), 1)
    return values.take(Column(pc.if_else(flags, places, pa.scalar(None, pa.int32()))))


def together(texts: Column) -> Column:
    """The indexes that bring equal texts together, in their order otherwise."""
    return Column(pc.sort_indices(encoded(whole(texts.arrow)).indices).cast(pa.int32()))
