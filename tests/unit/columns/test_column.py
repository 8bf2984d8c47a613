"""Columns, against lists: whatever Arrow makes of them, Python would make the same."""

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.columns.column import Column, Kind
from kconvert.columns.combining import are_first, counts, order

TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "zumba", "ü"]))
COLUMNS = st.lists(TEXTS, max_size=12)
FORMS = st.sampled_from([Column.of, lambda values: Column.of(values).encoded()])
"""A column of texts is the same whether each text is held once or not."""


@given(COLUMNS, FORMS)
def test_what_is_put_in_comes_out(values: list[str | None], form: type[Column]) -> None:
    column = form(values)
    assert list(column) == column.values == values
    assert len(column) == len(values)
    assert pickle.loads(pickle.dumps(column)).values == values
    assert column.encoded().values == values
    assert column.is_known().values == [value is not None for value in values]
    assert column.distinct() == list(dict.fromkeys(values))
    assert counts(column) == Counter(values)


@given(COLUMNS, COLUMNS, FORMS, FORMS)
def test_values_are_found_in_others(
    values: list[str | None], others: list[str | None], form: type[Column], other_form: type[Column]
) -> None:
    column, among = form(values), other_form(others)
    expected = [others.index(value) if value is not None and value in others else None for value in values]
    assert among.find(column).values == expected
    assert column.is_in(among).values == [place is not None for place in expected]
    assert column.equals("a").values == [value == "a" for value in values]
    short = min(len(values), len(others))
    pairs = list(zip(values, others, strict=False))
    assert column.slice(0, short).equals(among.slice(0, short)).values == [a == b and a is not None for a, b in pairs]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=12), FORMS)
def test_the_first_of_each_value_is_known(values: list[str], form: type[Column]) -> None:
    assert are_first(form(values)).values == [value not in values[:place] for place, value in enumerate(values)]


@given(COLUMNS, COLUMNS, FORMS, FORMS, st.data())
def test_values_are_chosen(
    values: list[str | None],
    others: list[str | None],
    form: type[Column],
    other_form: type[Column],
    data: st.DataObject,
) -> None:
    short = min(len(values), len(others))
    first, second = form(values[:short]), other_form(others[:short])
    flags = data.draw(st.lists(st.booleans(), min_size=short, max_size=short))
    mask = Column.of(flags, "flag")
    assert mask.choose(first, second).values == [
        one if flag else other for flag, one, other in zip(flags, values, others, strict=False)
    ]
    assert first.or_else(second).values == [
        other if one is None else one for one, other in zip(values, others, strict=False)
    ]
    assert first.where(mask).values == [one for one, flag in zip(values, flags, strict=False) if flag]
    assert mask.indexes().values == [place for place, flag in enumerate(flags) if flag]
    assert (~mask & mask).sum() == 0
    assert (~mask | mask).sum() == short


@given(st.lists(COLUMNS, max_size=4), st.data())
def test_columns_are_joined_however_they_hold_their_texts(parts: list[list[str | None]], data: st.DataObject) -> None:
    columns = [data.draw(FORMS)(part) for part in parts]
    joined = Column.joined(columns)
    values = [value for part in parts for value in part]
    assert joined.values == values
    places = data.draw(st.lists(st.one_of(st.none(), st.integers(0, max(0, len(values) - 1))), max_size=9))
    if values:
        expected = [None if place is None else values[place] for place in places]
        assert joined.take(Column.of(places, "index")).values == expected


@given(COLUMNS, FORMS)
def test_a_function_sees_each_value_once_or_every_time(values: list[str | None], form: type[Column]) -> None:
    seen: list[str] = []

    def made(value: str) -> str | None:
        seen.append(value)
        return None if value == "b" else f"<{value}>"

    known = [value for value in values if value is not None]
    expected = [made(value) if value is not None else None for value in values]
    seen.clear()
    assert form(values).each(made).values == expected
    assert sorted(seen) == sorted(set(known))
    assert form(known).rewritten(made).values == [
        one for one, value in zip(expected, values, strict=True) if value in known
    ]
    assert form(values).each(len, "index").values == [None if value is None else len(value) for value in values]


@given(st.lists(st.integers(-5, 5), max_size=12))
def test_equal_values_keep_their_order_when_sorted(values: list[int]) -> None:
    assert order(Column.of(values, "number")).values == sorted(range(len(values)), key=values.__getitem__)


@pytest.mark.parametrize(
    ("value", "kind"), [("x", "text"), (None, "index"), (True, "flag"), ([], "texts"), (["a"], "texts"), (7, "number")]
)
@pytest.mark.parametrize("length", [0, 3])
def test_one_value_for_all_rows(value: object, kind: Kind, length: int) -> None:
    column = Column.constant(value, length, kind)
    assert column.values == [value] * length
    assert Column.joined([column, Column.of([value], kind)]).values == [value] * (length + 1)


def test_what_is_unknown_throughout_goes_with_anything() -> None:
    nothing, texts = Column.constant(None, 2), Column.of(["a", "b"])
    mask = Column.of([True, False], "flag")
    assert texts.take(nothing).values == [None, None]
    assert nothing.take(Column.of([1, None, 0], "index")).values == [None] * 3
    assert nothing.where(mask).values == [None]
    for form in (texts, texts.encoded()):
        assert mask.choose(form, nothing).values == ["a", None]
        assert mask.choose(nothing, form).values == [None, "b"]
        assert nothing.or_else(form).values == ["a", "b"]
        joined = Column.joined([nothing, form, nothing])
        assert joined.values == [None, None, "a", "b", None, None]
        more = [f"text {number}" for number in range(200)]
        assert Column.joined([joined, nothing, Column.of(more).encoded()]).values == [*joined, None, None, *more]
    assert Column.joined([nothing, nothing]).values == [None] * 4


@pytest.mark.parametrize("number", [2, 200, 40_000])
def test_however_many_texts_are_held_once(number: int) -> None:
    texts = [f"text {place}" for place in range(number)]
    parts = [Column.of(texts[start : start + 100]).encoded() for start in range(0, number, 100)]
    joined = Column.joined(parts)
    assert joined.values == joined.encoded().values == texts
    assert joined.equals("text 1").sum() == joined.is_in(Column.of(["text 0", "x"])).sum() == 1
    mask = Column.of([place % 2 == 0 for place in range(number)], "flag")
    assert mask.choose(joined, Column.constant("y", number)).values[:2] == ["text 0", "y"]
    assert joined.each(len, "index").values == list(map(len, texts))


def test_what_is_pickled_has_the_texts_of_its_rows_alone() -> None:
    column = Column.of(f"text {number}" for number in range(10_000)).encoded()
    some = column.take(Column.of([9_999, 7, None, 7], "index"))
    assert some.values == ["text 9999", "text 7", None, "text 7"]
    assert len(pickle.dumps(some)) < 2_000
    assert pickle.loads(pickle.dumps(some)).values == some.values


def test_more_rows_than_python_looks_at_at_a_time() -> None:
    column = Column.numbers(0, 200_000)
    assert list(column) == list(range(200_000))
    assert column.rewritten(str).values == list(map(str, range(200_000)))
    assert max(map(len, column.batches())) < 100_000
