"""WebDataset: shards are plain tars, a sample three adjacent members `KEY.cls`, `KEY.json` and `KEY.mp4`.

The conventions of the readers (webdataset, Hugging Face datasets, Megatron-Energon, Ray Data, DALI) that this obeys:
no dot and no leading `.` or `__` in keys, the same members in every sample, ASCII names under 100 bytes, ustar headers
without PAX records, integer `mtime`.
"""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, cast

from kconvert.files import DigestedReader, DigestingFile
from kconvert.formats import Sample, StoredSample

_BLOCK_BYTES = 512
_RECORD_BYTES = 10240
_MAX_JSON_BYTES = 2 * _BLOCK_BYTES
_MODE = 0o444
_EXTENSIONS = ("cls", "json", "mp4")
_COPY_BYTES = 1 << 30
"""More than any member has, so that each is written, and digested, in one go."""
_READ_BYTES = 1 << 18


class WebDataset:
    """Writes and reads tars that `webdataset` reads."""

    def shard_path(self, release: str, split: str, number: int) -> str:
        return f"{split}/{release}-{split}-{number:06d}.tar"

    def max_sample_bytes(self, video_bytes: int) -> int:
        return 4 * _BLOCK_BYTES + _MAX_JSON_BYTES + _padded(video_bytes)

    @property
    def overhead_bytes(self) -> int:
        return _RECORD_BYTES

    def write(self, file: DigestingFile, samples: Iterable[Sample]) -> tuple[int, ...]:
        offsets = []
        with tarfile.TarFile(
            fileobj=cast(BinaryIO, file), mode="w", format=tarfile.USTAR_FORMAT, copybufsize=_COPY_BYTES
        ) as tar:
            for sample in samples:
                for extension, content in _members(sample).items():
                    member = tarfile.TarInfo(f"{sample.key}.{extension}")
                    member.size, member.mode = len(content), _MODE
                    tar.addfile(member, io.BytesIO(content))
                offsets.append(tar.offset - _padded(len(sample.video)))
                # Else it remembers all of them.
                tar.members.clear()  # type: ignore[attr-defined]
        return tuple(offsets)

    def read(self, file: DigestedReader) -> Iterator[StoredSample]:
        try:
            with tarfile.open(fileobj=file, mode="r|", bufsize=_READ_BYTES) as archive:
                members = _members_of(archive)
                for first in members:
                    yield _stored([first, *itertools.islice(members, len(_EXTENSIONS) - 1)])
                end = archive.offset
        except tarfile.TarError as error:
            raise ValueError(f"not a tar ({error})") from error
        _check_end(file, end)


def _members(sample: Sample) -> dict[str, bytes]:
    text = json.dumps(sample.metadata, ensure_ascii=True, separators=(",", ":")).encode()
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"{sample.key}: metadata of {len(text)} bytes, expected at most {_MAX_JSON_BYTES}")
    return dict(zip(_EXTENSIONS, (str(sample.label_id).encode(), text, sample.video), strict=True))


def _members_of(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for member in archive:
        if (member.mtime, member.uid, member.gid, member.mode, member.type) != (0, 0, 0, _MODE, tarfile.REGTYPE):
            raise ValueError(f"member {member.name} has another time, owner, mode or type than is written")
        file = archive.extractfile(member)
        assert file is not None
        content = file.read(member.size)
        if len(content) != member.size:
            raise ValueError(f"ends inside member {member.name}")
        yield member, content
        # Else it remembers all of them.
        archive.members.clear()  # type: ignore[attr-defined]


def _stored(members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> StoredSample:
    found = [member.name for member, _ in members]
    key = found[0].rpartition(".")[0]
    expected = [f"{key}.{extension}" for extension in _EXTENSIONS]
    if found != expected:
        raise ValueError(f"members {', '.join(found)}, expected {', '.join(expected)}")
    label, text, video = (content for _, content in members)
    return StoredSample(Sample(key, int(label), json.loads(text), video), members[-1][0].offset_data)


def _check_end(file: DigestedReader, end: int) -> None:
    """A tar that was cut between two members reads without an error, so the end is looked at."""
    rest = file.peek_from(end, 2 * _RECORD_BYTES)
    size = end + len(rest)
    if len(rest) < 2 * _BLOCK_BYTES or rest.strip(b"\0") or size % _RECORD_BYTES or len(rest) > 2 * _RECORD_BYTES - 1:
        raise ValueError(f"does not end with the end blocks of a tar after byte {end:,}")


def _padded(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
