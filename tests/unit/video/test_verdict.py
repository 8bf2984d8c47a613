import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.video.metadata import MediaMetadata, is_variable
from kconvert.video.verdict import (
    DEFECTS,
    MAX_DETAIL_CHARS,
    CheckOptions,
    Fault,
    Probed,
    clean_detail,
    judge,
    rejecting_defect,
)


@pytest.mark.parametrize(("seconds", "is_short"), [(8.96, True), (8.999999, True), (9.0, False), (10.0, False)])
def test_exactly_the_minimum_is_not_short(seconds: float, is_short: bool) -> None:
    verdict = judge(Probed(MediaMetadata(duration_seconds=seconds)), CheckOptions())
    assert (verdict.defects == ("short",)) == is_short


def test_an_unknown_duration_is_not_short() -> None:
    assert judge(Probed(MediaMetadata()), CheckOptions()).defects == ()
    assert judge(Probed(MediaMetadata(num_frames=17)), CheckOptions()).defects == ()


@pytest.mark.parametrize(("num_frames", "is_short"), [(269, True), (270, False)])
def test_an_unknown_duration_is_estimated_from_frames_and_rate(num_frames: int, is_short: bool) -> None:
    verdict = judge(Probed(MediaMetadata(num_frames=num_frames, fps=30.0)), CheckOptions())
    assert verdict.defects == (("short",) if is_short else ())
    assert "by its frames and their rate" in verdict.detail or not is_short


@pytest.mark.parametrize(
    ("stated", "decoded", "has_few"),
    [(16, None, False), (15, None, True), (16, 15, False), (None, 15, True), (None, 16, False), (None, None, False)],
)
def test_a_clip_of_few_frames_is_flagged(stated: int | None, decoded: int | None, has_few: bool) -> None:
    metadata = MediaMetadata(duration_seconds=10.0, num_frames=stated, num_decoded_frames=decoded)
    assert judge(Probed(metadata), CheckOptions()).defects == (("few_frames",) if has_few else ())
    assert judge(Probed(metadata), CheckOptions(min_frames=0)).defects == ()
    assert CheckOptions().dropped == frozenset()
    assert CheckOptions(short="drop", few_frames="drop").dropped == {"short", "few_frames"}
    assert rejecting_defect(("short", "few_frames"), {"few_frames"}) == "few_frames"


@pytest.mark.parametrize(
    ("times", "varies"),
    [
        ([0, 512, 1024, 1536], False), ([1536, 0, 1024, 512], False), ([0, 33, 67, 100, 133], False),
        ([0, 3753, 7507, 11261], False), ([0, 512, 1024, 2048], True), ([0, 33, 66, 99, 200], True),
        ([], None), ([0], None), ([0, 512], None),
    ],
)  # fmt: skip
def test_a_frame_rate_varies_where_intervals_differ_by_more_than_rounding(
    times: list[int], varies: bool | None
) -> None:
    assert is_variable(times) is varies


def test_defects_stand_in_their_order_and_the_gravest_rejects() -> None:
    probed = Probed(MediaMetadata(duration_seconds=1.0), Fault("truncated", "cut"))
    verdict = judge(probed, CheckOptions())
    assert verdict.defects == ("short", "truncated")
    assert "cut" in verdict.detail
    assert rejecting_defect(verdict.defects, ()) == "truncated"
    assert rejecting_defect(verdict.defects, {"short"}) == "truncated"


def test_short_rejects_only_where_it_is_asked_to() -> None:
    assert rejecting_defect(("short",), ()) == ""
    assert rejecting_defect(("short",), {"short"}) == "short"


@given(st.text())
def test_a_detail_is_one_printable_line_of_bounded_length(message: str) -> None:
    detail = clean_detail(message)
    assert detail.isprintable()
    assert len(detail) <= MAX_DETAIL_CHARS


def test_there_are_the_documented_defects() -> None:
    assert DEFECTS == (
        "empty", "unreadable", "no_video", "short", "few_frames", "truncated", "encrypted", "undecodable",
        "unencodable", "crashed", "timeout",
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"min_duration": -1}, {"timeout": 0}, {"min_frames": -1}, {"min_duration": float("nan")}]
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"--check.{next(iter(options))}"):
        CheckOptions(**options)  # type: ignore[arg-type]
