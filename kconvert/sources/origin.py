"""Origins: where the archives and annotations of a release come from.

There are two layouts: the official server's, over HTTP, in a bucket or copied to a folder, and the folders that the
official shell scripts leave. An archive goes by its official path in both, so that what is written does not depend on
the origin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from kconvert.catalog.release import AnnotationFile, Release, SplitInfo, SupplementInfo
from kconvert.errors import FetchError, NotFoundError, OriginError
from kconvert.sources.fetch.open import describe, read_small
from kconvert.sources.fetch.stream import FetchOptions, is_remote, is_url, with_few_retries
from kconvert.storage.objects import object_path

_MAX_LIST_BYTES = 16 << 20
_MAX_ANNOTATION_BYTES = 1 << 30
_SEVERAL = re.compile(r"\.(?:tar|tar\.gz|tgz)(?:[\s,;|]+\S|.*://)")
"""An archive's name that something else follows."""
_ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class ArchiveRef:
    """An archive and where it is."""

    name: str
    """Its official path below the base, e.g. `400/train/part_0.tar.gz`, whatever the origin."""
    location: str
    """URL or local path."""


class Origin(Protocol):
    """Promises: the same answer at every call while the origin does not change; `OriginError` where it cannot say."""

    def archives(self, info: SplitInfo) -> tuple[ArchiveRef, ...]:
        """The archives of a split, in the order of the official path list."""

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        """The first annotation file of the catalogue's candidates that is there, and its content."""

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        """The same, and of the other candidates those that complete it, as far as they are there."""

    def num_archives(self, info: SplitInfo, listed: Sequence[ArchiveRef]) -> int:
        """How many archives the split has, where `listed` are those that are there."""

    def replacement(self, info: SplitInfo) -> ArchiveRef | None:
        """The archive of replacements for a split; `None` if the release, or the origin, has none."""

    def archive(self, info: SplitInfo, name: str) -> ArchiveRef:
        """Where the archive of that official name is."""

    def supplement(self, info: SupplementInfo) -> str:
        """Where the archive of further annotations is, if there is one: a URL or a local path."""


def open_origin(where: str, release: Release, options: FetchOptions) -> Origin:
    """The origin at a URL or in a folder, whose layout is detected.

    Raises: `AbsentError` if it is none, `OriginError` if there is no such folder, `UsageError` for a kind of store that
    is not known.
    """
    early = with_few_retries(options)
    if is_remote(where):
        if not is_url(where):
            _require_library(where)
        return _Mirror(where.rstrip("/") + "/", early, release)
    folder = Path(where)
    if not folder.is_dir():
        raise OriginError(f"--origin {where}: no such folder, and not a URL; give the folder or the URL of a mirror")
    if (folder / release.root).is_dir():
        return _Mirror(str(folder), early, release)
    scripts = release.script_folders.archives.partition("/")[0]
    if (folder / scripts).is_dir():
        return _ScriptFolders(folder, release, early)
    raise AbsentError(
        f"--origin {where}: looked for {release.root}/ (a copy of the official server) and for {scripts}/ "
        f"(what the official shell script leaves), found neither; "
        f"{_advice(where, release) or 'give the folder that holds one of them'}"
    )


def _advice(where: str, release: Release) -> str:
    """What a person may have meant by an origin that is none; `""` if nobody knows."""
    above, _, name = where.rstrip("/").rpartition("/")
    if above and (name == release.root or name == release.script_folders.archives.partition("/")[0]):
        return f"is the origin the folder above, {above}?"
    return ""


def _require_library(where: str) -> None:
    try:
        object_path(where).store.require_usable()
    except OSError as error:
        raise OriginError(f"--origin {where}: {error.strerror}") from error


class _Mirror:
    """The layout of the official server, below a URL or in a folder."""

    def __init__(self, base: str, options: FetchOptions, release: Release) -> None:
        self._base = base
        self._options = options
        self._release = release

    def archives(self, info: SplitInfo) -> tuple[ArchiveRef, ...]:
        location = self._locate(info.path_list)
        try:
            data = _read(location, self._options, _MAX_LIST_BYTES)
        except AbsentError as error:
            advice = _advice(self._base, self._release) or "check --origin: it has to have the official layout"
            raise OriginError(f"{error}; {advice}") from error
        names = parse_path_list(data, location, self._base, info.path_list)
        return tuple(ArchiveRef(name, self._locate(name)) for name in names)

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return _first_annotations(self._candidates(info), self._options)

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        return _completed(self._candidates(info), self._options)

    def _candidates(self, info: SplitInfo) -> list[tuple[AnnotationFile, str]]:
        return [(file, self._locate(file.path)) for file in info.annotations]

    def num_archives(self, info: SplitInfo, listed: Sequence[ArchiveRef]) -> int:
        return len(listed)

    def replacement(self, info: SplitInfo) -> ArchiveRef | None:
        if info.replacement is None:
            return None
        location = self._locate(info.replacement)
        try:
            describe(location, self._options)
        except NotFoundError:
            return None
        except FetchError as error:
            raise _unanswered(error) from error
        return ArchiveRef(info.replacement, location)

    def archive(self, info: SplitInfo, name: str) -> ArchiveRef:
        return ArchiveRef(name, self._locate(name))

    def supplement(self, info: SupplementInfo) -> str:
        return self._locate(info.archive)

    def _locate(self, path: str) -> str:
        if is_url(self._base):
            return self._base + quote(path)
        if is_remote(self._base):
            return self._base + path
        return str(_spelt_either_way(Path(self._base) / path))


class _ScriptFolders:
    """What the official shell scripts leave: the archives of a split in one folder, the annotations in another."""

    def __init__(self, root: Path, release: Release, options: FetchOptions) -> None:
        self._root = root
        self._release = release
        self._options = options

    def archives(self, info: SplitInfo) -> tuple[ArchiveRef, ...]:
        folder = self._root / self._release.script_folders.archives.format(split=info.name)
        if not folder.is_dir():
            raise OriginError(
                f"{folder}: no such folder; the official script puts the {info.name} archives there; "
                f"run it, or leave {info.name} out of --split"
            )
        found = sorted(path for path in folder.iterdir() if _is_archive_name(path.name) and path.is_file())
        if not found:
            raise OriginError(
                f"{folder}: holds no {' or '.join(_ARCHIVE_ENDINGS)} file; "
                f"fetch them, or leave {info.name} out of --split"
            )
        refs: dict[str, ArchiveRef] = {}
        for path in found:
            ref = ArchiveRef(self._official_name(info, path), str(path))
            if refs.setdefault(ref.name, ref) != ref:
                raise OriginError(f"{folder}: {path.name} is there in both spellings; remove one of them")
        return tuple(sorted(refs.values(), key=lambda ref: _natural(ref.name)))

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return _first_annotations(self._candidates(info), self._options)

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        return _completed(self._candidates(info), self._options)

    def _candidates(self, info: SplitInfo) -> list[tuple[AnnotationFile, str]]:
        folder = self._root / self._release.script_folders.annotations
        return [(file, str(folder / Path(file.path).name)) for file in info.annotations]

    def num_archives(self, info: SplitInfo, listed: Sequence[ArchiveRef]) -> int:
        # There is no path list among the files that the scripts leave, and downloads may be missing.
        return max(len(listed), info.reported.num_archives)

    def replacement(self, info: SplitInfo) -> ArchiveRef | None:
        if info.replacement is None or self._release.script_folders.replacement is None:
            return None
        folder = self._root / self._release.script_folders.replacement
        found = sorted(path for path in folder.glob("*") if _is_archive_name(path.name))
        return ArchiveRef(info.replacement, str(found[0])) if found else None

    def archive(self, info: SplitInfo, name: str) -> ArchiveRef:
        for ref in self.archives(info):
            if ref.name == name:
                return ref
        # It may have been read and removed since; if it is needed, reading it will show that it is not there.
        folder = self._root / self._release.script_folders.archives.format(split=info.name)
        return ArchiveRef(name, str(folder / Path(name).name))

    def supplement(self, info: SupplementInfo) -> str:
        return str(self._root / self._release.script_folders.annotations / Path(info.archive).name)

    def _official_name(self, info: SplitInfo, path: Path) -> str:
        """The official path of a file; k600's may be spelt with underscores on disk."""
        name = f"{Path(info.archive).parent}/{path.name}"
        if "{label}" in info.archive:
            label = info.label_of(name, self._release.labels)
            return info.archive.format(label=label) if label else name
        return name


def parse_path_list(data: bytes, where: str, base: str, list_path: str) -> tuple[str, ...]:
    """The archives' paths below the base, from the URLs of a path list.

    Whatever ends in the folder of the list and an archive's name is taken, as where it is was said by the origin: URLs
    of any host, percent-encoded or raw, as k600's are, with a query or without, and names relative to any folder above.
    Raises `OriginError` with every line that is neither such a name nor a comment.
    """
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        got = data[error.start : error.start + 20]
        raise OriginError(
            f"{where}: expected a list of URLs as UTF-8 text, got {got!r} at byte {error.start}; use another --origin"
        ) from error
    folder = list_path.rpartition("/")[0] + "/"
    names: dict[str, None] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        leaf = "" if _SEVERAL.search(url) else _leaf_in(folder, url)
        name = folder + leaf
        if not _is_archive_name(leaf):
            problems.append(f"line {number}: got {url[:200]!r}")
        elif name in names:
            problems.append(f"line {number}: {url[:200]!r} stands there twice")
        else:
            names[name] = None
    if problems or not names:
        shown = "; ".join(problems[:20]) or "it is empty"
        raise OriginError(
            f"{where}: expected a URL {base.rstrip('/')}/{folder}….tar.gz a line; {shown}; correct the list, or use "
            "another --origin"
        )
    return tuple(names)


def _leaf_in(folder: str, url: str) -> str:
    """The last part of a URL, or of a relative name, whose folders are the last ones of `folder`, else `""`."""
    bare = url.partition("?")[0] if "://" in url else url
    plain = unquote(bare) if re.search("%[0-9A-Fa-f]{2}", bare) else bare
    has_host = "://" in plain
    above, _, leaf = plain.rpartition("://")[2].rpartition("/")
    wanted, found = folder.rstrip("/").split("/"), [one for one in above.split("/") if one not in ("", ".")]
    num = len(wanted) if has_host else min(len(found), len(wanted))
    return leaf if num == 0 or found[-num:] == wanted[-num:] else ""


def _is_archive_name(leaf: str) -> bool:
    return leaf.endswith(_ARCHIVE_ENDINGS) and leaf.isprintable() and "/" not in leaf and not leaf.startswith(".")


def _first_annotations(
    candidates: Iterable[tuple[AnnotationFile, str]], options: FetchOptions
) -> tuple[AnnotationFile, bytes]:
    tried = []
    for file, location in candidates:
        try:
            return file, _read(location, options, _MAX_ANNOTATION_BYTES)
        except AbsentError as error:
            tried.append(str(error))
    raise AbsentError(f"no annotations at this origin: {'; '.join(tried)}; check --origin")


def _completed(
    candidates: Sequence[tuple[AnnotationFile, str]], options: FetchOptions
) -> list[tuple[AnnotationFile, bytes]]:
    """The first candidate that is there, and those that are known to be a part only: nobody says that the first has all
    that they have, as of k600's txt and csv."""
    found = [_first_annotations(candidates, options)]
    for file, location in candidates:
        if not file.is_complete and file != found[0][0]:
            with suppress(AbsentError):
                found.append((file, _read(location, options, _MAX_ANNOTATION_BYTES)))
    return found


class AbsentError(OriginError):
    """There is no such file, or no such release, at this origin."""


def _read(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    try:
        return read_small(location, options, max_bytes)
    except NotFoundError as error:
        raise AbsentError(str(error)) from error
    except FetchError as error:
        raise _unanswered(error) from error


def _unanswered(error: FetchError) -> OriginError:
    return OriginError(f"{error}; check --origin, or run again once it answers")


def _spelt_either_way(path: Path) -> Path:
    """A local mirror may have the archives of k600 with underscores for spaces."""
    underscored = path.with_name(path.name.replace(" ", "_"))
    return underscored if not path.exists() and underscored.exists() else path


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `part_2` before `part_10`."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split("([0-9]+)", name)]
