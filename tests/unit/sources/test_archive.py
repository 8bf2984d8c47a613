"""Archives, compared with what GNU tar and gzip write."""

import gzip
import io
import itertools
import random
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from kconvert.errors import ArchiveError
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_stream
from kconvert.sources.fetch.stream import ByteStream, Remote
from kconvert.sources.members import ReadSoFar

FILES = {"abseiling/a.mp4": b"a" * 1000, "abseiling/b.mp4": b"", "c.mp4": bytes(range(256)) * 40}


def make_tar(files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def read(data: bytes, tmp_path: Path) -> list[tuple[str, bool, bytes]]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    with open_stream(str(path), QUICK) as stream, ArchiveReader(stream, "the archive") as archive:
        return [(member.name, member.is_file, member.load() if member.is_file else b"") for member in archive]


def files_of(members: Sequence[tuple[str, bool, bytes]]) -> dict[str, bytes]:
    return {name: data for name, is_file, data in members if is_file}


def refused(data: bytes, tmp_path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        read(data, tmp_path)
    return str(caught.value)


@pytest.mark.parametrize("options", [["-z"], [], ["-z", "--format=pax"], ["-z", "--format=v7"], ["-z", "--format=gnu"]])
def test_what_gnu_tar_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    for name, data in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    subprocess.run(["tar", "c", *options, "-f", tmp_path / "x", "-C", tmp_path / "in", "."], check=True)
    members = read((tmp_path / "x").read_bytes(), tmp_path)
    assert files_of(members) == {f"./{name}": data for name, data in FILES.items()}
    assert [name for name, is_file, _ in members if not is_file]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tmp_path: Path, form: int) -> None:
    files = {"x" * 90 + "/" + "y" * 200 + ".mp4": b"1", "k" * 4000: b"2", "ä" * 80: b"3"}
    assert files_of(read(make_tar(files, form), tmp_path)) == files


def test_several_gzip_members_and_zeros_after_them_are_one_archive(tmp_path: Path) -> None:
    tar = make_tar(FILES)
    data = gzip.compress(tar[:700]) + gzip.compress(tar[700:]) + bytes(1000)
    assert files_of(read(data, tmp_path)) == FILES


def test_members_that_are_not_loaded_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(make_tar(FILES)))
    with open_stream(str(tmp_path / "x"), QUICK) as stream, ArchiveReader(stream, "x") as archive:
        assert [member.size_bytes for member in archive] == [1000, 0, 10240]


def test_links_and_devices_carry_no_bytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("x.mp4")
            info.type, info.linkname, info.size = kind, "/etc/passwd", 0
            tar.addfile(info)
    assert [is_file for _, is_file, _ in read(buffer.getvalue(), tmp_path)] == [False] * 4


def test_a_member_of_unbelievable_size_is_not_loaded_by_asking_for_its_name(tmp_path: Path) -> None:
    header = tarfile.TarInfo("bomb.mp4")
    header.size = 10**11
    (tmp_path / "x").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with open_stream(str(tmp_path / "x"), QUICK) as stream, ArchiveReader(stream, "x") as archive:
        members = iter(archive)
        assert next(members).size_bytes == 10**11
        with pytest.raises(ArchiveError, match="too early"):
            next(members)


def test_a_flipped_bit_anywhere_in_a_gzip_is_found(tmp_path: Path) -> None:
    data = gzip.compress(make_tar(FILES), mtime=0)
    harmless = []
    for place in range(len(data)):
        spoilt = bytearray(data)
        spoilt[place] ^= 0x10
        found = files_of_or_none(bytes(spoilt), tmp_path)
        assert found in (None, FILES), place
        if found:
            harmless.append(place)
    # Time, level and system in the gzip header, and the bits that pad the compressed data to a whole byte, say nothing.
    assert set(harmless) <= {4, 5, 6, 7, 8, 9, len(data) - 9}


def files_of_or_none(data: bytes, tmp_path: Path) -> dict[str, bytes] | None:
    try:
        return files_of(read(data, tmp_path))
    except ArchiveError:
        return None


@pytest.mark.parametrize("is_gzipped", [True, False])
def test_an_archive_cut_anywhere_is_found(tmp_path: Path, is_gzipped: bool) -> None:
    tar = make_tar(FILES)
    data = gzip.compress(tar) if is_gzipped else tar[: len(tar.rstrip(b"\0")) + 1024]
    for length in range(0, len(data), 1 if is_gzipped else 97):
        assert files_of_or_none(data[:length], tmp_path) is None, length
    assert files_of_or_none(data, tmp_path) == FILES


@pytest.mark.parametrize("num_end_blocks", [0, 1])
def test_a_tar_without_its_end_blocks_is_whole_where_a_gzip_around_it_is(tmp_path: Path, num_end_blocks: int) -> None:
    """Nothing can be missing: the gzip's checksum and length are right. A plain tar has neither."""
    tar = make_tar({"a.mp4": b"a" * 512})[: 1024 + 512 * num_end_blocks]
    # So takes it GNU tar, whose exit code says that it is whole.
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(tar))
    listed = subprocess.run(["tar", "tf", tmp_path / "x.tar.gz"], capture_output=True, text=True, check=True)
    assert listed.stdout == "a.mp4\n"
    with open_stream(str(tmp_path / "x.tar.gz"), QUICK) as stream, ArchiveReader(stream, "x") as archive:
        assert [(member.name, member.load()) for member in archive] == [("a.mp4", b"a" * 512)]
        assert len(archive.notes) == 1
        assert "its gzip is whole" in archive.notes[0]
    assert "end block" in refused(tar, tmp_path)


def test_a_hard_link_names_the_member_whose_bytes_it_shares(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"a" * 1000)
    (tmp_path / "in" / "b.mp4").hardlink_to(tmp_path / "in" / "a.mp4")
    (tmp_path / "in" / ("c" * 120 + ".mp4")).hardlink_to(tmp_path / "in" / "a.mp4")
    for form in ("gnu", "pax"):
        command: list[str | Path] = [
            "tar",
            "c",
            f"--format={form}",
            "--sort=name",
            "-f",
            tmp_path / "x",
            "-C",
            tmp_path / "in",
            ".",
        ]
        subprocess.run(command, check=True)
        with open_stream(str(tmp_path / "x"), QUICK) as stream, ArchiveReader(stream, "x") as archive:
            found = [(member.name[2:4], member.is_file, member.link) for member in archive]
        assert found == [("", False, ""), ("a.", True, ""), ("b.", False, "./a.mp4"), ("cc", False, "./a.mp4")]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_member_is_no_file_and_the_others_are(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    with open(tmp_path / "in" / "a.mp4", "wb") as file:
        # So many holes that the map needs further blocks.
        for number in range(100):
            file.seek(number * 200_000)
            file.write(b"x" * 5000)
    (tmp_path / "in" / "b.mp4").write_bytes(b"b" * 1000)
    command: list[str | Path] = [
        "tar",
        "c",
        "--sparse",
        f"--format={form}",
        "--sort=name",
        "-C",
        tmp_path / "in",
        "-f",
        tmp_path / "x",
        ".",
    ]
    subprocess.run(command, check=True)
    assert (tmp_path / "x").stat().st_size < 2_000_000
    found = [
        (name.rpartition("/")[2], is_file, len(data))
        for name, is_file, data in read((tmp_path / "x").read_bytes(), tmp_path)
    ]
    assert found[1:] == [("a.mp4", False, 0), ("b.mp4", True, 1000)]


def test_a_damaged_header_is_found_and_not_taken_for_the_end(tmp_path: Path) -> None:
    tar = bytearray(make_tar({"a.mp4": b"a" * 512, "b.mp4": b"b"}))
    tar[1024 + 10] ^= 1
    # Python's own reader takes this for a whole archive.
    assert tarfile.open(fileobj=io.BytesIO(bytes(tar))).getnames() == ["a.mp4"]
    assert "no tar header at byte 1,024" in refused(gzip.compress(bytes(tar)), tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b'<?xml version="1.0"?><Error/>', "expected a gzip or a tar"),
        (b"<html>" * 1000, "expected a gzip or a tar"),
        (bytes(100), "begins with zeros only"),
        (bytes(100_000), "begins with zeros only"),
        (b"x" * 5000, "expected a gzip or a tar"),
        (gzip.compress(b"", mtime=0), "it was cut"),
        (gzip.compress(b"hello", mtime=0), "it was cut"),
        (gzip.compress(make_tar(FILES), mtime=0) + b"garbage", "follows the end of the gzip"),
        (make_tar(FILES) + b"garbage", "something follows the end of the tar"),
    ],
    # Named by their place: both processes of a run have to collect the same names.
    ids=range(10),
)
def test_what_is_no_archive_is_refused_with_what_it_is(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(data, tmp_path)


@settings(max_examples=300)
@given(st.binary(max_size=3000), st.booleans(), st.integers(0, 4000), st.booleans())
def test_any_bytes_give_members_or_an_archive_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, is_gzipped: bool, place: int, is_spliced: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    tar = make_tar(FILES)
    data = tar[:place] + data + tar[place + len(data) :] if is_spliced else data
    files_of_or_none(gzip.compress(data) if is_gzipped else data, tmp_path)


class Pieces(ByteStream):
    """Bytes that come in pieces of some sizes, over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._data = memoryview(data)
        self._sizes = itertools.cycle(sizes)

    @property
    def remote(self) -> Remote:
        return Remote(len(self._data), "")

    def read(self) -> memoryview:
        size = next(self._sizes)
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    def close(self) -> None:
        """Holds nothing."""


def read_damaged(data: bytes, sizes: Sequence[int]) -> tuple[list[tuple[str, bytes]], str, ReadSoFar]:
    """What is read before the damage, what is wrong, and where."""
    found: list[tuple[str, bytes]] = []
    with ArchiveReader(Pieces(data, sizes), "x") as archive:
        try:
            found.extend((member.name, member.load()) for member in archive)
        except ArchiveError as error:
            return found, error.problem, archive.read_so_far
        return found, "", archive.read_so_far


RANDOM = random.Random(1)
BIG = gzip.compress(make_tar({f"{number}.mp4": RANDOM.randbytes(300_000) for number in range(10)}), mtime=0)


@settings(max_examples=40)
@given(
    st.integers(20, len(BIG) - 1),
    st.sampled_from(["cut", "flipped"]),
    st.lists(st.integers(1000, 1 << 20), min_size=1, max_size=4),
)
def test_where_an_archive_is_damaged_does_not_depend_on_how_its_bytes_come(
    place: int, damage: str, sizes: list[int]
) -> None:
    hurt = BIG[:place] if damage == "cut" else BIG[:place] + bytes([BIG[place] ^ 4]) + BIG[place + 1 :]
    found, problem, where = read_damaged(hurt, sizes)
    assert (found, problem, where) == read_damaged(hurt, [len(hurt)])
    if damage == "cut":
        # What zlib has before the cut is what may be read, but for the last half a megabyte.
        plain = zlib.decompressobj(31).decompress(hurt)
        whole = [name for name, _ in found]
        assert len(whole) >= (len(plain) - 600_000) // 300_800
        assert all(data in plain for _, data in found)
    else:
        assert problem
