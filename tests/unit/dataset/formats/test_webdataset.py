import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from kconvert.dataset.formats.format import Sample, StoredSample
from kconvert.dataset.formats.webdataset import FORMAT as LAYOUT
from kconvert.dataset.formats.webdataset import write_tar
from kconvert.storage.digests import DigestingFile
from kconvert.storage.folders import local


def sample(number: int, video: bytes) -> Sample:
    key = f"train_abcdefghij{number}_000000_000010"
    return Sample(key, number, {"key": key, "label": "massaging person's head", "fps": 29.97}, video)


def write(samples: list[Sample]) -> tuple[bytes, tuple[int, ...]]:
    buffer = io.BytesIO()
    places = write_tar(DigestingFile(buffer), samples)
    return buffer.getvalue(), tuple(video.offset_bytes for *_, video in places)


def write_folder(out: Path, samples: list[Sample]) -> bytes:
    """Writes a shard with its index; returns the shard's bytes."""
    LAYOUT.write(local(out), "x.tar", samples)
    return (out / "x.tar").read_bytes()


def read(path: Path) -> list[StoredSample]:
    with local(path).digested() as file:
        found = list(LAYOUT.read(local(path.parent), path.name, file))
        assert file.finish() == hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=9))
def test_offsets_point_at_the_videos_and_sizes_stay_within_their_bounds(videos: list[bytes]) -> None:
    data, offsets = write([sample(number, video) for number, video in enumerate(videos)])
    assert [data[offset : offset + len(video)] for offset, video in zip(offsets, videos, strict=True)] == videos
    assert len(data) <= LAYOUT.overhead_bytes + sum(LAYOUT.max_sample_bytes(len(video)) for video in videos)


# webdataset leaves it to the garbage collector to close the file.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_what_is_written(tmp_path: Path) -> None:
    samples = [sample(number, bytes([number]) * 700) for number in range(5)]
    (tmp_path / "x.tar").write_bytes(write(samples)[0])
    found = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False))
    assert [entry["__key__"] for entry in found] == [entry.key for entry in samples]
    assert [int(entry["cls"]) for entry in found] == [entry.label_id for entry in samples]
    assert [json.loads(entry["json"]) for entry in found] == [entry.metadata for entry in samples]
    assert [entry["mp4"] for entry in found] == [entry.video for entry in samples]


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=9))
def test_the_bytes_are_those_of_webdatasets_own_writer(videos: list[bytes]) -> None:
    samples = [sample(number, video) for number, video in enumerate(videos)]
    buffer = io.BytesIO()
    with webdataset.TarWriter(buffer, user="", group="", mode=0o444, mtime=0, encoder=False) as writer:
        for entry in samples:
            text = json.dumps(entry.metadata, separators=(",", ":")).encode()
            members = {"cls": f"{entry.label_id:06d}".encode(), "json": text, "mp4": entry.video}
            writer.write({"__key__": entry.key, **members})
    assert write(samples)[0] == buffer.getvalue()


def test_headers_are_plain_ustar_without_times_owners_or_pax_records(tmp_path: Path) -> None:
    data, _ = write([sample(0, b"x")])
    (tmp_path / "x.tar").write_bytes(data)
    with tarfile.open(tmp_path / "x.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o444)
            assert (member.uname, member.gname, member.pax_headers, member.type) == ("", "", {}, tarfile.REGTYPE)
    listed = subprocess.run(["tar", "tf", tmp_path / "x.tar"], capture_output=True, text=True, check=True).stdout
    assert [name.rpartition(".")[2] for name in listed.split()] == ["cls", "json", "mp4"]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    samples = [sample(number, bytes([number]) * number) for number in range(5)]
    _, offsets = write(samples)
    write_folder(tmp_path, samples)
    found = read(tmp_path / "x.tar")
    assert [stored.sample for stored in found] == samples
    assert tuple(stored.offset_bytes for stored in found) == offsets


@pytest.mark.parametrize("num_bytes", [0, 100, 512, 3 * 1024, 5 * 1024, 20479])
def test_a_cut_shard_is_refused(tmp_path: Path, num_bytes: int) -> None:
    data, _ = write([sample(number, b"x" * 1000) for number in range(5)])
    assert len(data) == 20480
    (tmp_path / "x.tar").write_bytes(data[:num_bytes])
    with pytest.raises(ValueError, match=r".+"):
        read(tmp_path / "x.tar")


def test_a_shard_without_one_of_its_members_is_refused(tmp_path: Path) -> None:
    data, offsets = write([sample(number, b"x" * 10) for number in range(2)])
    (tmp_path / "x.tar").write_bytes(data[: offsets[0] - 512] + data[offsets[0] + 512 :])
    with pytest.raises(ValueError, match="expected"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("more", [b"\0" * 10240, b"x", b"\0"])
def test_a_shard_with_something_after_its_end_is_refused(tmp_path: Path, more: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(write([sample(0, b"x")])[0] + more)
    with pytest.raises(ValueError, match="end blocks"):
        read(tmp_path / "x.tar")


def test_something_in_the_padding_is_refused(tmp_path: Path) -> None:
    data, offsets = write([sample(0, b"x" * 10)])
    (tmp_path / "x.tar").write_bytes(data[: offsets[0] + 20] + b"y" + data[offsets[0] + 21 :])
    with pytest.raises(ValueError, match="follows the content"):
        read(tmp_path / "x.tar")


@pytest.mark.parametrize("size", [-1, -512, 1 << 50])
def test_a_member_that_declares_an_impossible_size_is_refused(tmp_path: Path, size: int) -> None:
    member = tarfile.TarInfo("train_abcdefghij0_000000_000010.cls")
    member.size, member.mode = size, 0o444
    (tmp_path / "x.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(10240 - 512))
    with pytest.raises(ValueError, match=r"declares|inside"):
        read(tmp_path / "x.tar")
