"""The layout of the official server: over HTTP, in a bucket or copied to a folder.

An archive goes by its official path, wherever it is, so that what is written does not depend on the origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from kconvert.catalog.release import AnnotationFile, Release, SplitInfo, SupplementInfo
from kconvert.errors import FetchError, NotFoundError, OriginError
from kconvert.sources.access import ArchiveRef
from kconvert.sources.fetch.open import describe
from kconvert.sources.fetch.stream import FetchOptions, is_remote, is_url
from kconvert.sources.origins.annotation_files import (
    completed_annotations,
    first_annotations,
    read_file,
    require_single,
    unanswered,
)
from kconvert.sources.origins.origin import AbsentError, Listing, Origin
from kconvert.sources.trees.texts import MAX_TEXT_BYTES

_MAX_LIST_BYTES = 16 << 20
_SEVERAL = re.compile(r"\.(?:tar|tar\.gz|tgz)(?:[\s,;|]+\S|.*://)")
"""An archive's name that something else follows."""
ARCHIVE_ENDINGS = (".tar.gz", ".tgz", ".tar")


def meant_folder(where: str, release: Release) -> str:
    """What a person may have meant by an origin that is none; `""` if nobody knows."""
    above, _, name = where.rstrip("/").rpartition("/")
    scripts = release.script_folders.archives.partition("/")[0] if release.script_folders is not None else ""
    if above and name in {release.root, scripts} - {""}:
        return f"is the origin the folder above, {above}?"
    return ""


def require_archives(kept: bytes) -> None:
    """Raises `OriginError` if what a run before kept of its listing is of no archives."""
    if kept:
        raise OriginError(
            "--origin: the first run read clips that lie in folders, and this origin has archives; give the origin of "
            "the first run, or --overwrite"
        )


class Mirror(Origin):
    """The layout of the official server, below a URL or in a folder."""

    def __init__(self, base: str, options: FetchOptions, release: Release) -> None:
        self._base = base
        self._options = options
        self._release = release

    def listing(self, info: SplitInfo, named: Callable[[], Container[str]]) -> Listing:
        location = self._locate(info.path_list)
        try:
            data = read_file(location, self._options, _MAX_LIST_BYTES)
        except AbsentError as error:
            advice = meant_folder(self._base, self._release) or "check --origin: it has to have the official layout"
            raise OriginError(f"{error}; {advice}") from error
        names = parse_path_list(data, location, self._base, info.path_list)
        return Listing([ArchiveRef(name, self._locate(name), self._release.names) for name in names], len(names))

    def relisted(self, info: SplitInfo, names: Sequence[str], kept: bytes) -> Listing:
        require_archives(kept)
        return Listing([ArchiveRef(name, self._locate(name), self._release.names) for name in names], len(names))

    def annotations(self, info: SplitInfo) -> tuple[AnnotationFile, bytes]:
        return first_annotations(self._candidates(info), self._options)

    def all_annotations(self, info: SplitInfo) -> Sequence[tuple[AnnotationFile, bytes]]:
        return completed_annotations(self._candidates(info), self._options)

    def _candidates(self, info: SplitInfo) -> list[tuple[AnnotationFile, str]]:
        return [(file, self._locate(file.path)) for file in info.annotations]

    def replacement(self, info: SplitInfo) -> ArchiveRef | None:
        if info.replacement is None:
            return None
        location = self._locate(info.replacement)
        try:
            describe(location, self._options)
        except NotFoundError:
            return None
        except FetchError as error:
            raise unanswered(error) from error
        return ArchiveRef(info.replacement, location, self._release.names)

    def text(self, path: str) -> bytes:
        require_single(path)
        return read_file(self._locate(path), self._options, MAX_TEXT_BYTES)

    def supplement(self, info: SupplementInfo) -> str:
        return self._locate(info.archive)

    def _locate(self, path: str) -> str:
        if is_url(self._base):
            return self._base + quote(path)
        if is_remote(self._base):
            return self._base + path
        return str(_spelt_either_way(Path(self._base) / path))


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
        if not is_archive_name(leaf):
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


def is_archive_name(leaf: str) -> bool:
    """Whether a file's name is one that archives have."""
    return leaf.endswith(ARCHIVE_ENDINGS) and leaf.isprintable() and "/" not in leaf and not leaf.startswith(".")


def _spelt_either_way(path: Path) -> Path:
    """A local mirror may have the archives of k600 with underscores for spaces."""
    underscored = path.with_name(path.name.replace(" ", "_"))
    return underscored if not path.exists() and underscored.exists() else path
