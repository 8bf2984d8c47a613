"""Planning: what a conversion will read, settled before anything big is fetched."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kconvert.catalog.annotation import Annotations
from kconvert.catalog.release import AnnotationFile, Release, SplitInfo
from kconvert.catalog.union import parse_file
from kconvert.conversion.selection import Selection
from kconvert.errors import FetchError, OriginError
from kconvert.events import SplitWork
from kconvert.sources.bundle import Bundle
from kconvert.sources.fetch.stream import FetchOptions, with_few_retries
from kconvert.sources.origins.origin import AbsentError, Origin
from kconvert.sources.trees.disk import LinkPolicy
from kconvert.staging.journal import LISTING_NAME, Inputs, SplitJournal
from kconvert.storage.threads import at_once


@dataclass(frozen=True)
class NewInputs:
    """What is kept of the origin when a split is first planned."""

    annotations: bytes
    """The annotation file."""
    listing: bytes
    """See `Listing.kept`."""


@dataclass(frozen=True)
class SplitPlan:
    """What a split will be made from."""

    info: SplitInfo
    """The split, as the catalogue has it."""
    inputs: Inputs
    """The archives and the annotation file."""
    annotations: Annotations
    """Parsed."""
    archives: Mapping[str, Bundle]
    """By name; the replacement archive too."""
    new: NewInputs | None
    """What the journal of the split is to keep; `None` if it does."""
    sizes: Mapping[str, int | None]
    """Of all archives, the replacement archive's too, in bytes; `None` where the origin does not say."""
    origin_title: str = ""
    """See `Origin.title`."""
    notes: Sequence[str] = ()
    """What a person should know of how its clips lie."""
    num_unused: int = 0
    """Clips beside them that are in no split."""

    unread: tuple[str, ...] = ()
    """The archives that are still to be read."""
    num_excluded: int = 0
    """Annotated clips that are excluded."""
    staged: frozenset[str] = frozenset()
    """The archives whose clips are staged until they are packed."""

    @property
    def num_bytes(self) -> int:
        """Of the archives that are still to be read, as far as known."""
        return sum(self.sizes.get(name) or 0 for name in self.unread)

    @property
    def num_unmeasured(self) -> int:
        """Archives whose size the origin does not state."""
        return sum(size is None for size in self.sizes.values())

    @property
    def work(self) -> SplitWork:
        """What is still to be done, for whoever watches."""
        is_known = all(self.sizes.get(name) is not None for name in self.unread)
        packed = sum(self.sizes.get(name) or 0 for name in self.inputs.archives if name in self.staged)
        return SplitWork(self.num_bytes if is_known else None, packed)


@dataclass(frozen=True)
class OriginChoice:
    """Where a person has clips and annotations come from."""

    location: str
    """Of the origin: the URL, or the absolute path."""
    links: LinkPolicy = "inside"
    """Which links are followed if it is a folder of clips."""
    annotations: Mapping[str, tuple[AnnotationFile, bytes]] = field(default_factory=dict)
    """Those that are given instead of the origin's, by split."""
    max_malformed: float = 0.01
    """The share of the rows of an annotation file, 0 to 1, that may be malformed."""

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of the annotations that are given, by split."""
        return {split: hashlib.sha256(data).hexdigest() for split, (_, data) in self.annotations.items()}


@dataclass(frozen=True)
class Source:
    """Where the clips of a release come from."""

    release: Release
    """What is converted."""
    origin: Origin
    """Where it comes from."""
    selection: Selection
    """Which clips and archives of it are read."""
    choice: OriginChoice
    """What else a person says of where it comes from."""

    def plan(self, split: str, journal: SplitJournal | None) -> SplitPlan | None:
        """What a split will be made from, as yet without sizes: as its journal fixed it, else as the origin says now;
        `None` if the origin is known not to have the split.

        Raises: `OriginError` if the origin does not say, `AnnotationError` if too many annotations are malformed.
        """
        info = self.origin.split(self.release.splits[split])
        if info is None:
            return None
        fixed = journal.inputs() if journal is not None else None
        if journal is None or fixed is None:
            return self._new_plan(info)
        data = journal.annotations_path.read_bytes()
        annotations = self._parsed(info, fixed.annotations, data)
        listing = self.origin.relisted(info, fixed.archives, _kept_listing(journal))
        archives = {bundle.name: bundle for bundle in listing.bundles}
        if fixed.replacement is not None:
            replacement = self.origin.replacement(info)
            if replacement is None:
                raise OriginError(
                    f"{fixed.replacement}: this origin does not have it, the one of the first run did; "
                    "use that one, or --overwrite"
                )
            archives[replacement.name] = replacement
        named, title = self._named(archives, annotations), self.origin.title(split)
        return SplitPlan(info, fixed, annotations, named, None, {}, title, listing.notes, self.num_unused)

    def _new_plan(self, info: SplitInfo) -> SplitPlan:
        # Most origins list what they have without asking what is annotated.
        listing = self.origin.listing(info, lambda: self._annotated(info.name)[2].labels)
        replacement = self.origin.replacement(info)
        file, data, annotations = self._annotated(info.name)
        names = self._selected(info, listing.bundles)
        number = list(self.release.splits).index(info.name)
        better = None if replacement is None else replacement.name
        inputs = Inputs(names, listing.num_bundles, better, file, number, listing.holds_others)
        archives = {bundle.name: bundle for bundle in listing.bundles if bundle.name in set(names)}
        if replacement is not None:
            archives[replacement.name] = replacement
        named = self._named(archives, annotations)
        new = NewInputs(data, listing.kept)
        title, num_unused = self.origin.title(info.name), self.num_unused
        return SplitPlan(info, inputs, annotations, named, new, {}, title, listing.notes, num_unused)

    @functools.cached_property
    def _annotated(self) -> Callable[[str], tuple[AnnotationFile, bytes, Annotations]]:
        """Gives what is annotated of a split, which is read once."""

        def read(split: str) -> tuple[AnnotationFile, bytes, Annotations]:
            info = self.release.splits[split]
            file, data = self.choice.annotations.get(split) or self.origin.annotations(info)
            return file, data, self._parsed(info, file, data)

        return functools.cache(read)

    @functools.cached_property
    def num_unused(self) -> int:
        """Clips of the origin that are in no split, where those of several lie together."""
        try:
            return self.origin.num_outside(self._all_named)
        except AbsentError:
            # Of a split that is not asked for, perhaps, the lists are not there, and nobody can say.
            return 0

    def _all_named(self) -> Mapping[str, Mapping[str, str]]:
        """The clips that lists name, by split."""
        return {split: self._annotated(split)[2].labels for split in self.release.splits}

    def _named(self, archives: Mapping[str, Bundle], annotations: Annotations) -> dict[str, Bundle]:
        names = functools.cache(functools.partial(annotations.named_once, self.release.names))
        return {name: bundle.named(names) for name, bundle in archives.items()}

    def _parsed(self, info: SplitInfo, file: AnnotationFile, data: bytes) -> Annotations:
        return parse_file(file, data, self.release, info.name, self.choice.max_malformed)

    def _selected(self, info: SplitInfo, listed: Sequence[Bundle]) -> tuple[str, ...]:
        """The names of the archives that are read, in the order of the list."""
        names = [ref.name for ref in listed]
        if self.selection.classes and info.archives_hold_one_class:
            labels = {name: info.label_of(name, self.release.labels) for name in names}
            names = [name for name in names if labels[name] is None or labels[name] in self.selection.classes]
        return tuple(names[: self.selection.max_archives])


def _kept_listing(journal: SplitJournal) -> bytes:
    """What was kept of the first listing; nothing in a journal of an earlier kconvert, which read archives only."""
    path = journal.folder / LISTING_NAME
    return path.read_bytes() if path.is_file() else b""


def measure(archives: Mapping[str, Bundle], options: FetchOptions) -> dict[str, int | None]:
    """The size of each archive in bytes; `None` where the origin does not say, or fails: reading will show."""
    early = with_few_retries(options)

    def size(ref: Bundle) -> int | None:
        try:
            return ref.describe(early).size_bytes
        except FetchError:
            return None

    return dict(zip(archives, at_once(size, archives.values()), strict=True))
