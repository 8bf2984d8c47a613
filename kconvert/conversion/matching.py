"""Matching: what a release's file makes of an origin, before anything is converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kconvert.catalog.release import Release, SplitInfo
from kconvert.catalog.union import parse_file
from kconvert.sources.origins.origin import Origin

_NUM_EXAMPLES = 3


@dataclass(frozen=True)
class SplitMatch:
    """What is there of a split."""

    split: str
    """Its name."""
    title: str
    """How its clips lie; `""` if none is there."""
    num_rows: int
    """Clips that the lists name."""
    problems: Sequence[str]
    """Rows that cannot be read, each with its line."""
    num_files: int
    """Files that are clips of it."""
    unlisted: Sequence[str]
    """Files that no list names."""
    absent: Sequence[str]
    """Clips that the lists name, and that are not there."""
    unnamed: Sequence[str]
    """Files whose paths are no clips' of the release."""


def match(release: Release, origin: Origin) -> list[SplitMatch]:
    """What is there of each split. Raises `OriginError` if the origin does not say."""
    return [_match(release, origin, info) for info in release.splits.values()]


def _match(release: Release, origin: Origin, info: SplitInfo) -> SplitMatch:
    file, data = origin.annotations(info)
    annotations = parse_file(file, data, release, info.name, 1.0)
    here = origin.split(info)
    bundles = () if here is None else origin.listing(here, lambda: annotations.labels).bundles
    names: dict[str, str] = {}
    unnamed = []
    for path in (path for bundle in bundles for path in bundle.paths):
        try:
            names[release.names.of_file(path).name] = path
        except ValueError:
            unnamed.append(path)
    listed = annotations.labels if file.form != "none" else names
    return SplitMatch(
        split=info.name,
        title=origin.title(info.name),
        num_rows=annotations.num_clips,
        problems=list(map(str, annotations.malformed)),
        num_files=len(names),
        unlisted=[path for name, path in names.items() if name not in listed],
        absent=[name for name in annotations.names if name not in names],
        unnamed=unnamed,
    )


def examples(names: Sequence[str]) -> str:
    """A few of them, for people."""
    more = f", and {len(names) - _NUM_EXAMPLES:,} more" if len(names) > _NUM_EXAMPLES else ""
    return ", ".join(map(repr, names[:_NUM_EXAMPLES])) + more
