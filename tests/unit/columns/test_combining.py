import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from kconvert.catalog.clip import safe_name
from kconvert.catalog.many_names import safe_names, sample_keys
from kconvert.columns.column import Column
from kconvert.columns.combining import (
    are_filled,
    are_matched,
    behind,
    joined_lists,
    pairs,
    shifted,
    side_by_side,
    spread,
    sums,
    together,
)

TEXTS = st.lists(st.sampled_from(["", "a", "b-1", "ü\n", "a\n", "A_9"]), max_size=9)


@given(TEXTS)
def test_a_pattern_has_to_fit_the_whole_text(texts: list[str]) -> None:
    pattern = "[A-Za-z0-9_-]{1,3}"
    expected = [re.fullmatch(pattern, text) is not None for text in texts]
    assert are_matched(Column.of(texts), pattern).values == expected


@given(TEXTS)
def test_texts_are_put_together(texts: list[str]) -> None:
    column = Column.of(texts)
    assert behind("x_", column.encoded()).values == [f"x_{text}" for text in texts]
    assert side_by_side(column, column.encoded()).values == [f"{text} {text}" for text in texts]
    lists = [[text, "end"] if text else [] for text in texts]
    assert joined_lists(Column.of(lists, "texts")).values == [",".join(one) for one in lists]
    assert are_filled(Column.of(lists, "texts")).values == [bool(one) for one in lists]


@given(TEXTS, st.data())
def test_rows_of_the_same_pair_have_the_same_number(texts: list[str], data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 3), min_size=len(texts), max_size=len(texts)))
    found = pairs(Column.of(texts), Column.of(numbers, "number")).values
    rows = list(zip(texts, numbers, strict=True))
    for first, number in zip(rows, found, strict=True):
        assert [first == other for other in rows] == [number == other for other in found]
    order = together(Column.of(texts)).values
    assert sorted(order) == list(range(len(texts)))
    groups = [texts[place] for place in order]
    assert all(groups.index(text) + groups.count(text) > place for place, text in enumerate(groups))
    assert all(one < other or texts[one] != texts[other] for one, other in itertools.pairwise(order))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=9))
def test_numbers(rows: list[tuple[bool, int]]) -> None:
    mask = Column.of((flag for flag, _ in rows), "flag")
    values = Column.of((value for flag, value in rows if flag), "index")
    expected = [value if flag else None for flag, value in rows]
    assert spread(values, mask).values == expected
    numbers = Column.of((value for _, value in rows), "number")
    assert sums(numbers, Column.of(expected, "number")).values == [value * (1 + flag) for flag, value in rows]
    assert shifted(values, 3).values == [value + 3 for flag, value in rows if flag]


@given(
    st.lists(st.one_of(st.sampled_from(["plain-1", "-x", "a b", "ü", "x" * 72, "x" * 73, "a~b", "a\nb"])), max_size=6)
)
def test_keys_of_many_are_those_of_each(names: list[str]) -> None:
    assert safe_names(Column.of(names)).values == list(map(safe_name, names))
    assert sample_keys("val", Column.of(names)).values == [f"val_{safe_name(name)}" for name in names]
