"""Clip lists, in the forms in which people have them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.catalog.clip_list import ClipList, ListedClip, parse_clip_list
from kconvert.errors import AnnotationError

ONE, OTHER = ListedClip("aaaaaaaaaaa", 1, 11), ListedClip("-_bbbbbbbbb", 20, 30)
FORMS = {
    "official": "label,youtube_id,time_start,time_end,split\nzumba,aaaaaaaaaaa,1,11,val\nzumba,-_bbbbbbbbb,20,30,val\n",
    "test": "youtube_id,time_start,time_end,split\r\naaaaaaaaaaa,1,11,test\r\n-_bbbbbbbbb,20,30,test\r\n",
    "floats": "﻿youtube_id, time_start, time_end\naaaaaaaaaaa, 1.0, 11.0\n\n-_bbbbbbbbb, 20.0, 30.0\n",
    "json": '{"aaaaaaaaaaa": {"annotations": {"label": "zumba", "segment": [1.0, 11.0]}},'
    ' "-_bbbbbbbbb": {"annotations": {"segment": [20, 30]}}}',
    "table": "key,youtube_id,start_seconds,end_seconds\nx,aaaaaaaaaaa,1,11\nx,-_bbbbbbbbb,20,30\n",
    "headerless": "bookbinding,aaaaaaaaaaa,1,11,val\nbookbinding,-_bbbbbbbbb,20,30,val\n",
    "tabs": "aaaaaaaaaaa\t1\t11\n-_bbbbbbbbb\t20\t30\n",
    "mac": "aaaaaaaaaaa_000001_000011\r-_bbbbbbbbb_000020_000030\r",
    "json list": '["aaaaaaaaaaa_000001_000011", "-_bbbbbbbbb_000020_000030.mp4"]',
    "names": "aaaaaaaaaaa_000001_000011\n-_bbbbbbbbb_000020_000030\n",
    "ls -R": "val:\ntotal 8\nbobsledding\nriding a bike\n\nval/riding a bike:\naaaaaaaaaaa_000001_000011.mp4\n-_bbbbbbbbb_000020_000030.mp4\n",
    "mmaction2": "riding_a_bike/aaaaaaaaaaa_000001_000011.mp4 5\nriding a bike/-_bbbbbbbbb_000020_000030.mp4 5\n",
    "paths": "# mine\n'/data/k400/val/aaaaaaaaaaa_000001_000011.mkv'\n/data/x y/-_bbbbbbbbb_000020_000030.webm,3\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_the_same(form: str) -> None:
    found = parse_clip_list(FORMS[form].encode(), "mine", "mine.csv")
    assert found.clips == [ONE, OTHER]
    assert found.has_times
    assert found.sha256 == ClipList("x", [OTHER, ONE]).sha256


@pytest.mark.parametrize(
    "text",
    [
        "aaaaaaaaaaa\n-_bbbbbbbbb\naaaaaaaaaaa\n",
        "youtube_id\naaaaaaaaaaa\n-_bbbbbbbbb\n",
        "youtube_id,label\naaaaaaaaaaa,zumba\n-_bbbbbbbbb,zumba\n",
        "videos_val/aaaaaaaaaaa.mp4 1\nspringboard diving/-_bbbbbbbbb.mp4 2\n",
        "aaaaaaaaaaa springboard\n-_bbbbbbbbb springboard\n",
        "aaaaaaaaaaa\nparagliding -_bbbbbbbbb\n",
        '{"aaaaaaaaaaa": {}, "-_bbbbbbbbb": {"label": "zumba"}}',
    ],
)
def test_a_list_may_have_no_times(text: str) -> None:
    found = parse_clip_list(text.encode(), "mine", "mine.txt")
    assert [clip.youtube_id for clip in found.clips] == ["aaaaaaaaaaa", "-_bbbbbbbbb"]
    assert not found.has_times


def test_all_rows_that_cannot_be_read_are_told() -> None:
    text = "youtube_id,time_start,time_end\nshort,1,11\naaaaaaaaaaa,11,1\naaaaaaaaaaa,x,11\naaaaaaaaaaa,1,11\n"
    with pytest.raises(AnnotationError) as error:
        parse_clip_list(text.encode(), "mine", "mine.csv")
    assert [problem.where for problem in error.value.problems] == ["line 2", "line 3", "line 4"]
    assert "mine.csv: 3 problem(s)" in str(error.value)


@pytest.mark.parametrize("place", [0, 15_000, 19_999])
def test_a_quote_that_nothing_closes_is_told_by_its_line(place: int) -> None:
    rows = [f"{number:011},{number},{number + 10}" for number in range(20_000)]
    rows[place] = '"' + rows[place]
    with pytest.raises(AnnotationError) as error:
        parse_clip_list("\n".join(["youtube_id,time_start,time_end", *rows]).encode(), "mine", "x")
    assert [problem.where for problem in error.value.problems] == [f"line {place + 2}"]


def test_several_clips_in_a_line_are_refused() -> None:
    for text in ("aaaaAaaaaaa -_bbbbbbbbb\n", "aaaaaaaaaaa_000001_000011.mp4 -_bbbbbbbbb_000020_000030.mp4\n"):
        with pytest.raises(AnnotationError, match="one clip or video a line"):
            parse_clip_list(text.encode(), "mine", "x")


def test_a_label_of_eleven_letters_is_no_id(shared_data: Path) -> None:
    """A csv without its header, as tools write them."""
    data = (shared_data / "annotations/k400_val.csv").read_bytes()
    whole = parse_clip_list(data, "x", "x")
    assert b"\nparagliding," in data
    assert parse_clip_list(data.partition(b"\n")[2], "x", "x").clips == whole.clips


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"{",
        b"[1]",
        b"[[]]",
        b"youtube_id,time_start,time_end\naaaaaaaaaaa,0," + b"1" * 5000,
        b"youtube_id\n",
        b"{}",
        b"\xff\xfe",
        b'{"a": 1}',
    ],
)
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(AnnotationError, match="mine"):
        parse_clip_list(data, "mine", "mine.csv")


@given(st.binary(max_size=300) | st.text("abeil,\n\"'r:/._mp4-{}[]_0123 youtube", max_size=300).map(str.encode))
def test_whatever_it_holds_it_is_read_or_refused(data: bytes) -> None:
    try:
        found = parse_clip_list(data, "mine", "mine.csv")
    except AnnotationError:
        return
    assert all(len(clip.youtube_id) == 11 for clip in found.clips)
