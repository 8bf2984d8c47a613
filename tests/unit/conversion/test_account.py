"""The account, against what is said of it: every clip and every annotation in exactly one row, whatever comes."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest
from harness import write_staged
from hypothesis import given, settings
from hypothesis import strategies as st

from kconvert.catalog.annotation import Annotations
from kconvert.catalog.labelling import Labelling
from kconvert.catalog.shelf import load_release
from kconvert.columns.column import Column
from kconvert.conversion.account import Account
from kconvert.conversion.decisions import Decision
from kconvert.conversion.judgement import Policy
from kconvert.dataset.staged_rows import StagedClip, StagedRows
from kconvert.storage.folders import local
from kconvert.video.metadata import MediaMetadata

NAMES = [f"clip-{number:06d}_000000_000010" for number in range(12)]
MEMBERS = {
    "num_archives": 0,
    "num_members": 0,
    "num_ignored_members": 0,
    "num_unparsed_members": 0,
    "num_unselected_members": 0,
    "num_clip_members": 0,
}

clips = st.tuples(st.sampled_from(NAMES), st.sampled_from([(), ("short",), ("truncated",), ("short", "empty")]))
archives = st.lists(st.lists(clips, max_size=6), max_size=4)
labels = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["zumba", "abseiling", ""]), max_size=12)


def staged(folder: Path, archive: str, contents: list[tuple[str, tuple[str, ...]]]) -> StagedRows:
    rows = [StagedClip(name, f"./{name}.mp4", defects, "", 7, "", MediaMetadata(), 0) for name, defects in contents]
    write_staged(local(folder / "rows"), rows)
    return StagedRows.read({archive: local(folder / "rows")})


def policy(
    short: str = "keep",
    unlabelled: str = "drop",
    covered: frozenset[str] | None = None,
    match: str = "name",
    excluded: Collection[str] = (),
) -> Policy:
    return Policy(
        dropped=frozenset({"short"}) if short == "drop" else frozenset[str](),
        unlabelled=unlabelled,  # type: ignore[arg-type]
        match=match,  # type: ignore[arg-type]
        excluded_by=(lambda name: ("other:val",) if name in excluded else ()) if excluded else None,
        is_covered=lambda label: covered is None or label in covered,
    )


def labelling(annotated: dict[str, str], split: str = "k400/train", number: int = 0) -> Labelling:
    """Of a split with the annotations of its file of that number."""
    release, _, name = split.partition("/")
    found = load_release(release)
    info = found.splits[name]
    return Labelling(Annotations.of(annotated), info.annotations[number], info, found.labels, found.names)


@settings(max_examples=150)
@given(
    archives,
    st.lists(clips, max_size=5),
    labels,
    st.sampled_from(["keep", "drop"]),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from([None, frozenset(), frozenset({"zumba"})]),
    st.sets(st.sampled_from(NAMES), max_size=3),
)
def test_the_account_closes(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[list[tuple[str, tuple[str, ...]]]],
    better: list[tuple[str, tuple[str, ...]]],
    annotated: dict[str, str],
    short: str,
    unlabelled: str,
    covered: frozenset[str] | None,
    excluded: set[str],
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    account = Account(labelling(annotated), policy(short, unlabelled, covered, excluded=excluded))
    account.add_replacements(staged(folder, "better", better))
    for number, archive in enumerate(contents):
        account.admit(staged(folder, f"archive {number}", archive))
    account.close(lambda label: "archive_skipped" if label == "zumba" else "")

    hosted = [name for archive in contents for name, _ in archive]
    rows = list(account.decisions)
    # Every clip of an archive is in exactly one row: as often as it is hosted.
    of_members = Counter(row.name for row in rows if row.original is not None or row.source == "original")
    assert of_members == Counter(hosted)
    # Every annotation is in exactly one row that is no duplicate, unless it is not covered and not there.
    of_annotations = Counter(row.name for row in rows if row.reason != "duplicate" and row.name in annotated)
    assert set(of_annotations.values()) <= {1}
    unread = {name for name, label in annotated.items() if covered is not None and label not in covered}
    assert set(annotated) - set(of_annotations) <= unread - set(hosted)
    # No key is written twice, and nothing that is defective or has no label where that is asked for.
    written = [row for row in rows if row.status == "written"]
    assert len({row.name for row in written}) == len(written)
    assert all(row.label or unlabelled == "keep" for row in written)
    # What is excluded is not written, and what is not there stays missing.
    assert not {row.name for row in written} & excluded
    assert all((row.reason == "excluded") == (row.excluded_by == ["other:val"]) for row in rows)
    named = {row.name for row in rows if row.status == "rejected" and row.reason != "duplicate"}
    assert {row.name for row in rows if row.reason == "excluded"} == named & excluded
    # A missing clip is hosted nowhere.
    assert not {row.name for row in rows if row.status == "missing"} & set(hosted)
    # Written, rejected and missing say so.
    assert all(row.reason != "" for row in rows if row.status == "rejected")
    assert all(row.reason == "" for row in rows if row.status == "written")
    lost = [row for row in rows if row.status == "missing" and row.label == "zumba"]
    assert [row for row in rows if row.reason == "archive_skipped"] == lost
    assert all((row.status == "missing") == (row.row is None) for row in rows)

    counts = account.counts(MEMBERS, 0, 0)
    assert counts.num_excluded_by.get("other:val", 0) == counts.num_rejected.get("excluded", 0)
    num_rejected = sum(counts.num_rejected.values())
    assert counts.num_missing_in_damaged == len(lost)
    assert counts.num_written + num_rejected + counts.num_missing == len(rows)
    assert len(hosted) + counts.num_replacement_only == counts.num_written + num_rejected
    assert counts.num_annotations - counts.num_unread_annotations == len(of_annotations)


def decide(folder: Path, contents: list[tuple[str, tuple[str, ...]]], **options: object) -> list[Decision]:
    better = options.pop("better", [])
    annotated = options.pop("annotated", {NAMES[0]: "zumba"})
    account = Account(labelling(annotated), policy(**options))  # type: ignore[arg-type]
    account.add_replacements(staged(folder, "better", better))  # type: ignore[arg-type]
    account.admit(staged(folder, "archive", contents))
    account.close(lambda label: "")
    return list(account.decisions)


def test_a_good_replacement_wins_also_over_a_good_original(tmp_path: Path) -> None:
    for defects in ((), ("truncated",)):
        (row,) = decide(tmp_path, [(NAMES[0], defects)], better=[(NAMES[0], ())])
        assert (row.status, row.source, row.row, row.original) == ("written", "replacement", 0, 1)


def test_a_broken_replacement_changes_nothing(tmp_path: Path) -> None:
    better = [(NAMES[0], ("unreadable",))]
    (row,) = decide(tmp_path, [(NAMES[0], ())], better=better)
    assert (row.status, row.source) == ("written", "original")
    (row,) = decide(tmp_path, [(NAMES[0], ("empty",))], better=better)
    assert (row.status, row.reason, row.source) == ("rejected", "empty", "original")
    (row,) = decide(tmp_path, [], better=better)
    assert row.status == "missing"


def test_an_annotated_clip_that_only_the_replacement_archive_has_is_written_from_it(tmp_path: Path) -> None:
    (row,) = decide(tmp_path, [], better=[(NAMES[0], ())])
    assert (row.status, row.source, row.original) == ("written", "replacement", None)


def test_a_duplicate_is_told_before_a_defect_and_a_defect_before_a_missing_label(tmp_path: Path) -> None:
    rows = decide(tmp_path, [(NAMES[1], ("empty",)), (NAMES[1], ("empty",)), (NAMES[2], ())], annotated={})
    assert [row.reason for row in rows] == ["empty", "duplicate", "unlabelled"]


def test_a_replacement_that_matches_nothing_is_listed(tmp_path: Path) -> None:
    account = Account(labelling({NAMES[0]: "zumba"}), policy())
    account.add_replacements(staged(tmp_path, "better", [(NAMES[0], ()), (NAMES[1], ()), (NAMES[2], ())]))
    account.admit(staged(tmp_path, "archive", [(NAMES[1], ())]))
    account.close(lambda label: "")
    assert account.unmatched_replacements() == [NAMES[2]]
    assert account.counts(MEMBERS, 0, 0).num_unmatched_replacements == 1


def test_a_clip_that_no_annotation_names_is_labelled_by_its_archive_or_its_folder() -> None:
    k600 = labelling({NAMES[0]: "zumba"}, "k600/train")
    assert label_of(k600, NAMES[0], "600/train/abseiling.tar.gz", "./x.mp4") == ("zumba", "annotation")
    massaging = "massaging person's head"
    assert label_of(k600, NAMES[1], f"600/train/{massaging}.tar.gz", "./x.mp4") == (massaging, "archive")
    assert label_of(k600, NAMES[1], "600/train/zumba.tar.gz", "abseiling/x.mp4") == ("zumba", "archive")
    k400 = labelling({NAMES[0]: ""}, "k400/train")
    assert label_of(k400, NAMES[0], "400/train/part_0.tar.gz", "zumba/x.mp4") == ("", "")
    # As torchvision and the extractors write class folders.
    for folder in ("driving car", "a/b/driving_car", "DRIVING-CAR", "./driving car"):
        assert label_of(k400, NAMES[1], "400/train/part_0.tar.gz", f"{folder}/x.mp4") == ("driving car", "folder")
    for member in ("x.mp4", "./x.mp4", "home/data/x.mp4"):
        assert label_of(k400, NAMES[1], "400/train/part_0.tar.gz", member) == ("", "")


def label_of(labelling: Labelling, name: str, archive: str, member: str) -> tuple[str, str]:
    annotated = labelling.annotations.names.find(Column.of([name]))
    found = labelling.of(annotated, Column.of([archive]), labelling.folder_labels(Column.of([member])))
    return found.texts.values[0], found.sources.values[0]


@pytest.mark.parametrize("unlabelled", ["keep", "drop"])
@pytest.mark.parametrize(("split", "number", "is_complete"), [("k600/val", 0, True), ("k600/val", 1, False)])
def test_an_unannotated_clip_is_written_where_the_annotations_are_known_to_lack_some(
    tmp_path: Path, split: str, number: int, is_complete: bool, unlabelled: str
) -> None:
    account = Account(labelling({NAMES[0]: "zumba"}, split, number), policy(unlabelled=unlabelled))
    account.admit(staged(tmp_path, "600/val/abseiling.tar.gz", [(NAMES[0], ()), (NAMES[1], ())]))
    account.admit(staged(tmp_path, "600/val/nothing known.tar.gz", [(NAMES[2], ())]))
    found = [(row.label, row.label_source, row.status) for row in account.decisions]
    second = "rejected" if is_complete and unlabelled == "drop" else "written"
    third = "rejected" if unlabelled == "drop" else "written"
    assert found == [("zumba", "annotation", "written"), ("abseiling", "archive", second), ("", "", third)]


ONE, LATER, LATEST = (f"samevideo01_{start:06d}_{start + 10:06d}" for start in (0, 1, 2))
OTHER = "othervideo1_000000_000010"


@pytest.mark.parametrize(
    ("annotated", "hosted", "expected"),
    [
        # Of one annotation, the clip of that name has it, else the first one.
        ([ONE], [LATER], {LATER: ("written", "", "zumba")}),
        ([ONE], [LATER, LATEST], {LATER: ("written", "", "zumba"), LATEST: ("rejected", "unlabelled", "")}),
        ([ONE], [LATER, ONE], {LATER: ("rejected", "unlabelled", ""), ONE: ("written", "", "zumba")}),
        ([ONE], [ONE, LATER], {ONE: ("written", "", "zumba"), LATER: ("rejected", "unlabelled", "")}),
        # Where a video is annotated twice, nobody knows which of both is meant.
        (
            [ONE, LATER],
            [LATEST],
            {
                LATEST: ("rejected", "unlabelled", ""),
                ONE: ("missing", "", "zumba"),
                LATER: ("missing", "", "zumba"),
            },
        ),
        ([ONE], [OTHER], {OTHER: ("rejected", "unlabelled", ""), ONE: ("missing", "", "zumba")}),
    ],
)
def test_by_id_a_clip_has_the_only_annotation_of_its_video(
    tmp_path: Path, annotated: list[str], hosted: list[str], expected: dict[str, tuple[str, str, str]]
) -> None:
    account = Account(labelling(dict.fromkeys(annotated, "zumba")), policy(match="id"))
    account.add_replacements(staged(tmp_path, "better", []))
    account.admit(staged(tmp_path, "archive", [(name, ()) for name in hosted]))
    account.close(lambda label: "")
    assert {row.name: (row.status, row.reason, row.label) for row in account.decisions} == expected
    counts = account.counts({**MEMBERS, "num_members": len(hosted), "num_clip_members": len(hosted)}, 0, 0)
    assert counts.contradictions() == []


def test_by_id_a_clip_that_is_rejected_has_the_annotation_only_if_no_other_has(tmp_path: Path) -> None:
    bad: tuple[str, tuple[str, ...]] = (LATER, ("truncated",))
    for contents, expected in (
        ([bad, (LATEST, ())], {LATER: ("rejected", "truncated"), LATEST: ("written", "")}),
        ([bad], {LATER: ("rejected", "truncated")}),
    ):
        account = Account(labelling({ONE: "zumba"}), policy(match="id"))
        account.admit(staged(tmp_path, "archive", contents))
        account.close(lambda label: "")
        assert {row.name: (row.status, row.reason) for row in account.decisions} == expected
        assert {row.label for row in account.decisions} == {"zumba"}
        counts = account.counts({**MEMBERS, "num_members": len(contents), "num_clip_members": len(contents)}, 0, 0)
        assert counts.contradictions() == []


@pytest.mark.parametrize("defects", [("truncated",), ()])
def test_by_id_a_clip_has_its_own_annotation_also_where_a_rejected_one_of_another_name_came_before(
    tmp_path: Path, defects: tuple[str, ...]
) -> None:
    """In a window before, where nobody knew yet that the annotated clip would come."""
    account = Account(labelling({ONE: "zumba"}), policy(match="id"))
    account.admit(staged(tmp_path, "archive", [(LATER, defects)]))
    account.admit(staged(tmp_path, "another", [(ONE, ())]))
    account.close(lambda label: "")
    own = ("written", "") if defects else ("rejected", "duplicate")
    other = ("rejected", "truncated") if defects else ("written", "")
    assert {row.name: (row.status, row.reason) for row in account.decisions} == {LATER: other, ONE: own}
    counts = account.counts({**MEMBERS, "num_members": 2, "num_clip_members": 2}, 0, 0)
    assert counts.contradictions() == []
    assert (counts.num_unread_annotations, counts.num_unannotated) == ((0, 1) if defects else (0, 0))


def test_by_id_an_official_replacement_has_its_annotation(tmp_path: Path) -> None:
    account = Account(labelling({ONE: "zumba"}), policy(match="id"))
    account.add_replacements(staged(tmp_path, "better", [(ONE, ())]))
    account.admit(staged(tmp_path, "archive", [(LATER, ())]))
    account.close(lambda label: "")
    found = {row.name: (row.status, row.reason, row.source) for row in account.decisions}
    assert found == {LATER: ("rejected", "unlabelled", "original"), ONE: ("written", "", "replacement")}


def test_clips_of_other_times_are_listed_with_what_is_annotated(tmp_path: Path) -> None:
    account = Account(labelling(dict.fromkeys([ONE, OTHER], "zumba")), policy())
    account.add_replacements(staged(tmp_path, "better", []))
    account.admit(staged(tmp_path, "archive", [(LATER, ()), (OTHER, ())]))
    account.close(lambda label: "")
    assert account.other_times() == [f"{LATER}, annotated as {ONE}"]
