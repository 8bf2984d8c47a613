"""Videos: the bytes of written clips, by ranged reads of the files that hold them, which must be those that were there
when their folder was opened: on a disk of ours by size and time, elsewhere by the digest of what is read, as looking
would be a request for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kconvert.storage.store import StorePath

_MAX_GAP_BYTES = 64 << 10
"""Between two videos that are read at once."""

Stamp = tuple[int, int]
"""Of a file on a disk of ours: its size, and when it was last changed."""


class ExchangedError(OSError):
    """A shard is not what it was when its folder was opened."""


@dataclass(frozen=True)
class Videos:
    """Those of a folder."""

    out: StorePath
    """The folder."""
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    """Of its shards, as far as they are known."""

    def read(self, row: Mapping[str, Any]) -> bytes:
        """The video of a row of the table. Raises `OSError` if it is cut, `ExchangedError` if its shard is another."""
        start, size = row["offset_bytes"], row["size_bytes"]
        video = self._range(row["shard"], start, start + size)
        if len(video) != size:
            raise OSError(
                f"{self.out / row['shard']}: ends after {len(video):,} of the {size:,} bytes of {row['key']}; "
                "`kconvert verify` says what else differs"
            )
        if not self._is_same(video, row["sha256"]):
            raise ExchangedError(
                f"{self.out / row['shard']}: the bytes of {row['key']} are not those that were written; if it was "
                "exchanged since the folder was opened, open it again; `kconvert verify` says what else differs"
            )
        return video

    def _is_same(self, data: bytes, sha256: str) -> bool:
        """Whether bytes are those of that digest, as far as the stamp of their file does not answer for them."""
        return self.out.local_path is not None or hashlib.sha256(data).hexdigest() == sha256

    def read_sound(self, row: Mapping[str, Any], file: str, offset_bytes: int) -> bytes:
        """The sound of a row of the table, which is in a file of that path. Raises as `read`, `OSError` and
        `ExchangedError`."""
        size = row["sound_size_bytes"]
        sound = self._range(file, offset_bytes, offset_bytes + size)
        if len(sound) != size:
            raise OSError(f"{self.out / file}: ends after {len(sound):,} of the {size:,} bytes of the sound")
        if not self._is_same(sound, row["sound_sha256"]):
            raise ExchangedError(f"{self.out / file}: the sound of {row['key']} is not the one that was written")
        return sound

    def together(self, rows: Mapping[int, Mapping[str, Any]]) -> dict[int, bytes]:
        """The videos of rows, given in their order; those that stand side by side are had by one read. What cannot be
        read is left out. Raises `ExchangedError`."""
        found: dict[int, bytes] = {}
        for group in _side_by_side(rows):
            first, last = rows[group[0]], rows[group[-1]]
            start = first["offset_bytes"]
            try:
                data = self._range(first["shard"], start, last["offset_bytes"] + last["size_bytes"])
            except ExchangedError:
                raise
            except OSError:
                continue
            for number in group:
                row = rows[number]
                video = data[row["offset_bytes"] - start :][: row["size_bytes"]]
                if len(video) == row["size_bytes"] and self._is_same(video, row["sha256"]):
                    found[number] = video
        return found

    def _range(self, shard: str, start: int, end: int) -> bytes:
        """Bytes of a shard, fewer where it is cut."""
        path = self.out / shard
        if (stamp := self.stamps.get(shard)) is not None and (found := _stamp(path)) != stamp:
            raise ExchangedError(
                f"{path}: {'is gone' if found is None else 'was exchanged'} since the folder was opened; open it again"
            )
        try:
            data: bytes = path.read_range(start, end)
        except FileNotFoundError as error:
            raise ExchangedError(f"{path}: is gone since the folder was opened; open it again") from error
        return data


def stamps_of(out: StorePath, shards: Iterable[str]) -> dict[str, Stamp]:
    """The stamps of those shards of a folder that are there; none where it is not on a disk of ours."""
    if out.local_path is None:
        return {}
    found = ((shard, _stamp(out / shard)) for shard in shards)
    return {shard: stamp for shard, stamp in found if stamp is not None}


def _stamp(path: StorePath) -> Stamp | None:
    """Of a file; `None` if it is not there, or elsewhere. Raises `ExchangedError` if its disk does not say."""
    try:
        status = os.stat(path.local_path or "")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExchangedError(f"{path}: cannot be looked at ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns


def _side_by_side(rows: Mapping[int, Mapping[str, Any]]) -> Iterator[list[int]]:
    """Groups of rows, given in order, whose videos stand in one file with little between them."""
    group: list[int] = []
    for number, row in rows.items():
        if group:
            before = rows[group[-1]]
            gap = row["offset_bytes"] - before["offset_bytes"] - before["size_bytes"]
            if row["shard"] != before["shard"] or not 0 <= gap <= _MAX_GAP_BYTES:
                yield group
                group = []
        group.append(number)
    if group:
        yield group
