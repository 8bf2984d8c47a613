"""Memory and disk do not grow with the release. `tools/campaign bounds` measures larger ones."""

import json

import pytest
from harness import kconvert
from measuring import Peaks, clips_origin, measured

CLIP_BYTES = 500_000


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], tuple[Peaks, int]]:
    """By factor and window: what a run took at most, and the disk that was predicted."""
    folder = tmp_path_factory.mktemp("bounds")
    found = {}
    for factor in (1, 10):
        clips_origin(folder / f"{factor}", 2 * factor, 10, CLIP_BYTES)
        for window in (0, 2):
            words = ("k400", "--split", "val", "--origin", folder / f"{factor}", "--shuffle.window", window)
            plan = json.loads(kconvert("plan", *words, "--out", folder / "none", "--json").out)
            taken = measured(words, folder / f"out-{factor}-{window}")
            assert taken.code == 0, taken.err
            found[factor, window] = taken, plan["max_disk_bytes"]
    return found


def test_ten_times_the_release_takes_no_more_memory(peaks: dict[tuple[int, int], tuple[Peaks, int]]) -> None:
    for window in (0, 2):
        small, large = peaks[1, window][0], peaks[10, window][0]
        # A worker holds a few clips, more of them where its two threads happen to meet; the driver a row, of 2 kB, for
        # each clip. What grew with the release would grow by its 180 clips more.
        assert large.worker_bytes < small.worker_bytes + 45 * CLIP_BYTES
        assert large.driver_bytes < small.driver_bytes + 45 * CLIP_BYTES


def test_a_window_bounds_what_is_staged(peaks: dict[tuple[int, int], tuple[Peaks, int]]) -> None:
    assert peaks[10, 2][0].staging_bytes < 1.5 * peaks[1, 2][0].staging_bytes
    assert peaks[10, 0][0].staging_bytes > 5 * peaks[1, 0][0].staging_bytes


def test_the_predicted_disk_is_not_exceeded(peaks: dict[tuple[int, int], tuple[Peaks, int]]) -> None:
    for taken, predicted in peaks.values():
        assert 0 < taken.disk_bytes <= predicted
