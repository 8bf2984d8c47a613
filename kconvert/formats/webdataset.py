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
from dataclasses import dataclass
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
        members = _stored_members(file)
        for first in members:
            yield _stored([first, *itertools.islice(members, len(_EXTENSIONS) - 1)])


def _members(sample: Sample) -> dict[str, bytes]:
    text = json.dumps(sample.metadata, ensure_ascii=True, separators=(",", ":")).encode()
    if len(text) > _MAX_JSON_BYTES:
        raise ValueError(f"{sample.key}: metadata of {len(text)} bytes, expected at most {_MAX_JSON_BYTES}")
    return dict(zip(_EXTENSIONS, (str(sample.label_id).encode(), text, sample.video), strict=True))


@dataclass(frozen=True)
class _Member:
    name: str
    content: bytes
    offset_bytes: int
    """Where the content begins in the shard."""


def _stored_members(file: DigestedReader) -> Iterator[_Member]:
    """The members of a shard up to its end, which is checked: one that was cut between two would read without an
    error."""
    place = 0
    while True:
        block = file.read(_BLOCK_BYTES)
        try:
            header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            break
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise ValueError(f"not a tar: no header at byte {place:,} ({error})") from error
        if (header.mtime, header.uid, header.gid, header.mode, header.type) != (0, 0, 0, _MODE, tarfile.REGTYPE):
            raise ValueError(f"member {header.name} has another time, owner, mode or type than is written")
        if header.size < 0:
            raise ValueError(f"member {header.name} declares {header.size} bytes")
        padded_bytes = _padded(header.size)
        content, padding = file.read(header.size), file.read(padded_bytes - header.size)
        if len(content) + len(padding) != padded_bytes:
            raise ValueError(f"ends inside member {header.name}")
        if padding.strip(b"\0"):
            raise ValueError(f"something follows the content of member {header.name}")
        yield _Member(header.name, content, place + _BLOCK_BYTES)
        place += _BLOCK_BYTES + padded_bytes
    num_zeros = 2 * _BLOCK_BYTES + -(place + 2 * _BLOCK_BYTES) % _RECORD_BYTES
    # Nothing may follow.
    rest = block + file.read(num_zeros - _BLOCK_BYTES + 1)
    if len(rest) != num_zeros or rest.strip(b"\0"):
        raise ValueError(f"does not end with the end blocks of a tar after byte {place:,}")


def _stored(members: Sequence[_Member]) -> StoredSample:
    found = [member.name for member in members]
    key = found[0].rpartition(".")[0]
    expected = [f"{key}.{extension}" for extension in _EXTENSIONS]
    if found != expected:
        raise ValueError(f"members {', '.join(found)}, expected {', '.join(expected)}")
    label, text, video = members
    return StoredSample(Sample(key, int(label.content), json.loads(text.content), video.content), video.offset_bytes)


def _padded(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
