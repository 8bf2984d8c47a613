"""Places in any store of fsspec, by its store in memory."""

import uuid
from pathlib import Path

import pytest

from kconvert.errors import UsageError
from kconvert.storage.files import sha256_of, size_of, to_path, write_bytes, write_whole, write_whole_undigested
from kconvert.storage.objects import ObjectPath


@pytest.fixture
def root() -> ObjectPath:
    return ObjectPath(f"memory://{uuid.uuid4().hex}/k400")


def test_an_object_appears_whole_or_not_at_all(root: ObjectPath) -> None:
    with write_whole(root / "a") as file:
        file.write(b"one")
        assert not (root / "a").exists()
    assert (root / "a").read_bytes() == b"one"
    assert file.sha256 == sha256_of(root / "a")
    with pytest.raises(ZeroDivisionError), write_whole(root / "b") as file:
        file.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), write_whole_undigested(root / "a") as counted:
        counted.write(b"another")
        raise ZeroDivisionError
    assert not (root / "b").exists()
    assert (root / "a").read_bytes() == b"one"


def test_it_looks_like_a_path(root: ObjectPath) -> None:
    for name in ("train/x.tar", "train/deep/y.tar", "z.json"):
        write_bytes(root / name, name.encode())
    assert sorted(map(str, root.rglob("*.tar"))) == [f"{root}/train/deep/y.tar", f"{root}/train/x.tar"]
    assert list((root / "train").glob("*.tar")) == [root / "train/x.tar"]
    path = root / "train" / "x.tar"
    assert (path.name, path.stem, path.parent, path.with_name("q")) == ("x.tar", "x", root / "train", root / "train/q")
    assert path.relative_to(root).as_posix() == "train/x.tar"
    assert path.is_relative_to(root)
    assert not root.is_relative_to(Path("/"))
    assert (root / "train").is_dir()
    assert not (root / "train").is_file()
    assert path.read_range(2, 5) == b"ain"
    assert (path.read_ranges([(path, 0, 2), (root / "z.json", 2, 4)])) == [b"tr", b"js"]
    assert (size_of(path), size_of(root / "train"), size_of(root / "absent")) == (11, None, None)
    path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError) as raised:
        path.read_bytes()
    assert raised.value.filename == str(path)
    root.remove_tree()
    assert not root.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data", Path.cwd() / "data"),
        ("/x", Path("/x")),
        ("file:///x/y", Path("/x/y")),
        ("s3://b/k/", ObjectPath("s3://b/k")),
    ],
)
def test_a_place_is_what_a_person_means(text: str, expected: object) -> None:
    assert to_path(text) == expected


@pytest.mark.parametrize("text", ["https://b/k", "s3://", "s3://key:secret@bucket/x"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        to_path(text)
    assert "secret" not in str(raised.value)
