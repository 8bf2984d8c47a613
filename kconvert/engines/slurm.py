"""The Slurm engine: tasks as the elements of job arrays, through submitit.

An element that is pre-empted is queued again by Slurm and begins anew; what it is for is done once, by its receipt.
Whether an element has ended is told by its result, and where there is none by `squeue`: many clusters have no
accounting that could be asked. What was submitted is written down, so that the next run can cancel what a killed driver
left in the queue, and a person can see what is to be run again.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kconvert.engines.engine import (
    MAX_ATTEMPTS,
    Failed,
    Outcome,
    Prelude,
    R,
    SlurmOptions,
    T,
    Work,
    attempt,
    missing_library,
)
from kconvert.errors import OutOfMemoryError, TaskError, UsageError, WorkerDiedError
from kconvert.events import Accumulator, Advance, Emit
from kconvert.grants import default_workers
from kconvert.storage.files import make_folder
from kconvert.storage.store import StorePath

ELEMENTS_NAME = "elements.json"
_MAX_ARRAY = 1000
"""Elements of an array: Slurm's `MaxArraySize` is 1001 unless somebody raised it."""
_MAX_AT_ONCE = 100
_LOOK_SECONDS = 1.0
_ASK_SECONDS = 10.0
"""Between two questions to Slurm, which serves many."""
_NUM_LOOKS = 2
"""How often an element has to be found ended, without a result, before it counts as dead: files come late over NFS."""
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED", "TIMEOUT",
}  # fmt: skip


@dataclass
class _Element:
    """A task in the queue, or running."""

    task: Any
    job: Any
    """submitit's."""
    num_deaths: int
    num_looks: int = 0
    state: str = ""
    """What Slurm said of it last."""


class SlurmEngine:
    """Runs tasks in job arrays, at most `max_tasks` elements at a time, by default 100."""

    def __init__(self, max_tasks: int | None, options: SlurmOptions, records: StorePath | None) -> None:
        try:
            import submitit
        except ImportError as error:
            raise missing_library("slurm", "submitit") from error
        self._submitit: Any = submitit
        self._options = options
        self._is_local = options.executor == "local"
        self._max_tasks = max_tasks or (default_workers().number if self._is_local else _MAX_AT_ONCE)
        self._records = records
        self._folder = self._working_folder()
        self._name = f"kconvert-{uuid.uuid4().hex[:12]}"
        self._executor = self._open_executor()
        self._prelude: Prelude | None = None
        self._elements: list[_Element] = []
        self._undone: dict[str, str] = {}
        self._last_asked = 0.0
        self._cancel_former()

    def _working_folder(self) -> Path:
        if self._options.folder is not None:
            return Path(self._options.folder).expanduser().absolute() / f"kconvert-{uuid.uuid4().hex[:12]}"
        here = None if self._records is None else (self._records / "jobs").local_path
        if here is None:
            raise UsageError(
                "--engine slurm: expected --slurm.folder, a folder on a shared file system, as --out is an object store"
            )
        return here

    def _open_executor(self) -> Any:
        make_folder(self._folder)
        if self._is_local:
            executor = self._submitit.LocalExecutor(folder=self._folder)
            executor.update_parameters(timeout_min=self._options.minutes)
            return executor
        try:
            executor = self._submitit.SlurmExecutor(folder=self._folder)
        except RuntimeError as error:
            raise UsageError(f"--engine slurm: {error}; run this where `sbatch` is, as on a login node") from error
        further: dict[str, Any] = {"requeue": True, **(self._options.parameters or {})}
        executor.update_parameters(
            job_name=self._name,
            time=self._options.minutes,
            cpus_per_task=self._options.cpus_per_task,
            mem=f"{self._options.memory_gb:g}GB",
            array_parallelism=self._max_tasks,
            stderr_to_stdout=True,
            additional_parameters=further,
            **({"partition": self._options.partition} if self._options.partition else {}),
        )
        return executor

    @property
    def is_here(self) -> bool:
        return False

    def prepare(self, prelude: Prelude) -> None:
        # Which machines there will be, Slurm decides later: each element begins with it.
        self._prelude = prelude

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        remaining = iter(tasks)
        retries: deque[tuple[T, int]] = deque()
        while True:
            self._submit(work, remaining, retries)
            if not self._elements:
                return
            ended = self._ended()
            for element in ended:
                self._elements.remove(element)
                outcome: Outcome[T, R] | None = self._outcome(element, retries, emit)
                if outcome is not None:
                    yield outcome
            if not ended:
                time.sleep(_LOOK_SECONDS if not self._is_local else _LOOK_SECONDS / 10)

    def _submit(self, work: Work[T, R], remaining: Iterator[T], retries: deque[tuple[T, int]]) -> None:
        """Submits an array when there is room for one, and tasks are left."""
        if len(self._elements) >= self._max_tasks:
            return
        num = self._max_tasks - len(self._elements) if self._is_local else _MAX_ARRAY
        lot = [retries.popleft() for _ in range(min(num, len(retries)))]
        lot += [(task, 0) for task in itertools.islice(remaining, num - len(lot))]
        if not lot:
            return
        size = len(lot)
        try:
            jobs = self._executor.map_array(
                _element,
                [work] * size,
                [task for task, _ in lot],
                [self._prelude] * size,
            )
        except self._submitit.core.utils.FailedJobError as error:
            raise UsageError(
                f"--engine slurm: sbatch refused the job: {_line(error)}; see the options below --slurm"
            ) from error
        self._elements += [_Element(task, job, number) for (task, number), job in zip(lot, jobs, strict=True)]
        self._undone |= {job.job_id: task.name for (task, _), job in zip(lot, jobs, strict=True)}
        self._write_down()

    def _ended(self) -> list[_Element]:
        """The elements that have a result, or will never have one."""
        if self._is_local:
            # A process of ours, which is to be waited for.
            return [element for element in self._elements if element.job.state != "RUNNING"]
        ended = [element for element in self._elements if element.job.paths.result_pickle.exists()]
        if ended or time.monotonic() < self._last_asked + _ASK_SECONDS:
            return ended
        states = self._states()
        self._last_asked = time.monotonic()
        if states is None:
            return []
        for element in self._elements:
            element.state = states.get(element.job.job_id, element.state if element.state in _ENDED else "COMPLETED")
            element.num_looks = element.num_looks + 1 if element.state in _ENDED else 0
        return [element for element in self._elements if element.num_looks >= _NUM_LOOKS]

    def _states(self) -> dict[str, str] | None:
        """The state of each element that Slurm still knows; `None` if it does not answer."""
        ask = ["squeue", "--noheader", "--array", "--states=all", f"--name={self._name}", "--format=%i %T"]
        try:
            said = self._submitit.core.utils.CommandFunction(ask, verbose=False)()
        except (self._submitit.core.utils.FailedJobError, OSError):
            return None
        pairs = (line.split() for line in said.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def _outcome(self, element: _Element, retries: deque[tuple[Any, int]], emit: Emit) -> Outcome[Any, Any] | None:
        """What came of an element; `None` if there will be another attempt."""
        outcome: Outcome[Any, Any]
        if element.job.paths.result_pickle.exists():
            outcome, told = element.job.result()
            emit(told)
        elif element.num_deaths + 1 < MAX_ATTEMPTS:
            retries.append((element.task, element.num_deaths + 1))
            return None
        else:
            outcome = Failed(element.task, self._death(element))
        if not isinstance(outcome, Failed):
            self._undone = {job: name for job, name in self._undone.items() if name != element.task.name}
        return outcome

    def _death(self, element: _Element) -> TaskError:
        if element.state == "OUT_OF_MEMORY":
            return OutOfMemoryError(element.task.name, f"--slurm.memory_gb is {self._options.memory_gb:g}")
        how = f"no result of {element.job.job_id}, see {element.job.paths.stdout}"
        return WorkerDiedError(element.task.name, how)

    def _write_down(self) -> None:
        if self._records is not None:
            self._records.make_folder()
            (self._records / ELEMENTS_NAME).write_bytes(json.dumps(self._undone, indent=1).encode())

    def _cancel_former(self) -> None:
        """Cancels what a killed driver left in the queue."""
        former = read_elements(self._records) if self._records is not None and not self._is_local else {}
        arrays = sorted({job.partition("_")[0] for job in former})
        if arrays:
            # Those that have ended are known no more.
            with suppress(self._submitit.core.utils.FailedJobError):
                self._submitit.core.utils.CommandFunction(["scancel", "--quiet", *arrays], verbose=False)()

    def close(self) -> None:
        for element in self._elements:
            element.job.cancel(check=False)
        self._elements.clear()
        if self._undone:
            self._write_down()
        else:
            if self._records is not None:
                (self._records / ELEMENTS_NAME).remove()
            shutil.rmtree(self._folder, ignore_errors=True)


def read_elements(records: StorePath) -> dict[str, str]:
    """The elements that were submitted and did not succeed, as far as the driver lived to see it: from Slurm's name of
    each to the task's."""
    try:
        found = json.loads((records / ELEMENTS_NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(job): str(name) for job, name in found.items()} if isinstance(found, dict) else {}


def _element(work: Any, task: Any, prelude: Prelude | None) -> tuple[Outcome[Any, Any], Advance]:
    """One attempt at a task, on some machine; with what it had to tell."""
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


def _line(error: BaseException) -> str:
    """The last line of what submitit says: it quotes whole logs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    return (lines[-1] if lines else type(error).__name__)[:300]
