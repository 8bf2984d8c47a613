"""The Ray engine: tasks on the machines of a Ray cluster.

Each machine needs kconvert installed. Ray is asked for one attempt at a time: whether a worker died, or a whole machine
was lost, decides how many there are. Results are small; clip bytes stay away from Ray's object store.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kconvert.engines.engine import (
    MAX_ATTEMPTS,
    Failed,
    Outcome,
    Prelude,
    R,
    RayOptions,
    T,
    TaskNeeds,
    Work,
    attempt,
    missing_library,
)
from kconvert.errors import KconvertError, OutOfMemoryError, UsageError, WorkerDiedError
from kconvert.events import Accumulator, Advance, Emit

_MAX_LOSSES = 5
"""Machines that may be lost under one task."""
_AHEAD = 2
"""Tasks that are handed to Ray beyond those that can run, so that no worker waits for the driver."""
_LOOK_SECONDS = 0.2
_CHECK_SECONDS = 120.0
_CONNECT_SECONDS = 10.0


@dataclass
class _Job:
    task: Any
    """That was handed to Ray."""
    num_deaths: int = 0
    """Workers that died at it: an attempt each."""
    num_losses: int = 0
    """Machines that were lost under it, which is nobody's fault."""


class RayEngine:
    """Runs tasks on a cluster: at most `max_tasks` at a time, or as many as it has CPUs for. Raises `UsageError` where
    none answers, or a node cannot run kconvert."""

    def __init__(self, max_tasks: int | None, needs: TaskNeeds, options: RayOptions) -> None:
        try:
            import ray
        except ImportError as error:
            raise missing_library("ray", "ray") from error
        self._ray: Any = ray
        self._options = options
        self._max_tasks = max_tasks
        self._prelude: Prelude | None = None
        self._pending: dict[Any, _Job] = {}
        try:
            _require_somebody(options.address)
            ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"--ray.address {options.address}: no Ray cluster answers there ({_line(error)}); start one with "
                "`ray start --head`, or say local"
            ) from error
        here = ray.get_runtime_context().get_node_id()
        self._ear = self._ray.remote(_Receiver).options(num_cpus=0, scheduling_strategy=self._on(here)).remote()
        # A task that asks for more than any machine has would wait for ever.
        most = max((node["Resources"].get("memory", 0.0) for node in self._ray.nodes() if node["Alive"]), default=0.0)
        self._task_bytes = max(1, min(needs.memory_bytes, int(most)))
        self._do = self._ray.remote(_do).options(num_cpus=options.cpus_per_task, memory=self._task_bytes, max_retries=0)

    @property
    def is_here(self) -> bool:
        return False

    def prepare(self, prelude: Prelude) -> None:
        self._prelude = prelude
        asked = {
            self._ray.remote(_prepare)
            .options(num_cpus=0, max_retries=2, scheduling_strategy=self._on(node["NodeID"]))
            .remote(prelude): node["NodeManagerAddress"]
            for node in self._ray.nodes()
            if node["Alive"]
        }
        end = time.monotonic() + _CHECK_SECONDS
        for ref, address in asked.items():
            try:
                error = self._ray.get(ref, timeout=max(1.0, end - time.monotonic()))
            except self._ray.exceptions.RayError as failure:
                raise UsageError(
                    f"node {address}: cannot run kconvert ({_line(failure)}); install the same version there"
                ) from failure
            if error is not None:
                raise UsageError(f"node {address}: {error}")

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        remaining = iter(tasks)
        retries: deque[_Job] = deque()
        while True:
            self._assign(work, remaining, retries)
            if not self._pending:
                return
            done, _ = self._ray.wait(list(self._pending), timeout=_LOOK_SECONDS)
            self._pass_on(emit)
            for ref in done:
                outcome: Outcome[T, R] | None = self._outcome(ref, self._pending.pop(ref), retries)
                if outcome is not None:
                    yield outcome

    def _assign(self, work: Work[T, R], remaining: Iterator[T], retries: deque[_Job]) -> None:
        """Hands tasks to Ray, as long as there are and it has resources."""
        limit = self._max_pending()
        while len(self._pending) < limit:
            if retries:
                job = retries.popleft()
            else:
                task = next(remaining, None)
                if task is None:
                    return
                job = _Job(task)
            ref = self._do.remote(work, job.task, self._ear, self._prelude)
            self._pending[ref] = job

    def _max_pending(self) -> int:
        """How many tasks are handed to Ray, by the cores and the memory that it grants; machines may come and go."""
        if self._max_tasks is not None:
            return self._max_tasks
        granted = self._ray.cluster_resources()
        by_core = granted.get("CPU", 0.0) / self._options.cpus_per_task
        by_memory = granted.get("memory", 0.0) / self._task_bytes
        return max(1, int(min(by_core, by_memory))) + _AHEAD

    def _outcome(self, ref: Any, job: _Job, retries: deque[_Job]) -> Outcome[Any, Any] | None:
        """What came of an attempt; `None` if there will be another one."""
        errors = self._ray.exceptions
        try:
            found: Outcome[Any, Any] = self._ray.get(ref)
            return found
        except (errors.NodeDiedError, errors.ObjectLostError, errors.RaySystemError) as error:
            job.num_losses += 1
            if job.num_losses <= _MAX_LOSSES:
                retries.append(job)
                return None
            return self._death(job, error)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            job.num_deaths += 1
            if job.num_deaths < MAX_ATTEMPTS:
                retries.append(job)
                return None
            return self._death(job, error)
        except errors.RayError as error:
            return self._death(job, error)

    def _death(self, job: _Job, error: Exception) -> Failed[Any]:
        """What a person reads of the death of the last worker that tried a task."""
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return Failed(job.task, OutOfMemoryError(job.task.name, f"Ray: {_line(error)}"))
        return Failed(job.task, WorkerDiedError(job.task.name, _line(error)))

    def _pass_on(self, emit: Emit) -> None:
        """What tasks report of their progress, on which nothing depends."""
        try:
            events: list[Advance] = self._ray.get(self._ear.take.remote())
        except self._ray.exceptions.RayError:
            return
        for event in events:
            emit(event)

    def _on(self, node_id: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id, soft=False)

    def close(self) -> None:
        for ref in self._pending:
            self._ray.cancel(ref, force=True)
        self._pending.clear()
        self._ray.shutdown()


def _require_somebody(address: str) -> None:
    """Raises `OSError` if nobody listens at an address with a port: Ray itself would take minutes to give up."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


class _Receiver:
    """An actor beside the driver that receives progress."""

    def __init__(self) -> None:
        self._events: list[Advance] = []

    def receive(self, event: Advance) -> None:
        self._events.append(event)

    def take(self) -> list[Advance]:
        events, self._events = self._events, []
        return events


def _do(work: Any, task: Any, receiver: Any, prelude: Prelude | None) -> Outcome[Any, Any]:
    """One attempt at a task, in a worker of Ray."""
    import ray

    sent: list[Any] = []

    def send(event: Advance) -> None:
        # Those of one sender are received in order: the last one stands for all.
        sent[:] = [receiver.receive.remote(event)]

    accumulator = Accumulator(send)
    outcome: Outcome[Any, Any] = attempt(work, task, accumulator, prelude)
    accumulator.flush()
    # All is received before the task is over, or the driver might ask for the last time too early.
    ray.wait(sent)
    return outcome


def _prepare(prelude: Prelude) -> KconvertError | None:
    try:
        prelude()
    except KconvertError as error:
        return error
    return None


def _line(error: BaseException) -> str:
    """The first line of what Ray says, which may be pages."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
