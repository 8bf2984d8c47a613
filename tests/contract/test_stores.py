"""What every store promises, on each of them: this machine's folders, fsspec's memory, and four servers."""

import hashlib
import pickle
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from slow_road import Road, slow_road
from stores import SERVERS, race_for

from kconvert.storage.open import to_path
from kconvert.storage.store import Range, StorePath

pytestmark = pytest.mark.server
LARGE = random.Random(5).randbytes(80 << 20)
"""More than two parts of a multipart upload."""


@dataclass(frozen=True)
class Place:
    url: str
    road: Road
    """That requests come by; no request does to a store that is no server."""


@pytest.fixture(scope="module", params=["folder", "memory", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "folder":
        yield Place(str(folder), Road(""))
    elif request.param == "memory":
        yield Place(f"memory://{uuid.uuid4().hex}/data", Road(""))
    else:
        with (
            SERVERS[request.param](folder) as found,
            slow_road(found.server) as road,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in replace(found, server=road.url).environment.items():
                patch.setenv(name, value)
            yield Place(found.url, road)


@pytest.fixture
def root(place: Place) -> StorePath:
    """A folder of this test alone, which is there where folders can be."""
    path = to_path(place.url) / uuid.uuid4().hex
    path.make_folder()
    return path


def test_a_file_appears_whole_or_not_at_all(root: StorePath) -> None:
    with (root / "a").write_whole() as file:
        file.write(b"one")
        assert not (root / "a").exists()
        file.write(memoryview(b"two"))
    assert (root / "a").read_bytes() == b"onetwo"
    assert (file.size_bytes, file.sha256) == (6, hashlib.sha256(b"onetwo").hexdigest())
    assert (root / "a").sha256() == file.sha256
    with pytest.raises(ZeroDivisionError), (root / "b").write_whole() as file:
        file.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), (root / "a").write_whole_undigested() as counted:
        counted.write(b"another")
        raise ZeroDivisionError
    assert (root / "a").read_bytes() == b"onetwo"
    assert root.children() == {"a"}


# gcsfs sends what it has in memory.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_a_large_file_comes_back_as_it_was_written(root: StorePath) -> None:
    with (root / "large").write_whole() as file:
        for start in range(0, len(LARGE), 3_000_000):
            file.write(LARGE[start : start + 3_000_000])
    assert (root / "large").size_bytes() == len(LARGE)
    assert (root / "large").sha256() == hashlib.sha256(LARGE).hexdigest()
    with (root / "large").open_to_read() as read:
        assert read.read(10) == LARGE[:10]


def test_a_small_file_is_replaced_whole(root: StorePath) -> None:
    for data in (b"first", b"second, which is longer", b""):
        (root / "note").write_bytes(data)
        assert (root / "note").read_bytes() == data
        assert (root / "note").size_bytes() == len(data)


def test_ranges_come_in_the_order_that_was_asked_for(root: StorePath) -> None:
    (root / "a").write_bytes(b"0123456789")
    (root / "deep").make_folder()
    (root / "deep" / "b").write_bytes(b"abcdef")
    ranges = [Range((root / "deep" / "b").key, 2, 4), Range((root / "a").key, 0, 3), Range((root / "a").key, 9, 10)]
    assert list(root.store.read_ranges(ranges)) == [b"cd", b"012", b"9"]
    assert list(root.store.read_ranges([])) == []
    # Fewer only where the file ends before.
    assert (root / "a").read_range(8, 20) == b"89"


def test_what_is_there_is_listed_and_nothing_else(root: StorePath) -> None:
    for name in ("train/x.tar", "train/deep/y z.tar", "training/w", "z.json"):
        (root / name).parent.make_folder()
        (root / name).write_bytes(name.encode())
    found = [path.relative_to(root).as_posix() for path, kind in root.walk() if kind == "file"]
    assert found == ["train/deep/y z.tar", "train/x.tar", "training/w", "z.json"]
    assert root.children() == {"train", "training", "z.json"}
    assert (root / "train").children() == {"x.tar", "deep"}
    assert (root / "train").is_dir()
    assert not (root / "train").is_file()
    assert (root / "train/x.tar").is_file()
    assert not (root / "train/x.tar").is_dir()
    absent = root / "tra"
    assert (absent.is_dir(), absent.is_file(), absent.exists(), absent.children()) == (False, False, False, set())
    assert list(absent.walk()) == []
    (root / "train").remove_tree()
    assert [path.name for path, kind in root.walk() if kind == "file"] == ["w", "z.json"]
    (root / "train").remove_tree()


def test_what_is_not_there_is_named(root: StorePath) -> None:
    path = root / "absent"
    assert path.size_bytes() is None
    path.remove()
    with pytest.raises(FileNotFoundError) as raised:
        path.read_bytes()
    assert raised.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as raised:
        path.read_range(0, 5)
    assert raised.value.filename == str(path)


def test_another_version_has_another_name(root: StorePath) -> None:
    (root / "a").write_bytes(b"one")
    first = (root / "a").info()
    assert first == (root / "a").info()
    # Some count in seconds, and name no version but the time.
    time.sleep(1.1)
    (root / "a").write_bytes(b"two")
    assert (root / "a").info().version != first.version


def test_a_path_is_sent_to_other_processes(root: StorePath) -> None:
    assert pickle.loads(pickle.dumps(root / "a")) == root / "a"
    assert to_path(str(root)) == root
    assert (root / "a").relative_to(root).as_posix() == "a"
    assert (root / "a" / "b.tar").parent == root / "a"
    assert (root / "b.tar").name == "b.tar"
    with pytest.raises(ValueError, match="is not below"):
        root.relative_to(root / "a")


def test_trying_to_write_leaves_nothing(root: StorePath) -> None:
    root.try_writing()
    assert root.children() == set()


def test_what_is_half_written_is_removed_and_nothing_else(root: StorePath) -> None:
    (root / "whole").write_bytes(b"1")
    if "memory" in str(root) or root.local_path is not None:
        (root / "half.kconvert-tmp").write_bytes(b"2")
    notes = root.remove_temporaries(is_deep=True)
    assert root.children() == {"whole"}
    # Who cannot list them says so, and that is all.
    assert all("ListMultipartUploads" in note for note in notes)


def test_a_lock_has_one_holder_and_is_given_back(root: StorePath) -> None:
    path = root / "lock"
    assert not path.is_locked()
    with path.lock() as is_ours:
        assert is_ours
        assert path.is_locked()
        with path.lock() as is_theirs:
            assert not is_theirs
    assert not path.is_locked()


def test_the_lock_of_a_process_that_was_killed_is_free(root: StorePath) -> None:
    if "memory://" in str(root):
        # Which no other process has.
        return
    code = (
        "import os, signal, sys; from kconvert.storage.open import to_path\n"
        "with to_path(sys.argv[1]).lock() as is_ours: assert is_ours; os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(root / "lock")], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    with (root / "lock").lock() as is_ours:
        assert is_ours


def test_of_two_that_find_a_dead_lock_at_once_exactly_one_has_it(root: StorePath, place: Place) -> None:
    """Fifty rounds, all of them at the same time, with requests that come up to a second late."""
    place.road.max_delay_seconds = 1.0
    try:
        assert race_for([root / f"{number}" for number in range(50)]) == [[False, True]] * 50
    finally:
        place.road.max_delay_seconds = 0.0
