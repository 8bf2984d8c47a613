"""Rows and lists of AVA-Kinetics, with every oddity."""

import time

import pytest

from kconvert.catalog.ava import Keyframe, parse_actions, parse_ava
from kconvert.errors import AnnotationError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_any_system_ends_them(end: str) -> None:
    rows = parse_ava(f"\ufeffabcdefghij-,1.5{end}abcdefghij-,2,0,0,1,1,80{end}".encode(), "x")
    assert rows.keyframes == (Keyframe("abcdefghij-", 1_500_000), Keyframe("abcdefghij-", 2_000_000))
    assert list(rows.action_ids) == [80]


@pytest.mark.parametrize("seconds", ["616.9625905", "0.0000005", "1e2", "17", "17.000000"])
def test_times_are_told_apart_as_the_official_evaluation_does(seconds: str) -> None:
    (keyframe,) = parse_ava(f"abcdefghij-,{seconds}\n".encode(), "x").keyframes
    assert f"{keyframe.microseconds / 1e6:.6f}" == f"{float(seconds):.6f}"


@pytest.mark.parametrize("line", ["abcdefghij-,1_0", "abcdefghij-,1,0,0,1,1,1_1", "abcdefghij-,nan", "abcdefghij-,-1"])
def test_what_only_a_program_would_take_for_a_number_is_refused(line: str) -> None:
    with pytest.raises(AnnotationError, match="line 1"):
        parse_ava(f"{line}\n".encode(), "x")


def test_actions_are_read_as_the_form_allows_them() -> None:
    text = """
        # item { name: "not this" id: 9 }
        item { name: "the id: 7 thing" id: 1 }
        item {
          name: 'walk } or {'
          id: 2
        }
        label: { name: "sit", label_id: 3 }
    """
    assert parse_actions(text.encode(), "x") == {1: "the id: 7 thing", 2: "walk } or {", 3: "sit"}
    with pytest.raises(AnnotationError, match="1 problem"):
        parse_actions(b'item { name: "x" item { name: "y" id: 2 }', "x")
    start = time.monotonic()
    with pytest.raises(AnnotationError):
        parse_actions(b"item {\n" * 60_000, "x")
    assert time.monotonic() - start < 5
