"""Annotation files: the first of several candidates that an origin has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from kconvert.catalog.release import AnnotationFile, SplitInfo
from kconvert.errors import FetchError, NotFoundError, OriginError
from kconvert.sources.fetch.open import read_small
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.sources.origins.origin import AbsentError
from kconvert.sources.trees.texts import MAX_TEXT_BYTES, TreeTexts


def first_annotations(
    candidates: Iterable[tuple[AnnotationFile, str]], options: FetchOptions
) -> tuple[AnnotationFile, bytes]:
    """The first of these candidates, each with its location, that is there. Raises: `AbsentError` if none is."""
    tried = []
    for file, location in candidates:
        try:
            return file, read_file(location, options, MAX_TEXT_BYTES)
        except AbsentError as error:
            tried.append(str(error))
    raise AbsentError(f"no annotations at this origin: {'; '.join(tried)}; check --origin")


def completed_annotations(
    candidates: Sequence[tuple[AnnotationFile, str]], options: FetchOptions
) -> list[tuple[AnnotationFile, bytes]]:
    """The first candidate that is there, and those that are known to be a part only: nobody says that the first has all
    that they have, as of k600's txt and csv."""
    found = [first_annotations(candidates, options)]
    for file, location in candidates:
        if not file.is_complete and file != found[0][0]:
            with suppress(AbsentError):
                found.append((file, read_file(location, options, MAX_TEXT_BYTES)))
    return found


def first_text(info: SplitInfo, texts: TreeTexts) -> tuple[AnnotationFile, bytes]:
    """The first annotation file of a split that a tree has; of a split without any, that there is none. Raises:
    `AbsentError` if none of its files is there."""
    if not info.annotations:
        return AnnotationFile("", "none", is_complete=False), b""
    for file in info.annotations:
        if (data := texts.find(file.path)) is not None:
            return file, data
    tried = "; ".join(texts.looked_for(file.path) for file in info.annotations)
    raise AbsentError(
        f"no annotations of {info.name} at this origin: {tried}; give --annotations.{info.name} FILE, or the URL of "
        "the official file"
    )


def require_single(path: str) -> None:
    """Raises `OriginError` for a pattern of several files, where nobody can list them."""
    if "*" in path:
        raise OriginError(f"{path}: names several files, and this origin cannot list what it has; give a folder")


def read_file(location: str, options: FetchOptions, max_bytes: int) -> bytes:
    """A small file of an origin. Raises: `AbsentError` if it is not there, `OriginError` if nobody says."""
    try:
        return read_small(location, options, max_bytes)
    except NotFoundError as error:
        raise AbsentError(str(error)) from error
    except FetchError as error:
        raise unanswered(error) from error


def unanswered(error: FetchError) -> OriginError:
    """That an origin did not answer."""
    return OriginError(f"{error}; check --origin, or run again once it answers")
