"""Planning: what a conversion will read, settled before anything big is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kconvert.catalog.annotation import Annotations, parse_annotations
from kconvert.catalog.release import Release, SplitInfo
from kconvert.errors import FetchError, OriginError
from kconvert.events import SplitWork
from kconvert.sources.fetch.open import describe
from kconvert.sources.fetch.stream import FetchOptions, without_patience
from kconvert.sources.origin import ArchiveRef, Origin
from kconvert.staging.journal import Inputs, SplitJournal
from kconvert.storage.threads import at_once


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

    @property
    def work(self) -> SplitWork:
        """What is still to be done, for whoever watches."""
        is_known = all(self.sizes.get(name) is not None for name in self.unread)
        packed = sum(self.sizes.get(name) or 0 for name in self.inputs.archives) if self.is_staged else 0
        return SplitWork(self.num_bytes if is_known else None, packed)


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
