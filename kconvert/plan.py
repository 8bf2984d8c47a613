"""Planning: what a conversion will read, and how much disk it takes at most, before anything big is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kconvert.annotation import Annotations, parse_annotations
from kconvert.errors import FetchError, OriginError, UsageError
from kconvert.fetch import FetchOptions, describe, without_patience
from kconvert.journal import Inputs, SplitJournal
from kconvert.origin import ArchiveRef, Origin
from kconvert.release import Release, SplitInfo
from kconvert.shuffle import ShuffleOptions, windows
from kconvert.threads import at_once
from kconvert.units import format_bytes

_EXPANSION = 1.05
"""How much larger a part is at most than its gzipped archive: videos do not compress."""
_SLACK_BYTES = 1 << 20
"""Beside the videos: tar headers, metadata, rows, the last record of a shard, for an archive."""


@dataclass(frozen=True)
class Selection:
    """Which clips and archives a conversion reads."""

    classes: tuple[str, ...] = ()
    """Only these labels; all if empty."""
    max_archives: int | None = None
    """Only so many archives of each split."""

    def covered_labels(self, info: SplitInfo, labels: tuple[str, ...], inputs: Inputs) -> frozenset[str] | None:
        """The labels whose clips are in the archives that are read, wherever they are; `None` if that is all clips."""
        classes = frozenset(self.classes) if self.classes else None
        if info.archives_hold_one_class:
            read = frozenset(label for name in inputs.archives if (label := info.label_of(name, labels)) is not None)
            return read if classes is None else read & classes
        return classes if len(inputs.archives) == inputs.num_listed else frozenset()


@dataclass(frozen=True)
class SplitPlan:
    """What a split will be made from."""

    info: SplitInfo
    inputs: Inputs
    annotations: Annotations
    archives: Mapping[str, ArchiveRef]
    """By name; the replacement archive too."""
    new_annotations: bytes | None
    """The annotation file, if the split has no journal yet that keeps it."""
    sizes: Mapping[str, int | None]
    """Of all archives, the replacement archive's too, in bytes; `None` where the origin does not say."""
    unread: tuple[str, ...] = ()
    """The archives that are still to be read."""
    is_staged: bool = True
    """Whether parts are staged until their shards are packed."""

    @property
    def num_bytes(self) -> int:
        """Of the archives that are still to be read, as far as known."""
        return sum(self.sizes.get(name) or 0 for name in self.unread)


def plan_split(
    release: Release, info: SplitInfo, origin: Origin, selection: Selection, journal: SplitJournal | None
) -> SplitPlan:
    """What a split will be made from, as yet without sizes: as its journal fixed it, else as the origin says now.

    Raises: `OriginError` if the origin does not say, `AnnotationError` if its annotations are malformed.
    """
    inputs = journal.inputs() if journal is not None else None
    new_data: bytes | None = None
    found: dict[str, ArchiveRef] = {}
    if inputs is None:
        listed = origin.archives(info)
        found = {ref.name: ref for ref in listed}
        replacement = origin.replacement(info)
        file, data = origin.annotations(info)
        names = _selected_archives(release, info, selection, listed)
        inputs = Inputs(names, origin.num_archives(info, listed), replacement.name if replacement else None, file)
        new_data = data
    else:
        assert journal is not None
        data = journal.annotations_path.read_bytes()
    annotations = parse_annotations(
        data, inputs.annotations.form, inputs.annotations.path, info.name, release.label_ids
    )
    archives = {name: found.get(name) or origin.archive(info, name) for name in inputs.archives}
    if inputs.replacement is not None:
        replacement = origin.replacement(info)
        if replacement is None:
            raise OriginError(
                f"{inputs.replacement}: this origin does not have it, the one of the first run did; "
                "use that one, or --overwrite"
            )
        archives[replacement.name] = replacement
    return SplitPlan(info, inputs, annotations, archives, new_data, {})


def _selected_archives(
    release: Release, info: SplitInfo, selection: Selection, listed: Sequence[ArchiveRef]
) -> tuple[str, ...]:
    names = [ref.name for ref in listed]
    if selection.classes and info.archives_hold_one_class:
        labels = {name: info.label_of(name, release.labels) for name in names}
        names = [name for name in names if labels[name] is None or labels[name] in selection.classes]
    return tuple(names[: selection.max_archives])


def measure(archives: Mapping[str, ArchiveRef], options: FetchOptions) -> dict[str, int | None]:
    """The size of each archive in bytes; `None` where the origin does not say, or fails: reading will tell."""
    early = without_patience(options)

    def size(ref: ArchiveRef) -> int | None:
        try:
            return describe(ref.location, early).size_bytes
        except FetchError:
            return None

    return dict(zip(archives, at_once(size, archives.values()), strict=True))


Holds = Literal["staging and output", "output", "staging"]
"""What a disk is filled with."""


def max_disk_bytes(plans: Sequence[SplitPlan], shuffle: ShuffleOptions) -> int:
    """The most that staging and output take together at any moment."""
    return needed_bytes(plans, shuffle, "staging and output")


def needed_bytes(plans: Sequence[SplitPlan], shuffle: ShuffleOptions, holds: Holds) -> int:
    """The most that a disk is filled with at any moment, splits being made one after the other."""
    done = most = 0
    for plan in plans:
        if holds != "staging":
            done += sum(_unpacked(plan.sizes.get(name)) for name in plan.inputs.archives)
        most = max(most, done + (_staged_bytes(plan, shuffle) if holds != "output" else 0))
    return most


def _staged_bytes(plan: SplitPlan, shuffle: ShuffleOptions) -> int:
    if not plan.is_staged:
        return 0
    groups = windows(plan.inputs.archives, shuffle, plan.info.name)
    largest = max((sum(_unpacked(plan.sizes.get(name)) for name in group) for group in groups), default=0)
    replacement = plan.inputs.replacement
    return largest + (_unpacked(plan.sizes.get(replacement)) if replacement else 0)


def _unpacked(size: int | None) -> int:
    return round((size or 0) * _EXPANSION) + _SLACK_BYTES


def require_disk(
    plans: Sequence[SplitPlan], shuffle: ShuffleOptions, have: int, holds: Holds, option: str = "--out"
) -> None:
    """Raises `UsageError` if what a disk is to hold does not fit into `have` bytes, those of earlier runs included.

    The error names the `--shuffle.window` that would fit, if there is one.
    """
    need = needed_bytes(plans, shuffle, holds)
    if need <= have:
        return
    advice = "choose a larger disk"
    if holds != "output" and any(plan.is_staged for plan in plans):
        fitting = _largest_fitting_window(plans, shuffle, have, holds)
        advice = f"--shuffle.window {fitting} would fit" if fitting else "not even --shuffle.window 1 would fit"
    raise UsageError(
        f"{option}: too little disk for {holds}: {format_bytes(need)} needed at most, "
        f"{format_bytes(have)} there; {advice}"
    )


def _largest_fitting_window(plans: Sequence[SplitPlan], shuffle: ShuffleOptions, have: int, holds: Holds) -> int:
    """By bisection, as a larger window never takes much less; 0 if none fits."""
    low, high = 0, max(len(plan.inputs.archives) for plan in plans)
    while low < high:
        middle = (low + high + 1) // 2
        if needed_bytes(plans, ShuffleOptions(middle, shuffle.seed), holds) <= have:
            low = middle
        else:
            high = middle - 1
    return low
