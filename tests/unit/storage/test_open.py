"""Paths in stores, as a person names them."""

import os
from pathlib import Path

import pytest

from kconvert.errors import UsageError, disk_error
from kconvert.storage.objects import object_path
from kconvert.storage.open import to_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data", str(Path.cwd() / "data")),
        ("/x", "/x"),
        ("~/x", os.path.expanduser("~/x")),
        ("file:///x/y", "/x/y"),
        ("s3://b/k/", "s3://b/k"),
        ("s3://b", "s3://b"),
        ("s3://b/k//l", "s3://b/k//l"),
    ],
)
def test_a_path_is_what_a_person_means(text: str, expected: str) -> None:
    path = to_path(text)
    assert str(path) == expected
    assert str(path / "below/x") == f"{expected}/below/x"
    assert (path / "below").parent == path
    assert (path / "below/x").relative_to(path).as_posix() == "below/x"


@pytest.mark.parametrize("text", ["https://b/k", "s3://", "s3://key:secret@bucket/x"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        to_path(text)
    assert "secret" not in str(raised.value)


def test_a_store_that_is_not_there_is_told_with_the_next_step() -> None:
    # Of all protocols the one whose client gives up at once.
    with pytest.raises(OSError, match="refused") as raised:
        object_path("ftp://127.0.0.1:9/x").read_bytes()
    assert raised.value.filename == "ftp://127.0.0.1:9/x"
    assert "the store, or the way to it, fails: check both" in str(disk_error(raised.value))
