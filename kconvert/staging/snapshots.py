"""Snapshots of a run's progress: how far it is, in its journal, for `kconvert status` to read meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from kconvert.errors import disk_error
from kconvert.events import Advance, Observer, Snapshot, SplitDone, SplitWork, Step
from kconvert.staging.journal import Journal, ProgressRecord

_MAX_TASKS = 1000


class SnapshotWriter:
    """An observer that writes down what it passes on to another."""

    def __init__(self, journal: Journal, observer: Observer) -> None:
        self._journal = journal
        self._interval = journal.folder.store.renewal_seconds
        self._observer = observer
        self._running: dict[str, None] = {}
        self._num_done = 0
        self._next_seconds = time.monotonic() + self._interval

    def run_begins(self, work: Mapping[str, SplitWork]) -> None:
        self._observer.run_begins(work)

    def begin(self, step: Step) -> None:
        self._running.clear()
        self._num_done = 0
        self._observer.begin(step)

    def advance(self, event: Advance) -> None:
        self._observer.advance(event)
        self._write_down()

    def task_begins(self, name: str) -> None:
        self._running[name] = None
        self._observer.task_begins(name)
        self._write_down()

    def task_ends(self, name: str) -> None:
        self._running.pop(name, None)
        self._num_done += 1
        self._observer.task_ends(name)
        self._write_down()

    def note(self, text: str) -> None:
        self._observer.note(text)

    def end(self) -> None:
        self._observer.end()

    def split_ends(self, done: SplitDone) -> None:
        self._observer.split_ends(done)

    def snapshot(self) -> Snapshot | None:
        return self._observer.snapshot()

    def _write_down(self) -> None:
        now = time.monotonic()
        snapshot = self._observer.snapshot() if now >= self._next_seconds else None
        if snapshot is None:
            return
        self._next_seconds = now + self._interval
        running = tuple(self._running)[:_MAX_TASKS]
        progress = ProgressRecord(snapshot, self._num_done, running, time.time())
        try:
            self._journal.set_progress(progress)
        except OSError as error:
            # Nothing depends on it; what does will report the disk.
            self._next_seconds = float("inf")
            self._observer.note(f"`kconvert status` will not show how far this run is: {disk_error(error)}")

    def __enter__(self) -> Self:
        # Of a run that was killed.
        self._journal.forget_progress()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._journal.forget_progress()
        except OSError as problem:
            self._observer.note(str(disk_error(problem)))
