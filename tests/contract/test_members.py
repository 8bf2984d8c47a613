"""The promises of all sources of members, each made by the tool that makes it."""

import gzip
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from harness import QUICK

from kconvert.errors import ArchiveError
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_stream
from kconvert.sources.members import Member, Members

FILES = {
    "abseiling/a.mp4": b"a" * 1000,
    "abseiling/b.mp4": b"",
    "c d.mp4": random.Random(5).randbytes(700_000),
    "é.txt": b"x",
}


def tar(folder: Path, path: Path, *options: str) -> None:
    subprocess.run(["tar", "c", *options, "-f", path, "-C", folder, "--sort=name", "."], check=True)


def several_gzips(folder: Path, path: Path) -> None:
    tar(folder, path)
    plain = path.read_bytes()
    path.write_bytes(gzip.compress(plain[:700]) + gzip.compress(plain[700:]))


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "tar": tar,
    "tar.gz": lambda folder, path: tar(folder, path, "-z"),
    "several gzips": several_gzips,
    "pax": lambda folder, path: tar(folder, path, "-z", "--format=pax"),
}


@pytest.fixture(params=sorted(WAYS))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "link.mp4").symlink_to("c d.mp4")
    WAYS[request.param](tmp_path / "in", tmp_path / "x")
    return tmp_path / "x"


@contextmanager
def opened(path: Path) -> Iterator[Members]:
    with open_stream(str(path), QUICK) as stream, ArchiveReader(stream, "the source") as members:
        yield members


def test_each_member_comes_once_in_order_with_its_bytes(archive: Path) -> None:
    with opened(archive) as members:
        found = [(one.name, one.is_file, one.size_bytes, one.load() if one.is_file else b"") for one in members]
    listed = subprocess.run(["tar", "tf", archive, "--quoting-style=literal"], capture_output=True, check=True).stdout
    # Python's headers have folders without the `/` at their end.
    assert [name.rstrip("/") for name, *_ in found] == [name.rstrip("/") for name in listed.decode().splitlines()]
    assert {name: data for name, is_file, _, data in found if is_file} == {f"./{name}": d for name, d in FILES.items()}
    assert all(size == len(data) for _, is_file, size, data in found if is_file)
    assert [name for name, is_file, *_ in found if not is_file and name.endswith("link.mp4")] == ["./link.mp4"]


def test_what_is_not_loaded_is_passed_over(archive: Path) -> None:
    with opened(archive) as members:
        assert {one.name: one.size_bytes for one in members if one.is_file} == {
            f"./{name}": len(data) for name, data in FILES.items()
        }


def test_bytes_that_have_gone_by_are_refused_and_not_taken_for_others(archive: Path) -> None:
    with opened(archive) as members:
        found: list[Member] = []
        for one in members:
            if one.is_file and one.size_bytes:
                if found:
                    with pytest.raises(RuntimeError, match="have gone by"):
                        found[-1].load()
                assert one.load() == FILES[one.name.removeprefix("./")]
                with pytest.raises(RuntimeError, match="have gone by"):
                    one.load()
                found.append(one)
        assert len(found) == 3


def test_a_source_that_was_cut_anywhere_is_damaged(archive: Path) -> None:
    whole = archive.read_bytes()
    # A tar may be followed by zeros, as many as anybody likes.
    end = len(whole.rstrip(b"\0"))
    for num_bytes in range(0, end, max(1, end // 60)):
        archive.write_bytes(whole[:num_bytes])
        with pytest.raises(ArchiveError), opened(archive) as members:
            for one in members:
                one.load()


def test_it_closes_what_it_reads_from(archive: Path) -> None:
    def is_open() -> bool:
        return str(archive) in {file.path for file in psutil.Process().open_files()}

    with ArchiveReader(open_stream(str(archive), QUICK), "the source") as members:
        next(iter(members))
        assert is_open()
    assert not is_open()
