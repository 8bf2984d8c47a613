"""The files of supplements: from the origin's archive of one, or from what a person has of it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kconvert.catalog.release import SPLITS, SupplementInfo
from kconvert.errors import ArchiveError, FetchError, OriginError
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_stream, read_small
from kconvert.sources.fetch.stream import FetchOptions, is_remote, with_few_retries
from kconvert.storage.open import meant_location

_MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class SupplementFiles:
    """The files of a supplement that count."""

    by_name: Mapping[str, bytes]
    """Their content, by their names without folders."""

    @property
    def sha256(self) -> str:
        """Of the names and of what is in them, wherever they came from."""
        lines = (f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in sorted(self.by_name.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_supplement(
    option: str, info: SupplementInfo, location: str, splits: Sequence[str], options: FetchOptions
) -> SupplementFiles:
    """The files of a supplement: from its archive at a URL or a path, from a folder that holds them at any depth, or
    from the only one that is needed.

    Raises: `OriginError`, beginning with the option, if that of one of these splits is missing, if one is there twice,
    or cannot be read.
    """
    wanted = {info.rows.format(split=split) for split in splits}
    where = meant_location(location)
    here = None if is_remote(where) else Path(os.path.expanduser(where))
    try:
        found = list(_files(info, str(here or where), options))
    except (FetchError, ArchiveError) as error:
        raise OriginError(f"{option}: {error}; check --origin, or give it as --annotations.{info.name} FILE") from error
    except OSError as error:
        raise OriginError(f"{option}: {error.filename or location}: {error.strerror}; make it readable") from error
    by_name = dict(found)
    if len(by_name) < len(found):
        twice = next(name for name, data in found if by_name[name] is not data)
        raise OriginError(f"{option}: {location}: has {twice} twice, in two folders; leave one of them")
    if lacking := sorted(wanted - set(by_name)):
        raise OriginError(
            f"{option}: {location}: looked for {', '.join(lacking)}, not found in it; expected the archive of "
            f"{info.title}, or a folder that holds its files"
        )
    return SupplementFiles(by_name)


def _files(info: SupplementInfo, where: str, options: FetchOptions) -> Iterator[tuple[str, bytes]]:
    """The files that count, by name."""
    rows = {info.rows.format(split=split) for split in SPLITS}

    def counts(name: str) -> bool:
        return name in rows or (info.actions != "" and fnmatch.fnmatchcase(name, info.actions))

    early, here = with_few_retries(options), Path(where)
    if not is_remote(where) and here.is_dir():
        paths = sorted(path for path in here.rglob("*") if counts(path.name) and path.is_file())
        yield from ((path.name, path.read_bytes()) for path in paths)
    elif counts(leaf := where.rpartition("/")[2]):
        yield leaf, read_small(where, early, _MAX_FILE_BYTES)
    else:
        with open_stream(where, early) as stream, ArchiveReader(stream, where) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.is_file and counts(name):
                    yield name, member.load()
