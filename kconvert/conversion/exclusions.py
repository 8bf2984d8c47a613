"""Exclusions: the clips that a conversion leaves out, as a person asks for it, or as the release, a union, has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kconvert.catalog.clip_list import ClipList, parse_clip_list
from kconvert.catalog.exclusion import Exclusion
from kconvert.catalog.release import Release
from kconvert.catalog.shelf import load_release
from kconvert.conversion.config import Conversion, excluded_lists
from kconvert.conversion.plan import SplitPlan
from kconvert.errors import UsageError
from kconvert.sources.clip_lists import ListName, ListSource, read_clip_lists
from kconvert.sources.origins.open import open_origin
from kconvert.sources.origins.origin import AbsentError


@dataclass(frozen=True)
class Exclusions:
    """All that is excluded."""

    asked: Exclusion
    """What a person asks for."""
    in_files: frozenset[str]
    """Of these lists, those that are in files, by what they go by."""
    own: Exclusion
    """What the release leaves out itself; nothing of most."""

    @property
    def digests(self) -> Mapping[str, str]:
        """The sha256 of what each list says, by what it goes by."""
        return {**self.own.digests, **self.asked.digests}

    def names_split(self, name: str) -> bool:
        """Whether a split, as `k400:val`, is among what is asked for, as its origin has it."""
        return name in self.asked.digests.keys() - self.in_files

    def of(self, release: Release, plan: SplitPlan) -> Callable[[str], tuple[str, ...]] | None:
        """Gives the lists that exclude a clip of that name: none for being in its own split, unless a person says of a
        file what is in that; of a union, also the newer release that has its video. `None` if nothing is excluded."""
        split, superseded = f"{release.name}:{plan.info.name}", plan.annotations.superseded
        others = [one for one in self.own.lists if not one.name.endswith(f":{plan.info.name}")]
        both = (
            dataclasses.replace(self.own, lists=others),
            self.asked if split in self.in_files else self.asked.without(split),
        )

        if not superseded and not any(exclusion.lists for exclusion in both):
            return None

        def excluded_by(name: str) -> tuple[str, ...]:
            found = tuple(one for exclusion in both for one in exclusion.of(name))
            newer = superseded.get(name)
            return found if newer is None else (*found, f"{newer}:{plan.info.name}")

        return excluded_by

    def num_of(self, release: Release, plan: SplitPlan, classes: Sequence[str]) -> int:
        """How many of the annotated clips of a split, of these classes, or of all if there are none, are excluded."""
        excluded_by = self.of(release, plan)
        if excluded_by is None:
            return 0
        pairs = plan.annotations.pairs()
        return sum(bool(excluded_by(name)) for name, label in pairs if not classes or label in classes)


def read_exclusions(conversion: Conversion, release: Release) -> Exclusions:
    """What a conversion excludes. Raises `UsageError` if a list cannot be had, or has no times where they are
    needed."""
    where, by = conversion.origin_location, conversion.exclude_by
    source = ListSource(where, conversion.fetch, conversion.release, conversion.links, conversion.max_malformed)
    own = _own(release, source)
    asked = excluded_lists(conversion)
    # Their order is no matter.
    names = sorted((name for name in asked if name.text not in own.digests), key=lambda name: name.text)
    lists = read_clip_lists("--exclude", names, source)
    for one in lists:
        if by != "id" and not one.has_times:
            raise UsageError(f"--exclude_by {by}: {one.name} does not say when its clips start and end; use id")
    in_files = frozenset(name.text for name in asked if name.file)
    return Exclusions(Exclusion(lists, by, release.names), in_files, own)


def _own(release: Release, source: ListSource) -> Exclusion:
    """What a union excludes: videos of the other splits of its releases. A further list that the origin lacks is left
    out, as what it names is hosted nowhere."""
    others = [
        ListName(f"{name}:{split}", name, split)
        for name in release.union
        for split in load_release(name).splits
        if list(release.splits) != [split]
    ]
    lists = [
        read_clip_lists(release.name, [one], dataclasses.replace(source, release=one.release))[0] for one in others
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
