import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.units import ByteSize, format_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GB", 10**9), ("1.5 GB", 1_500_000_000), ("500MiB", 500 * 2**20), ("12", 12), ("12kb", 12_000), ("7B", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert ByteSize.parse(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 XB", "1e9", "1GB1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        ByteSize.parse(text)


@given(st.integers(0, 10**15))
def test_a_size_is_written_so_that_it_is_read_as_the_same(size: int) -> None:
    assert ByteSize.parse(str(ByteSize(size))) == size


def test_sizes_are_shown_with_three_digits() -> None:
    assert [format_bytes(size) for size in (0, 999, 1000, 1_234_567, 603e9)] == [
        "0 B",
        "999 B",
        "1 kB",
        "1.23 MB",
        "603 GB",
    ]
