"""The files of supplements: from the origin's archive of one, or from what a person has of it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kconvert.catalog.release import SupplementInfo
from kconvert.errors import ArchiveError, FetchError, OriginError
from kconvert.sources.archive import ArchiveReader
from kconvert.sources.fetch.open import open_stream, read_small
from kconvert.sources.fetch.stream import FetchOptions, is_remote, with_few_retries
from kconvert.sources.inflate import TEXTS_EXPANSION
from kconvert.storage.open import meant_location

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
"""Of the files that count; others are none of theirs."""
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
    if here is not None and here.exists() and not here.is_file() and not here.is_dir():
        raise OriginError(f"{option}: {here}: is neither a file nor a folder; give the archive, or its files")
    try:
        found = list(_files(info, str(here or where), options))
    except (FetchError, ArchiveError) as error:
        advice = (
            f"check --origin, or give it as --annotations.{option.rsplit(maxsplit=1)[-1]} FILE"
            if "--with" in option
            else "check it"
        )
        raise OriginError(f"{option}: {error}; {advice}") from error
    except OSError as error:
        raise OriginError(f"{option}: {error.filename or location}: {error.strerror}; make it readable") from error
    by_name = dict(found)
    if twice := [name for name, times in Counter(name for name, _ in found).items() if times > 1]:
        raise OriginError(f"{option}: {location}: has {twice[0]} twice; leave one of them")
    if lacking := sorted(wanted - set(by_name)):
        raise OriginError(
            f"{option}: {location}: looked for {', '.join(lacking)}, not found in it; expected the archive of "
            f"{info.title}, or a folder that holds its files"
        )
    return SupplementFiles(by_name)


def _files(info: SupplementInfo, where: str, options: FetchOptions) -> Iterator[tuple[str, bytes]]:
    """The files that count, by name."""
    rows = info.rows.format(split="*")

    def counts(name: str) -> bool:
        if not _NAME.fullmatch(name):
            return False
        return fnmatch.fnmatchcase(name, rows) or (info.actions != "" and fnmatch.fnmatchcase(name, info.actions))

    early, here = with_few_retries(options), Path(where)
    if not is_remote(where) and here.is_dir():
        paths = sorted(path for path in here.rglob("*") if counts(path.name) and path.is_file())
        yield from ((path.name, path.read_bytes()) for path in paths)
    elif counts(leaf := where.rpartition("/")[2]):
        yield leaf, read_small(where, early, _MAX_FILE_BYTES)
    else:
        with open_stream(where, early) as stream, ArchiveReader(stream, where, TEXTS_EXPANSION) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.is_file and counts(name):
                    yield name, member.load()
