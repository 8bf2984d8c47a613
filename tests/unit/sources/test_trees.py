import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import QUICK
from hypothesis import given
from hypothesis import strategies as st

from kconvert.catalog.shelf import load_release
from kconvert.errors import FetchError
from kconvert.sources.access import Streamed
from kconvert.sources.trees.disk import DiskTree
from kconvert.sources.trees.file_group import MAX_BYTES, MAX_FILES, FileGroup, groups
from kconvert.sources.trees.tree import Tree, TreeFile
from kconvert.sources.trees.zip import ZipTree

NAMES = load_release("k400").names

FILES = {"train/a b/AAAAAAAAAAA.mp4": b"a" * 1000, "train/é/x.webm": b"", "train/._x.mp4": b"?", "val/y.txt": b"y"}


def zipped(folder: Path) -> Tree:
    path = folder.parent / "x.zip"
    path.unlink(missing_ok=True)
    subprocess.run(["zip", "-qr", path, "."], cwd=folder, check=True)
    return ZipTree(str(path), QUICK)


TREES: dict[str, Callable[[Path], Tree]] = {"disk": lambda folder: DiskTree(str(folder)), "zip": zipped}


@pytest.fixture(params=sorted(TREES))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    return TREES[request.param](tmp_path / "in")


def is_wanted(name: str) -> bool:
    return not name.endswith(".txt")


def group(tree: Tree) -> FileGroup:
    [found] = groups("train", tree, tree.listing("", is_wanted).files, NAMES)
    return found


def test_it_lists_what_find_lists(tree: Tree, tmp_path: Path) -> None:
    found = tree.listing("", is_wanted)
    listed = subprocess.run(["find", ".", "-type", "f"], cwd=tmp_path / "in", capture_output=True, check=True).stdout
    names = {name.removeprefix("./") for name in listed.decode().splitlines()}
    assert [file.path for file in found.files] == sorted(name for name in names if is_wanted(name))
    assert set(found.others) == {name for name in names if not is_wanted(name)}
    assert tree.folders("") == {"train", "val"}
    assert tree.folders("train") == {"a b", "é"}
    assert tree.folders("nowhere") == set()
    assert not tree.listing("nowhere", is_wanted).files


def test_its_files_are_members_that_can_be_loaded_once(tree: Tree) -> None:
    sizes: list[int] = []
    with group(tree).open(Streamed(), QUICK, sizes.append) as members:
        before = None
        found = {}
        for one in members:
            if before is not None:
                with pytest.raises(RuntimeError, match="have gone by"):
                    before.load()
            found[one.name] = one.load()
            with pytest.raises(RuntimeError, match="have gone by"):
                one.load()
            assert one.size_bytes == len(found[one.name])
            before = one
        assert members.read_so_far.num_members == len(found)
        assert members.remote.size_bytes == sum(sizes)
    assert found == {name: data for name, data in FILES.items() if is_wanted(name)}


def test_a_file_that_was_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "AAAAAAAAAAA.mp4").write_bytes(b"before")
    listed = group(DiskTree(str(tmp_path)))
    (tmp_path / "AAAAAAAAAAA.mp4").write_bytes(b"behind")
    os.utime(tmp_path / "AAAAAAAAAAA.mp4", (1, 1))
    with listed.open(Streamed(), QUICK, lambda num: None) as members, pytest.raises(FetchError, match="was changed"):
        next(iter(members)).load()
    (tmp_path / "AAAAAAAAAAA.mp4").unlink()
    with listed.open(Streamed(), QUICK, lambda num: None) as members, pytest.raises(FetchError, match="no such file"):
        next(iter(members)).load()
    assert listed.version != group_of(tmp_path, b"behind").version


def group_of(folder: Path, data: bytes) -> FileGroup:
    (folder / "AAAAAAAAAAA.mp4").write_bytes(data)
    return group(DiskTree(str(folder)))


@given(st.lists(st.sampled_from([0, 1, 1 << 20, MAX_BYTES // 2, MAX_BYTES, 2 * MAX_BYTES]), max_size=40), st.booleans())
def test_groups_are_all_files_in_their_order_and_of_bounded_size(sizes: list[int], are_many: bool) -> None:
    sizes = sizes * 60 if are_many else sizes
    files = [TreeFile(f"{number:06d}.mp4", size, "") for number, size in enumerate(sizes)]
    found = groups("train", DiskTree("/"), files, NAMES)
    assert [file for one in found for file in one.files] == files
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert 1 <= len(one.files) <= MAX_FILES
        assert len(one.files) == 1 or sum(file.size_bytes for file in one.files) <= MAX_BYTES


def test_names_without_times_are_joined_by_the_id() -> None:
    files = (TreeFile("val_256/zumba/AAAAAAAAAAA.webm", 1, ""), TreeFile("val_256/zumba/BBBBBBBBBBB.mp4", 1, ""))
    one = FileGroup("val-000000.files", DiskTree("/"), files, NAMES).named(
        lambda: {"AAAAAAAAAAA": "AAAAAAAAAAA_000001_000011"}
    )
    assert one.clip_name("val_256/zumba/AAAAAAAAAAA.webm") == "AAAAAAAAAAA_000001_000011"
    assert one.clip_name("val_256/zumba/BBBBBBBBBBB.mp4") == "BBBBBBBBBBB"
    assert one.num_unjoined == 1
    with pytest.raises(ValueError, match="expected YOUTUBEID11"):
        one.clip_name("val_256/zumba/short.mp4")
