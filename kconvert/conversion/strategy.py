"""Strategies: the ways in which the clips of archives become the shards of a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from kconvert.conversion.damaged import DamagedPolicy
from kconvert.conversion.split_job import SplitJob
from kconvert.conversion.tasks import Tasks
from kconvert.dataset.layout import Layout
from kconvert.dataset.manifest import SplitRecord
from kconvert.sources.access import ArchiveAccess
from kconvert.staging.journal import Inputs
from kconvert.storage.store import StorePath


class Strategy(ABC):
    """Makes splits. A split that is made again from the same inputs, after any kill, comes out with the same bytes."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """What the finished folder looks like."""

    @abstractmethod
    def require(self, out: StorePath, cache: Path | None, damaged: DamagedPolicy) -> None:
        """Raises `UsageError` if it cannot work in that folder, with that archive cache, and do that with damaged
        archives."""

    @abstractmethod
    def require_archives(self, cache: Path | None, title: str) -> None:
        """Raises `UsageError` if it, or the archive cache, needs archives, and what the origin of that title has is
        none."""

    @abstractmethod
    def access(self, out: StorePath, cache: Path | None) -> ArchiveAccess:
        """How the bytes of archives are had."""

    @abstractmethod
    def staged(self, inputs: Inputs) -> frozenset[str]:
        """The archives whose clips are staged until they are packed, in the worst case all at once."""

    @abstractmethod
    def read(self, names: Sequence[str], split: SplitJob, tasks: Tasks) -> None:
        """Has those of these archives of a split read that are not.

        Raises: `FailedTasksError` if some cannot be; what was made of the split before is as it was.
        """

    @abstractmethod
    def make(self, split: SplitJob, tasks: Tasks) -> SplitRecord:
        """Makes a split; what has a receipt is not done again. Its shards, its table and its record are in place when
        this returns.

        Raises: `FailedTasksError` if tasks failed; `StagingError` if what was staged is not what it was.
        """
