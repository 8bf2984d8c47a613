import shutil
from pathlib import Path

import pytest
from harness import QUICK, RELEASES
from hypothesis import given
from hypothesis import strategies as st
from miniature.server import serving

from kconvert.catalog.release import OFFICIAL_BASE
from kconvert.catalog.shelf import load_release
from kconvert.errors import OriginError, UsageError
from kconvert.sources.access import ArchiveRef
from kconvert.sources.origins.official import parse_path_list
from kconvert.sources.origins.open import open_origin
from kconvert.sources.origins.origin import Origin


def names(origin: Origin, release: str, split: str) -> list[str]:
    return [ref.name for ref in origin.listing(load_release(release).splits[split], dict).bundles]


def locations(origin: Origin, release: str, split: str) -> list[str]:
    bundles = origin.listing(load_release(release).splits[split], dict).bundles
    return [bundle.location for bundle in bundles if isinstance(bundle, ArchiveRef)]


def script_folders(mini: Path, folder: Path, release: str, underscores: bool = False) -> Path:
    """What the official shell scripts would leave of the miniature."""
    info = load_release(release)
    for split in ("train", "val", "test"):
        for path in sorted((mini / info.root / split).glob("*.tar.gz")):
            name = path.name.replace(" ", "_") if underscores else path.name
            target = folder / f"{release}_targz" / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    shutil.copytree(mini / info.root / "annotations", folder / release / "annotations")
    if release == "k400":
        (folder / "k400_targz/replacement").mkdir()
        better = mini / "400/replacement_for_corrupted_k400.tgz"
        shutil.copy(better, folder / "k400_targz/replacement")
    return folder


@pytest.mark.parametrize("release", RELEASES)
def test_all_kinds_of_origin_name_the_same_archives(mini: Path, tmp_path: Path, release: str) -> None:
    scripts = script_folders(mini, tmp_path, release)
    with serving(mini) as http:
        for split in ("train", "val", "test"):
            origins = [
                open_origin(where, load_release(release), QUICK) for where in (http.url, str(mini), str(scripts))
            ]
            found = [names(origin, release, split) for origin in origins]
            assert found[0] == found[1]
            assert sorted(found[0]) == sorted(found[2])
            info = load_release(release).splits[split]
            assert len({origin.annotations(info) for origin in origins}) == 1
            assert all((origin.replacement(info) is None) == (info.replacement is None) for origin in origins)


def test_the_official_path_lists_are_read(shared_data: Path) -> None:
    data = (shared_data / "pathlists" / "k700_2020_train_path.txt").read_bytes()
    found = parse_path_list(data, "list", OFFICIAL_BASE, "700_2020/train/k700_2020_train_path.txt")
    assert len(found) == 700
    assert found[170] == "700_2020/train/k700_train_171.tar.gz"
    data = (shared_data / "pathlists" / "filtered_k600_train_path.txt").read_bytes()
    found = parse_path_list(data, "list", OFFICIAL_BASE, "600/train/k600_train_path.txt")
    assert "600/train/massaging person's head.tar.gz" in found


def test_names_with_spaces_parentheses_and_apostrophes_are_encoded(mini: Path) -> None:
    with serving(mini) as http:
        origin = open_origin(http.url, load_release("k600"), QUICK)
        found = locations(origin, "k600", "train")
    assert found[0] == f"{http.url}600/train/massaging%20person%27s%20head.tar.gz"


def test_k600_archives_are_found_under_underscores_too(mini: Path, tmp_path: Path) -> None:
    scripts = script_folders(mini, tmp_path, "k600", underscores=True)
    origin = open_origin(str(scripts), load_release("k600"), QUICK)
    info = load_release("k600").splits["train"]
    refs = dict(zip(names(origin, "k600", "train"), locations(origin, "k600", "train"), strict=True))
    assert refs["600/train/massaging person's head.tar.gz"].endswith("/massaging_person's_head.tar.gz")
    [again] = origin.relisted(info, ["600/train/abseiling.tar.gz"], b"").bundles
    assert isinstance(again, ArchiveRef)
    assert again.location.endswith("/abseiling.tar.gz")


def test_the_archives_of_a_folder_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 0, 100):
        path = tmp_path / f"k400_targz/train/part_{number}.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    origin = open_origin(str(tmp_path), load_release("k400"), QUICK)
    assert names(origin, "k400", "train") == [f"400/train/part_{number}.tar.gz" for number in (0, 9, 10, 100)]


def test_a_folder_that_is_no_origin_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(OriginError, match=r"400/.*k400_targz/.*k400/{split}.*no file at all"):
        open_origin(str(tmp_path), load_release("k400"), QUICK)
    with pytest.raises(OriginError, match="no such folder"):
        open_origin(str(tmp_path / "absent"), load_release("k400"), QUICK)
    with pytest.raises(UsageError, match="unknown kind of store"):
        open_origin("xyz://x/y", load_release("k400"), QUICK)


def test_the_csv_of_k600_is_taken_only_where_the_txt_is_absent(mini: Path, tmp_path: Path) -> None:
    shutil.copytree(mini / "600", tmp_path / "600")
    info = load_release("k600").splits["val"]
    origin = open_origin(str(tmp_path), load_release("k600"), QUICK)
    assert origin.annotations(info)[0].form == "listing"
    (tmp_path / "600/annotations/val.txt").unlink()
    assert origin.annotations(info)[0].form == "csv"
    (tmp_path / "600/annotations/val.csv").unlink()
    with pytest.raises(OriginError, match=r"val\.txt.*val\.csv"):
        origin.annotations(info)


def test_a_server_that_is_not_there_is_an_origin_error() -> None:
    origin = open_origin("http://127.0.0.1:9/", load_release("k400"), QUICK)
    with pytest.raises(OriginError, match="[Rr]efused"):
        origin.listing(load_release("k400").splits["train"], dict)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "<html>\n",
        "https://elsewhere.example/train/part_0.tar.gz\n",
        "https://elsewhere.example/part_0.tar.gz\n",
        "val/part_0.tar.gz\n",
        "600/train/part_0.tar.gz\n",
        "https://s3.amazonaws.com/kinetics/400/val/part_0.tar.gz\n",
        "https://s3.amazonaws.com/kinetics/400/train/../../x.tar.gz\n",
        "https://s3.amazonaws.com/kinetics/400/train/%2e%2e/x.tar.gz\n",
        "https://s3.amazonaws.com/kinetics/400/train/readme.txt\n",
        "https://s3.amazonaws.com/kinetics/400/train/a\x1b[31m.tar.gz\n",
        "https://s3.amazonaws.com/kinetics/400/train/a.tar.gz\n" * 2,
        *(
            f"https://s3.amazonaws.com/kinetics/400/train/a.tar.gz{by}https://s3.amazonaws.com/kinetics/400/train/b.tar.gz\n"
            for by in (" ", ",", "\t", ";", "|", "")
        ),
        "a.tar.gz b.tar.gz\n",
    ],
)
def test_a_path_list_with_other_lines_is_refused(text: str) -> None:
    with pytest.raises(OriginError):
        parse_path_list(text.encode(), "list", OFFICIAL_BASE, "400/train/k400_train_path.txt")


@pytest.mark.parametrize(
    "line",
    [
        "https://kinetics.s3.amazonaws.com/400/train/part_0.tar.gz",
        "https://kinetics.s3.us-east-1.amazonaws.com/400/train/part_0.tar.gz",
        "http://storage.example/mirror/kinetics/400/train/part_0.tar.gz",
        "s3://kinetics/400/train/part_0.tar.gz",
        "400/train/part_0.tar.gz",
        "./400/train/part_0.tar.gz",
        "train/part_0.tar.gz",
        "part_0.tar.gz",
        "https://s3.amazonaws.com/kinetics/400/train/part_0.tar.gz?versionId=x&a=b",
        "# the first one\nhttps://s3.amazonaws.com/kinetics/400/train/part_0.tar.gz",
        "\ufeffhttps://s3.amazonaws.com/kinetics/400/train/part_0.tar.gz",
    ],
)
def test_a_path_list_may_be_of_any_host_or_relative(line: str) -> None:
    """As lists stand in mirrors and in people's folders; where the archive is was said by the origin."""
    found = parse_path_list(f"{line}\n".encode(), "list", "http://mirror/", "400/train/k400_train_path.txt")
    assert found == ("400/train/part_0.tar.gz",)


def test_a_path_list_may_name_the_mirror_itself_and_be_encoded_and_have_crlf() -> None:
    text = "http://mirror/600/train/hurling%20(sport).tar.gz\r\n"
    assert parse_path_list(text.encode(), "x", "http://mirror/", "600/train/l.txt") == (
        "600/train/hurling (sport).tar.gz",
    )


@given(st.binary(max_size=300))
def test_any_bytes_give_names_beside_the_list_or_an_origin_error(data: bytes) -> None:
    start = b"https://s3.amazonaws.com/kinetics/400/train/"
    for text in (data, start + data, start + data + b".tar.gz"):
        try:
            found = parse_path_list(text, "list", OFFICIAL_BASE, "400/train/k400_train_path.txt")
        except OriginError:
            continue
        assert all(name.startswith("400/train/") and name.count("/") == 2 and name.isprintable() for name in found)
