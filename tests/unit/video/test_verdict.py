import pytest
from hypothesis import given
from hypothesis import strategies as st

from kconvert.video.metadata import MediaMetadata
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


def test_defects_stand_in_their_order_and_the_gravest_rejects() -> None:
    probed = Probed(MediaMetadata(duration_seconds=1.0), Fault("truncated", "cut"))
    verdict = judge(probed, CheckOptions())
    assert verdict.defects == ("short", "truncated")
    assert "cut" in verdict.detail
    assert rejecting_defect(verdict.defects, "keep") == "truncated"
    assert rejecting_defect(verdict.defects, "drop") == "truncated"


def test_short_rejects_only_where_it_is_asked_to() -> None:
    assert rejecting_defect(("short",), "keep") == ""
    assert rejecting_defect(("short",), "drop") == "short"


@given(st.text())
def test_a_detail_is_one_printable_line_of_bounded_length(message: str) -> None:
    detail = clean_detail(message)
    assert detail.isprintable()
    assert len(detail) <= MAX_DETAIL_CHARS


def test_there_are_the_documented_defects() -> None:
    assert DEFECTS == (
        "empty", "unreadable", "no_video", "short", "truncated", "encrypted", "undecodable", "crashed", "timeout",
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"min_duration": -1}, {"timeout": 0}, {"min_duration": float("nan")}])
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"--check.{next(iter(options))}"):
        CheckOptions(**options)  # type: ignore[arg-type]
