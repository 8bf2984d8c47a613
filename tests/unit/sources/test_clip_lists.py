"""Which lists a word means, and where they are had from."""

from pathlib import Path

import pytest

from kconvert.catalog.annotation import AnnotationText, parse_annotations
from kconvert.catalog.release import AnnotationFile
from kconvert.catalog.shelf import load_release
from kconvert.errors import OriginError, UsageError
from kconvert.sources.clip_lists import ListName, ListSource, parse_list_names, read_clip_list
from kconvert.sources.fetch.stream import FetchOptions

QUICK = FetchOptions(max_retries=0)


def source(origin: Path | str, official: Path | str = "/absent") -> ListSource:
    return ListSource(str(origin), QUICK, official=str(official))


def test_a_word_means_lists() -> None:
    assert parse_list_names("--x", "k400:val") == [ListName("k400:val", "k400", "val")]
    assert parse_list_names("--x", "k400:validation") == [ListName("k400:val", "k400", "val")]
    assert parse_list_names("--x", "k400:val=a=b.csv") == [ListName("k400:val", "k400", "val", "a=b.csv")]
    assert parse_list_names("--x", "ours=a.txt") == [ListName("ours", "", "", "a.txt")]
    assert [one.text for one in parse_list_names("--x", "k600")] == ["k600:train", "k600:val", "k600:test"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("k700:val", "did you mean k700-2020:val?"),
        ("kinetics-400:val", "did you mean k400:val?"),
        ("k400:dev", "'k400:dev': expected RELEASE:SPLIT"),
        ("k400:tets", "did you mean 'test'?"),
        ("k400:", "expected RELEASE:SPLIT"),
        (":val", "expected RELEASE:SPLIT"),
        ("=x.csv", "expected NAME=FILE"),
        ("k400:val=", "expected NAME=FILE"),
        ("x.csv", "or NAME=FILE"),
        ("a b=x.csv", "names are of letters, digits and"),
        ("a\n# b=x.csv", "names are of letters, digits and"),
        ("a\udcff=x.csv", "names are of letters, digits and"),
    ],
)
def test_any_other_word_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=r"^--x: ") as error:
        parse_list_names("--x", word)
    assert said in str(error.value)


def names_in(path: Path, split: str, form: str) -> set[str]:
    text = AnnotationText(path.read_bytes(), AnnotationFile(str(path), form))  # type: ignore[arg-type]
    return set(parse_annotations(text, split, load_release("k600").label_ids, 0).labels)


def test_k600s_txt_and_csv_count_together(mini: Path, tmp_path: Path) -> None:
    folder = tmp_path / "600/annotations"
    folder.mkdir(parents=True)
    listing, rows = (mini / "600/annotations/val.txt").read_bytes(), (mini / "600/annotations/val.csv").read_bytes()
    (folder / "val.txt").write_bytes(listing)
    (folder / "val.csv").write_bytes(rows + b"zumba,only_in_csv,5,15,validate\n")
    found = read_clip_list("--x", ListName("k600:val", "k600", "val"), source(tmp_path))
    both = names_in(folder / "val.txt", "val", "listing") | {"only_in_csv_000005_000015"}
    assert {f"{one.youtube_id}_{one.start_seconds:06}_{one.end_seconds:06}" for one in found.clips} == both


def test_what_the_origin_does_not_have_is_the_official_servers(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "400/annotations").mkdir(parents=True)
    (tmp_path / "400/annotations/val.csv").write_text("youtube_id,time_start,time_end\naaaaaaaaaaa,1,11\n")
    for release, split, where in (("k400", "val", tmp_path), ("k400", "test", mini), ("k600", "val", mini)):
        name = ListName(f"{release}:{split}", release, split)
        found = read_clip_list("--x", name, source(tmp_path, mini))
        assert found.clips == read_clip_list("--x", name, source(where)).clips


def test_what_nobody_has_is_refused_with_what_was_tried(mini: Path, tmp_path: Path) -> None:
    with pytest.raises(OriginError) as error:
        read_clip_list("--x", ListName("k600:val", "k600", "val"), source(tmp_path, tmp_path / "no"))
    assert "looked for 600/" in str(error.value)
    assert f"{tmp_path / 'no'}: no such folder" in str(error.value)
    assert "give it as k600:val=FILE" in str(error.value)


def test_a_list_that_is_there_and_cannot_be_read_is_not_taken_from_elsewhere(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "400/annotations").mkdir(parents=True)
    (tmp_path / "400/annotations/val.csv").write_text("<html>\n")
    with pytest.raises(OriginError, match="youtube_id"):
        read_clip_list("--x", ListName("k400:val", "k400", "val"), source(tmp_path, mini))


def test_a_file_is_read_in_its_own_form(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("aaaaaaaaaaa\n")
    assert len(read_clip_list("--x", ListName("mine", "", "", str(tmp_path / "mine.txt")), source("")).clips) == 1
    with pytest.raises(OriginError, match=r"--x: .*absent.txt: No such file"):
        read_clip_list("--x", ListName("mine", "", "", str(tmp_path / "absent.txt")), source(""))
    (tmp_path / "bad.txt").write_text("?\n")
    with pytest.raises(OriginError, match=r"--x: .*bad.txt: 1 problem.*; correct these lines"):
        read_clip_list("--x", ListName("mine", "", "", str(tmp_path / "bad.txt")), source(""))
