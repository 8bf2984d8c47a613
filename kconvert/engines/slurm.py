"""The Slurm engine: tasks as the tasks of job arrays.

An array task that is pre-empted is queued again by Slurm and begins anew; what it is for is done once, by its receipt.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kconvert.engines.engine import MAX_ATTEMPTS, Failed, Outcome, Prelude, R, SlurmOptions, T, Work, attempt
from kconvert.engines.slurm_queue import SlurmQueue
from kconvert.errors import OutOfMemoryError, TaskError, WorkerDiedError
from kconvert.events import Accumulator, Advance, Emit
from kconvert.machine_limits import default_workers
from kconvert.storage.store import StorePath

_MAX_ARRAY = 1000
"""Tasks of an array: Slurm's `MaxArraySize` is 1001 unless somebody raised it."""
_MAX_AT_ONCE = 100
_LOOK_SECONDS = 1.0
_ASK_SECONDS = 10.0
"""Between two questions to Slurm, which serves many."""
_NUM_LOOKS = 2
"""How often an array task has to be found ended, without a result, before it counts as dead: files come late over
NFS."""
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT",
}  # fmt: skip


@dataclass
class _ArrayTask:
    """A task in the queue, or running."""

    task: Any
    """That was submitted."""
    job: Any
    """submitit's."""
    num_deaths: int
    """Attempts at the task before, all of which died."""
    num_looks: int = 0
    """How often it was found ended, without a result."""
    state: str = ""
    """What Slurm said of it last; `""` if it was not asked yet."""

    @property
    def has_result(self) -> bool:
        return bool(self.job.paths.result_pickle.exists())


class SlurmEngine:
    """Runs tasks in job arrays, at most `max_tasks` of them at a time, by default 100."""

    def __init__(self, max_tasks: int | None, options: SlurmOptions, records: StorePath | None) -> None:
        is_local = options.executor == "local"
        self._max_tasks = max_tasks or (default_workers().number if is_local else _MAX_AT_ONCE)
        self._options = options
        self._queue = SlurmQueue(options, self._max_tasks, records)
        self._prelude: Prelude | None = None
        self._running: list[_ArrayTask] = []
        self._last_asked = 0.0

    @property
    def is_here(self) -> bool:
        return False

    def prepare(self, prelude: Prelude) -> None:
        # Which machines there will be, Slurm decides later: each array task begins with it.
        self._prelude = prelude

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        remaining = iter(tasks)
        retries: deque[tuple[T, int]] = deque()
        while True:
            self._submit(work, remaining, retries)
            if not self._running:
                return
            ended = self._ended()
            for one in ended:
                self._running.remove(one)
                if not one.has_result and one.num_deaths + 1 < MAX_ATTEMPTS:
                    retries.append((one.task, one.num_deaths + 1))
                else:
                    yield self._outcome(one, emit)
            if not ended:
                time.sleep(_LOOK_SECONDS if not self._queue.is_local else _LOOK_SECONDS / 10)

    def _submit(self, work: Work[T, R], remaining: Iterator[T], retries: deque[tuple[T, int]]) -> None:
        """Submits an array when fewer tasks run than may, and some are left."""
        if len(self._running) >= self._max_tasks:
            return
        num = self._max_tasks - len(self._running) if self._queue.is_local else _MAX_ARRAY
        batch = [retries.popleft() for _ in range(min(num, len(retries)))]
        batch += [(task, 0) for task in itertools.islice(remaining, num - len(batch))]
        if not batch:
            return
        arguments = [(work, task, self._prelude) for task, _ in batch]
        jobs = self._queue.submit(_array_task, arguments, [task.name for task, _ in batch])
        self._running += [_ArrayTask(task, job, number) for (task, number), job in zip(batch, jobs, strict=True)]

    def _ended(self) -> list[_ArrayTask]:
        """The array tasks that have a result, or will never have one."""
        if self._queue.is_local:
            # A process of ours, which is to be waited for.
            return [one for one in self._running if one.job.state != "RUNNING"]
        ended = [one for one in self._running if one.has_result]
        if ended or time.monotonic() < self._last_asked + _ASK_SECONDS:
            return ended
        states = self._queue.states()
        self._last_asked = time.monotonic()
        if states is None:
            return []
        for one in self._running:
            one.state = states.get(one.job.job_id, one.state if one.state in _ENDED else "COMPLETED")
            one.num_looks = one.num_looks + 1 if one.state in _ENDED else 0
        return [one for one in self._running if one.num_looks >= _NUM_LOOKS]

    def _outcome(self, one: _ArrayTask, emit: Emit) -> Outcome[Any, Any]:
        """What came of an array task that will not be tried again."""
        if not one.has_result:
            return Failed(one.task, self._death(one))
        outcome: Outcome[Any, Any]
        outcome, advance = one.job.result()
        emit(advance)
        if not isinstance(outcome, Failed):
            self._queue.succeeded(one.task.name)
        return outcome

    def _death(self, one: _ArrayTask) -> TaskError:
        if one.state == "OUT_OF_MEMORY":
            return OutOfMemoryError(one.task.name, f"--slurm.memory_gb is {self._options.memory_gb:g}")
        return WorkerDiedError(one.task.name, f"no result of {one.job.job_id}, see {one.job.paths.stdout}")

    def close(self) -> None:
        for one in self._running:
            one.job.cancel(check=False)
        self._running.clear()
        self._queue.close()


def _array_task(work: Any, task: Any, prelude: Prelude | None) -> tuple[Outcome[Any, Any], Advance]:
    """One attempt at a task, on some machine; with what it had to report."""
    events: list[Advance] = []
    accumulator = Accumulator(events.append)

    outcome: Outcome[Any, Any] = attempt(work, task, accumulator, prelude)
    accumulator.flush()
    return outcome, _sum(events)


def _sum(events: Iterable[Advance]) -> Advance:
    flagged: dict[str, int] = {}
    num_bytes = num_clips = 0
    for event in events:
        num_bytes, num_clips = num_bytes + event.num_bytes, num_clips + event.num_clips
        for defect, num in event.flagged.items():
            flagged[defect] = flagged.get(defect, 0) + num
    return Advance(num_bytes, num_clips, flagged)
