"""What a union leaves out: the videos of any other split of its releases, and clips that a newer release has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kconvert.catalog.clip_list import ClipList, parse_clip_list
from kconvert.catalog.exclusion import Exclusion
from kconvert.catalog.release import Release
from kconvert.catalog.shelf import load_release
from kconvert.conversion.plan import SplitPlan
from kconvert.sources.clip_lists import ListName, ListSource, read_clip_lists
from kconvert.sources.origins.open import open_origin
from kconvert.sources.origins.origin import AbsentError


def own_exclusion(release: Release, source: ListSource) -> Exclusion:
    """What a union excludes: videos of the other splits of its releases; nothing of any other release. A further list
    that the origin lacks is left out, as what it names is hosted nowhere.

    Raises: `OriginError` if one cannot be had.
    """
    if not release.union:
        return Exclusion()
    others = [
        ListName(f"{name}:{split}", name, split)
        for name in release.union
        for split in load_release(name).splits
        if split not in release.splits
    ]
    # Each is a release of the catalogue, whose lists lie where its own are.
    lists = [
        read_clip_lists(f"{release.name}", [one], dataclasses.replace(source, release=one.release))[0] for one in others
    ]
    return Exclusion([*lists, *_further(release, source)], "id", release.names)


def _further(release: Release, source: ListSource) -> list[ClipList]:
    found = []
    for name, path in release.exclude_lists.items():
        of_release = load_release(name.partition(":")[0])
        try:
            data = open_origin(source.origin, of_release, source.fetch, source.links).text(path)
        except AbsentError:
            continue
        found.append(parse_clip_list(data, name, path))
    return found


def excluder(exclusions: Sequence[Exclusion], plan: SplitPlan) -> Callable[[str], tuple[str, ...]]:
    """Gives the lists that exclude a clip of that name; of a union, also the newer release that has its video."""
    superseded = plan.annotations.superseded

    def of(name: str) -> tuple[str, ...]:
        found = tuple(one for exclusion in exclusions for one in exclusion.of(name))
        newer = superseded.get(name)
        return found if newer is None else (*found, f"{newer}:{plan.info.name}")

    return of
