"""Whole runs over random archives, annotations and replacements, against what is said of them by other code."""

import itertools
import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miniature.build import Archive, Split, annotation_csv, path_list, urls, write
from miniature.made import KINDS, make_clip
from miniature.sources import Row, Video

from kconvert.conversion.config import Conversion
from kconvert.conversion.run import convert
from kconvert.conversion.shuffle import ShuffleOptions
from kconvert.conversion.verification import verify
from kconvert.dataset.manifest import read_manifest
from kconvert.engines.open import EngineChoice, open_engine
from kconvert.errors import OriginError
from kconvert.events import Silent
from kconvert.storage.folders import local

LABELS = ("abseiling", "zumba", "")
ROWS = [Row(f"clip-{number:06d}", number, number + 10, LABELS[number % 3]) for number in range(9)]
clips = st.tuples(
    st.sampled_from(ROWS), st.sampled_from(["good", "good", "short", "cut", "empty", "html", "audio_only"])
)
contents = st.lists(clips, max_size=6)
folders = itertools.count()


def fill(archive: Archive, drawn: list[tuple[Row, str]]) -> Archive:
    archive.clips += [
        (row, Video(make_clip(kind, f"{archive.name} {row.name}"), KINDS[kind][0])) for row, kind in drawn
    ]
    archive.others = [("./", None), ("./readme.txt", b"?"), ("./odd.mp4", b"?")]
    return archive


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    archives=st.lists(contents, min_size=1, max_size=4),
    better=st.none() | contents,
    annotated=st.lists(st.sampled_from(ROWS), min_size=1, max_size=9, unique=True),
    window=st.sampled_from([0, 0, 1]),
    is_repeated=st.booleans(),
)
def test_every_row_and_every_member_is_in_the_tables_once_and_in_one_status(
    tmp_path_factory: pytest.TempPathFactory,
    archives: list[list[tuple[Row, str]]],
    better: list[tuple[Row, str]] | None,
    annotated: list[Row],
    window: int,
    is_repeated: bool,
) -> None:
    root = tmp_path_factory.mktemp("account")
    made = [fill(Archive(f"400/train/part_{number}.tar.gz", "./"), drawn) for number, drawn in enumerate(archives)]
    replacement = None if better is None else fill(Archive("400/replacement_for_corrupted_k400.tgz", "./"), better)
    split = Split("k400", "train", made, annotated, any(row.label for row in annotated), replacement)
    for archive in (*made, *([replacement] if replacement else [])):
        archive.write(root)
    write(root / path_list(split), urls(made))
    rows = [*annotated, annotated[0]] if is_repeated else annotated
    write(root / "400/annotations/train.csv", annotation_csv(rows, "train"))
    out = root / "out"
    conversion = Conversion(
        "k400", str(out), origin=str(root), split="train", workers=1, shuffle=ShuffleOptions(window=window)
    )
    assert not convert(conversion, Silent()).failures

    table = pq.read_table(out / "metadata/train.parquet").to_pylist()
    found = Counter((row["key"], row["status"], row["reason"], row["source"]) for row in table)
    expected = split.expected()
    if window == 0:
        assert found == Counter((f"train_{row.name}", row.status, row.reason, row.source) for row in expected)
    # With a window the first of two clips of a name is the one that is packed first; each is still in one row.
    assert Counter(row["key"] for row in table) == Counter(f"train_{row.name}" for row in expected)
    hosted = Counter(row.name for archive in made for row, _ in archive.clips)
    for name in {*hosted, *(row.name for row in annotated)}:
        of_name = [row for row in table if row["key"] == f"train_{name}"]
        assert len(of_name) == max(1, hosted[name])
        assert sum(row["reason"] != "duplicate" for row in of_name) == 1
    counts = json.loads((out / "manifest.json").read_text())["splits"]["train"]
    assert len(table) == counts["num_written"] + sum(counts["num_rejected"].values()) + counts["num_missing"]
    assert counts["num_annotations"] == len(annotated)
    assert counts["num_members"] == sum(hosted.values()) + 3 * len(made)
    assert counts["num_clip_members"] == sum(hosted.values())
    manifest = read_manifest(local(out))
    assert manifest is not None
    with closing(open_engine(EngineChoice("local", 1))) as engine:
        assert verify(local(out), manifest, engine, Silent()) == []


@pytest.mark.parametrize("is_empty_list", [True, False])
def test_a_split_without_archives_or_annotations_is_refused_before_anything_is_read(
    tmp_path: Path, is_empty_list: bool
) -> None:
    archive = fill(Archive("400/train/part_0.tar.gz", "./"), [(ROWS[0], "good")])
    archive.write(tmp_path)
    split = Split("k400", "train", [archive], ROWS, True)
    write(tmp_path / path_list(split), b"" if is_empty_list else urls([archive]))
    write(tmp_path / "400/annotations/train.csv", annotation_csv(ROWS if is_empty_list else [], "train"))
    with pytest.raises(OriginError, match="empty" if is_empty_list else "at least one annotated clip"):
        convert(Conversion("k400", str(tmp_path / "out"), origin=str(tmp_path), split="train"), Silent())
    assert not list((tmp_path / "out").rglob("*.json"))
