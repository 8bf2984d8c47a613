"""Overlaps of the real lists, against DuckDB's joins of the same files."""

import itertools
from pathlib import Path

import duckdb
import pytest

from kconvert.catalog.clip_list import ClipList, ListedClip, parse_clip_list
from kconvert.catalog.exclusion import Exclusion
from kconvert.catalog.overlap import Overlap, overlap, pairs
from kconvert.catalog.shelf import load_release

NAMES = load_release("k400").names

FILES = {
    "k400:val": "k400_val.csv",
    "k400:test": "k400_test_unlabelled.csv",
    "k600:val": "k600_val.csv",
    "k600:test": "k600_test_unlabelled.csv",
    "k700-2020:val": "k700-2020_val.csv",
    "k700-2020:test": "k700-2020_test_unlabelled.csv",
}
PUBLISHED = {
    ("k400:val", "k600:val"): (13_569, 13_566, 13_567),
    ("k400:val", "k700-2020:val"): (208, 199, 201),
    ("k400:val", "k700-2020:test"): (91, 89, 89),
    ("k400:test", "k600:test"): (27_589, 27_576, 27_581),
    ("k400:test", "k700-2020:val"): (4_283, 4_221, 4_229),
    ("k400:test", "k700-2020:test"): (1_523, 1_522, 1_522),
    ("k600:test", "k700-2020:val"): (6_387, 6_173, 6_266),
    ("k600:test", "k700-2020:test"): (2_267, 2_246, 2_250),
    ("k700-2020:val", "k700-2020:test"): (107, 0, 39),
    ("k400:val", "k600:test"): (450, 450, 450),
    ("k600:val", "k700-2020:val"): (38, 29, 32),
    ("k600:val", "k700-2020:test"): (12, 4, 6),
    ("k600:val", "k600:test"): (28, 0, 12),
}
COUNT = """
SELECT count(*) FILTER (youtube_id IN (SELECT youtube_id FROM b)),
       count(*) FILTER (EXISTS (FROM b WHERE b.youtube_id = a.youtube_id AND b.s = a.s AND b.e = a.e)),
       count(*) FILTER (EXISTS (FROM b WHERE b.youtube_id = a.youtube_id AND a.s < b.e AND b.s < a.e))
FROM a
"""


@pytest.fixture(scope="module")
def lists(shared_data: Path) -> dict[str, ClipList]:
    folder = shared_data / "annotations"
    return {name: parse_clip_list((folder / file).read_bytes(), name, file) for name, file in FILES.items()}


def test_the_matrix_of_the_real_lists_is_duckdbs(lists: dict[str, ClipList], shared_data: Path) -> None:
    for a, b in itertools.permutations(FILES, 2):
        with duckdb.connect() as database:
            for table, name in (("a", a), ("b", b)):
                database.execute(
                    f"CREATE TABLE {table} AS SELECT DISTINCT youtube_id, time_start s, time_end e FROM read_csv(?)",
                    [str(shared_data / "annotations" / FILES[name])],
                )
            expected = database.execute(COUNT).fetchone()
        found = overlap(lists[a], lists[b])
        assert (found.num_id, found.num_exact, found.num_overlap) == expected
        assert PUBLISHED.get((a, b), expected) == expected


def test_the_pairs_are_those_that_are_counted(lists: dict[str, ClipList]) -> None:
    a, b = lists["k600:test"], lists["k700-2020:val"]
    found = list(pairs(a, b))
    counted = overlap(a, b)
    assert len({clip for clip, _, _ in found}) == counted.num_id
    assert len({clip for clip, _, by in found if by != "id"}) == counted.num_overlap
    assert len({clip for clip, _, by in found if by == "exact"}) == counted.num_exact


def test_ends_that_touch_are_no_time_in_common() -> None:
    a = ClipList("a", [ListedClip("aaaaaaaaaaa", 0, 10)])
    touching = ClipList("b", [ListedClip("aaaaaaaaaaa", 10, 20), ListedClip("bbbbbbbbbbb", 0, 10)])
    assert overlap(a, touching) == Overlap("a", "b", 1, 0, 0)
    assert overlap(a, ClipList("b", [ListedClip("aaaaaaaaaaa", 9, 10)])) == Overlap("a", "b", 1, 0, 1)


def test_without_times_only_videos_are_compared() -> None:
    a = ClipList("a", [ListedClip("aaaaaaaaaaa", 0, 10)])
    assert overlap(a, ClipList("b", [ListedClip("aaaaaaaaaaa", None, None)])) == Overlap("a", "b", 1, None, None)


def test_a_clip_is_excluded_by_each_list_that_has_it() -> None:
    lists = [
        ClipList("video", [ListedClip("aaaaaaaaaaa", 90, 100)]),
        ClipList("common", [ListedClip("aaaaaaaaaaa", 5, 15)]),
        ClipList("same", [ListedClip("bbbbbbbbbbb", 0, 10), ListedClip("aaaaaaaaaaa", 0, 10)]),
        ClipList("none", [ListedClip("ccccccccccc", 0, 10)]),
    ]
    name = "aaaaaaaaaaa_000000_000010"
    assert Exclusion(lists, "id", NAMES).of(name) == ("video", "common", "same")
    assert Exclusion(lists, "overlap", NAMES).of(name) == ("common", "same")
    assert Exclusion(lists, "exact", NAMES).of(name) == ("same",)
    assert Exclusion(lists, "id", NAMES).without("same").of(name) == ("video", "common")
    assert Exclusion().of(name) == ()
