"""Opening an origin: which layout it has is seen by what is there."""

from __future__ import annotations

from pathlib import Path

from kconvert.catalog.release import Release
from kconvert.catalog.shelf import load_release
from kconvert.errors import OriginError
from kconvert.sources.fetch.stream import FetchOptions, is_remote, is_url, with_few_retries
from kconvert.sources.origins.extracted import ExtractedClips
from kconvert.sources.origins.official import Mirror, meant_folder
from kconvert.sources.origins.origin import AbsentError, Origin
from kconvert.sources.origins.script_folders import ScriptFolders, has_archives
from kconvert.sources.origins.shared_archives import SharedArchives
from kconvert.sources.origins.split_files import looked_for
from kconvert.sources.origins.union import UnionOrigin
from kconvert.sources.trees.bucket import BucketTree
from kconvert.sources.trees.disk import DiskTree, LinkPolicy
from kconvert.sources.trees.open import names_zip_file
from kconvert.sources.trees.tree import Tree
from kconvert.sources.trees.zip import ZipTree
from kconvert.storage.objects import object_path


def open_origin(where: str, release: Release, options: FetchOptions, links: LinkPolicy = "inside") -> Origin:
    """The origin at a URL, in a folder or in a zip file, whose layout is detected.

    Raises: `AbsentError` if it is none, `OriginError` if there is no such folder, `UsageError` for a kind of store that
    is not known.
    """
    if release.union:
        members = {name: load_release(name) for name in release.union}
        return UnionOrigin(
            release, {name: (one, open_origin(where, one, options, links)) for name, one in members.items()}
        )
    early = with_few_retries(options)
    if names_zip_file(where):
        return _extracted(ZipTree(where, early), release, early)
    if is_url(where):
        return Mirror(where.rstrip("/") + "/", early, release)
    if is_remote(where):
        return _in_bucket(where, release, early)
    return _in_folder(where, release, early, links)


def _in_folder(where: str, release: Release, options: FetchOptions, links: LinkPolicy) -> Origin:
    folder = Path(where)
    if not folder.is_dir():
        raise OriginError(f"--origin {where}: no such folder, and not a URL; give the folder or the URL of a mirror")
    if release.root and (folder / release.root).is_dir():
        return Mirror(str(folder), options, release)
    if (shared := _shared(where, release, options)) is not None:
        return shared
    if has_archives(folder, release):
        return ScriptFolders(folder, release, options)
    tree = DiskTree(str(folder), links)
    if (clips := ExtractedClips(tree, release, options)).has_clips:
        return clips
    if release.script_folders is not None and _script_folder(folder, release).is_dir():
        return ScriptFolders(folder, release, options)
    raise AbsentError(f"--origin {where}: {meant_folder(where, release) or _nothing_found(tree, release)}")


def _nothing_found(tree: DiskTree, release: Release) -> str:
    """What was looked for in a folder that is no origin, and what to do."""
    archives = ""
    if release.root and release.script_folders is not None:
        scripts = _script_folder(Path(), release)
        archives = (
            f"{release.root}/ (a copy of the official server), for {scripts}/ (what the official shell script leaves) "
            "and for "
        )
    return f"looked for {archives}{looked_for(tree, release)}; give the folder that holds one of them"


def _shared(where: str, release: Release, options: FetchOptions) -> Origin | None:
    """The archives of a release in which the clips of all splits are; `None` if there are none."""
    if not release.archives and not release.parts:
        return None
    archives = SharedArchives(where, release, options)
    return archives if archives.has_archives else None


def _extracted(tree: Tree, release: Release, options: FetchOptions) -> Origin:
    """A tree that can be nothing but one of extracted clips."""
    clips = ExtractedClips(tree, release, options)
    if not clips.has_clips:
        raise AbsentError(
            f"--origin {tree.location}: looked for {looked_for(tree, release)}; give another --origin, or unpack "
            "it, and give the folder in it that has them"
        )
    return clips


def _in_bucket(where: str, release: Release, options: FetchOptions) -> Origin:
    """A mirror, unless the bucket is seen to hold extracted clips. It may be one that nobody may list."""
    _require_library(where)
    mirror = Mirror(where.rstrip("/") + "/", options, release)
    tree = BucketTree(where)
    try:
        names = tree.folders("")
    except OriginError:
        return mirror
    if (shared := _shared(where, release, options)) is not None:
        return shared
    clips = ExtractedClips(tree, release, options)
    return mirror if (release.root and release.root in names) or not clips.has_clips else clips


def _script_folder(folder: Path, release: Release) -> Path:
    """Where the official shell scripts put the archives below a folder."""
    assert release.script_folders is not None
    return folder / release.script_folders.archives.partition("/")[0]


def _require_library(where: str) -> None:
    try:
        object_path(where).store.require_usable()
    except OSError as error:
        raise OriginError(f"--origin {where}: {error.strerror}") from error
