"""Finished clips: found again by what comes after, and only as they were."""

from pathlib import Path

import pytest

from kconvert.staging.finished import FinishedClip, FinishedClips
from kconvert.storage.folders import local

CLIPS = {f"{number:064x}": FinishedClip({"number": number}, b"video" * number) for number in range(4)}


def kept(folder: Path, number: str = "run") -> FinishedClips:
    return FinishedClips(local(folder), "000001", number)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = kept(tmp_path)
    for sha256, clip in CLIPS.items():
        clips.add(sha256, clip)
    clips.keep()
    return tmp_path


def test_they_are_found_again_with_their_bytes(folder: Path) -> None:
    again = kept(folder)
    assert {sha256: again.get(sha256) for sha256 in CLIPS} == CLIPS
    assert again.get("f" * 64) is None


def test_those_of_another_conversion_or_archive_count_for_nothing(folder: Path) -> None:
    assert kept(folder, "other").get(next(iter(CLIPS))) is None
    assert FinishedClips(local(folder), "000002", "run").get(next(iter(CLIPS))) is None


def test_one_that_is_not_what_it_was_is_not_found(folder: Path) -> None:
    (piece,) = folder.glob("*.finished")
    data = bytearray(piece.read_bytes())
    data[-1] ^= 1
    piece.write_bytes(bytes(data))
    again = kept(folder)
    assert again.get(f"{3:064x}") is None
    assert again.get(f"{2:064x}") == CLIPS[f"{2:064x}"]


def test_nothing_stays_once_all_are_in_the_part(folder: Path) -> None:
    kept(folder).forget()
    assert not list(folder.iterdir())
