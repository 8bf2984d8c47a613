import pytest

from kconvert.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("zumba größe 武術", "zumba größe 武術"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202eturned", "\\u202eturned"),
        (b"\xff.mp4".decode("utf-8", "surrogateescape"), "\\udcff.mp4"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_nothing_unprintable_gets_through(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    assert shown.encode("utf-8")


def test_a_text_is_cut_where_that_is_asked_for() -> None:
    assert printable("x" * 1000, 1000) == "x" * 1000
    assert printable("x" * 1001, 1000) == "x" * 999 + "…"


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\x1btwo\n") == "one\n\\x1btwo\n"
