import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.catalog.clip import Clip

IDS = st.text("abcXYZ019_-", min_size=11, max_size=11)


@given(IDS, st.integers(0, 999_998), st.integers(1, 100))
def test_a_name_and_its_clip_are_one(youtube_id: str, start: int, length: int) -> None:
    clip = Clip(youtube_id, start, min(start + length, 999_999))
    assert Clip.from_name(clip.name) == clip
    assert Clip.from_name(clip.name + ".mp4") == clip


def test_an_id_may_begin_with_dashes_and_underscores() -> None:
    assert Clip.from_name("--6bJUbfpnQ_000017_000027.mp4") == Clip("--6bJUbfpnQ", 17, 27)
    assert Clip.from_name("___v8pgm1eQ_000000_000010.mp4") == Clip("___v8pgm1eQ", 0, 10)


def test_a_key_never_begins_with_what_readers_take_for_hidden_or_for_an_option() -> None:
    assert Clip("__v8pgm1eQx", 0, 10).key("test") == "test___v8pgm1eQx_000000_000010"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "abc.mp4",
        "0123456789_000000_000010.mp4",
        "0123456789a_00000_000010.mp4",
        "0123456789a_000000_000010.MP4",
        "0123456789a_000000_000010.mp4.mp4",
        "0123456789a_000000_000010.mp4\n",
        "0123456789a_000010_000010.mp4",
        "0123456789ä_000000_000010.mp4",
        "0123456789a_٠٠٠٠٠٠_000010.mp4",
        "../56789abcd_000000_000010.mp4",
    ],
)
def test_what_is_no_clip_name_is_refused_with_its_text(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected|youtube id|times"):
        Clip.from_name(name)
