"""The local engine: a pool of processes on this machine.

Every worker has a pipe of its own and there is no lock or queue between them, so that one that is killed at any
moment harms no other. A worker whose driver is gone ends at once, whatever it is at, so that the next run finds nobody
at work. What C libraries print by themselves is not shown: it may hold anything.

A process without threads is forked as it is, so that nothing is imported twice. Where there are threads, as clients of
object stores have them, that is not safe: then a server of Python's does it, which begins afresh.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from kconvert.engines.engine import MAX_ATTEMPTS, Failed, Outcome, Prelude, R, T, TaskNeeds, Work, attempt
from kconvert.engines.imports import is_lean
from kconvert.errors import OutOfMemoryError, TaskError, UsageError, WorkerDiedError, describe_exit
from kconvert.events import Accumulator, Advance, Emit
from kconvert.machine_limits import MemoryKills, default_workers
from kconvert.storage.threads import WAKE_SECONDS, has_threads

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class _Worker:
    process: BaseProcess
    """Of this machine."""
    connection: Connection
    """To it."""
    job: tuple[Any, int] | None = None
    """The task it is at, and which attempt at it this is."""


class LocalEngine:
    """Runs tasks in `num_workers` processes, by default as many as this machine grants, which live until the engine is
    closed. To be made before files are opened that workers should not keep open. Raises `ValueError` for none."""

    def __init__(self, num_workers: int | None = None, needs: TaskNeeds | None = None) -> None:
        needs = needs or TaskNeeds()
        self._num_workers = default_workers(needs.memory_bytes).number if num_workers is None else num_workers
        if self._num_workers < 1:
            raise ValueError(f"{num_workers} workers, expected 1 or more")
        self._workers: list[_Worker] = []
        self._kills = MemoryKills()
        self._begin = needs.begin
        self._server = multiprocessing.get_context("forkserver")
        # Python's server is one for the whole process: in somebody's own, it forks for others, too, who want all.
        lean = ["kconvert.engines.lean"] if is_lean() else []
        self._server.set_forkserver_preload([*lean, *needs.preload])
        if has_threads() or _has_server():
            # It imports while the driver plans.
            forkserver.ensure_running()
        else:
            for name in needs.preload:
                importlib.import_module(name)
            self._fork(num_workers is not None)

    def _fork(self, are_wanted: bool) -> None:
        """Forks the workers. Raises `UsageError` if the system refuses some that `are_wanted` by a person; else there
        are fewer of them."""
        fork = multiprocessing.get_context("fork")
        try:
            with _signals_held():
                for _ in range(self._num_workers):
                    self._start(fork)
        except OSError as error:
            num_wanted, num_started = self._num_workers, len(self._workers)
            # What is exhausted, handles or processes, is needed for other things, too.
            for _ in range(num_started if are_wanted else num_started // 4):
                self._bury(self._workers[-1])
            self._num_workers = len(self._workers)
            if not self._workers:
                raise UsageError(
                    f"--workers {num_wanted}: only {num_started} could be started ({error.strerror}); choose fewer, or "
                    "see `ulimit -a`"
                ) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_here(self) -> bool:
        return True

    def prepare(self, prelude: Prelude) -> None:
        """There is no other machine."""

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        remaining = iter(tasks)
        retries: deque[tuple[T, int]] = deque()
        while True:
            self._assign(work, remaining, retries)
            busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
            if not busy:
                return
            for connection in wait(list(busy), WAKE_SECONDS):
                outcome: Outcome[T, R] | None = self._hear(busy[connection], retries, emit)  # type: ignore[index]
                if outcome is not None:
                    yield outcome

    def _assign(self, work: Work[T, R], remaining: Iterator[T], retries: deque[tuple[T, int]]) -> None:
        """Gives every idle worker something to do, as long as there is."""
        idle = [worker for worker in self._workers if worker.job is None]
        while idle or len(self._workers) < self._num_workers:
            if retries:
                job = retries.popleft()
            else:
                task = next(remaining, None)
                if task is None:
                    return
                job = (task, 0)
            try:
                worker = idle.pop() if idle else self._start(self._server)
            except OSError:
                if not self._workers:
                    raise
                # Those that are there do it.
                self._num_workers = len(self._workers)
                retries.appendleft(job)
                return
            worker.job = job
            try:
                worker.connection.send((work, job[0]))
            except OSError:
                self._bury(worker)
                retries.appendleft(job)

    def _hear(self, worker: _Worker, retries: deque[tuple[T, int]], emit: Emit) -> Outcome[T, R] | None:
        """What a worker says: an event, an outcome, or that it died."""
        assert worker.job is not None
        task, num_attempts = worker.job[0], worker.job[1] + 1
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            code = self._bury(worker)
            if num_attempts < MAX_ATTEMPTS:
                retries.append((task, num_attempts))
                return None
            return Failed(task, self._death(task.name, code))
        if isinstance(said, Advance):
            emit(said)
            return None
        worker.job = None
        outcome: Outcome[T, R] = said
        return outcome

    def _start(self, context: BaseContext) -> _Worker:
        ours, theirs = context.Pipe()
        # What a forked worker has of ours: were it open there, no other worker would see this process end.
        inherited = [ours, *(worker.connection for worker in self._workers)] if context is not self._server else []
        process = context.Process(target=_serve, args=(theirs, inherited, self._begin), name="kconvert-worker")  # type: ignore[attr-defined]
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _death(self, task: str, code: int) -> TaskError:
        """What a person reads of the death of the last worker that tried a task."""
        if code == -signal.SIGKILL and self._kills.is_another():
            return OutOfMemoryError(task, self._kills.limit())
        return WorkerDiedError(task, describe_exit(code))

    def _bury(self, worker: _Worker) -> int:
        """Removes a dead worker; returns its exit code."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode or 0
        worker.process.close()
        return code

    def close(self) -> None:
        while self._workers:
            self._bury(self._workers[-1])


def _has_server() -> bool:
    """Whether this process has Python's server of processes, which a forked worker would take for its own child."""
    return forkserver._forkserver._forkserver_pid is not None  # type: ignore[attr-defined]


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keeps signals until the block ends: a process that is not yet a worker would take them as its driver does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, inherited: Sequence[Connection], begin: Callable[[], None] | None) -> None:
    """A worker's life: do what is sent, until nothing more can come."""
    # A forked one has its driver's, who would take our signals for its own.
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        # Sent to the whole group; the driver, which has it too, ends its workers. Programs that are run obey it.
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for other in inherited:
        other.close()
    with open(os.devnull, "r+b") as nowhere:
        for stream in (0, 1, 2):
            os.dup2(nowhere.fileno(), stream)
    if begin is not None:
        begin()
    threading.Thread(target=_end_with_driver, args=(connection.fileno(),), daemon=True).start()

    def send(said: object) -> None:
        try:
            connection.send(said)
        except OSError:
            os._exit(1)

    while True:
        try:
            work, task = connection.recv()
        except (EOFError, OSError):
            return
        accumulator = Accumulator(send)
        outcome = attempt(work, task, accumulator)
        accumulator.flush()
        send(outcome)


def _end_with_driver(handle: int) -> None:
    """Ends this process as soon as nobody has the other end of its pipe."""
    poll = select.poll()
    poll.register(handle, 0)
    poll.poll()
    os._exit(1)
