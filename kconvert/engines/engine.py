"""Engines: where tasks run.

An engine promises one outcome for every task, never dropped, in any order: finished with a small result, or failed
with its error. It knows nothing about video, and clip bytes never travel through it. A worker that dies costs one
more attempt; if that dies too, the task has failed.
Work is a function of a module, as it is sent to other processes; so are tasks and results, and they are small.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from kconvert.errors import KconvertError, UnexpectedError, UsageError, disk_error
from kconvert.events import Emit
from kconvert.installation import how_to_install
from kconvert.machine_limits import WORKER_BYTES

EngineName = Literal["local", "ray", "slurm"]
MAX_ATTEMPTS = 2
"""At a task whose worker dies."""


@dataclass(frozen=True)
class TaskNeeds:
    """What tasks need of the workers that do them."""

    memory_bytes: int = WORKER_BYTES
    """Of each task."""
    preload: tuple[str, ...] = ()
    """Modules that a worker imports before its first task."""
    begin: Callable[[], None] | None = None
    """What a worker of this machine does first, while it has no threads; `None` for nothing."""


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs tasks, with --engine ray."""

    address: str = "auto"
    """The cluster: auto (the one that `ray start` began), HOST:PORT, ray://HOST:PORT, or local for a new one here."""
    cpus_per_task: float = 1.0
    """How many CPUs of the cluster a task takes."""

    def __post_init__(self) -> None:
        if not self.cpus_per_task > 0:
            raise ValueError(f"--ray.cpus_per_task {self.cpus_per_task}: expected more than 0")


@dataclass(frozen=True)
class SlurmOptions:
    """How Slurm runs tasks, with --engine slurm."""

    partition: str | None = None
    """Default: the cluster's own."""
    cpus_per_task: int = 1
    """How many CPUs an array task takes."""
    memory_gb: float = 4.0
    """How much memory an array task takes, in GB."""
    minutes: int = 720
    """How long an array task may take; the longest is an archive over a slow network."""
    parameters: dict[str, str] | None = None
    """Further options of sbatch, as {account: mine, qos: long}."""
    folder: str | None = None
    """Where submitit keeps its files: a folder that all nodes reach. Default: in --out."""
    executor: Literal["slurm", "local"] = "slurm"
    """Local runs the array tasks on this machine, to try it."""

    def __post_init__(self) -> None:
        for name in ("cpus_per_task", "memory_gb", "minutes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--slurm.{name} {getattr(self, name)}: expected more than 0")


class Task(Protocol):
    """What an engine has to know of a task."""

    @property
    def name(self) -> str:
        """What a person calls it."""


T = TypeVar("T", bound=Task)
R = TypeVar("R")


@dataclass(frozen=True)
class Finished(Generic[T, R]):
    task: T
    """That was given."""
    result: R
    """Of its work."""


@dataclass(frozen=True)
class Failed(Generic[T]):
    task: T
    """That was given."""
    error: KconvertError
    """What its work raised, or what befell its worker."""


Outcome = Finished[T, R] | Failed[T]
Work = Callable[[T, Emit], R]
"""Does a task; it is given what takes reports of its progress."""
Prelude = Callable[[], None]
"""What a machine does before its first task: it raises `UsageError` if the machine cannot work. It is hashable."""


class Engine(Protocol):
    """Runs tasks. To be closed, also after an exception; closing ends the tasks that still run."""

    @property
    def is_here(self) -> bool:
        """Whether all tasks run on this machine."""

    def prepare(self, prelude: Prelude) -> None:
        """Has every other machine do this before its first task; those that are known are asked now.

        Raises: `UsageError` if one of these cannot work.
        """

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        """One outcome for each task. Tasks are taken as they can be run, so that they may be made lazily."""

    def close(self) -> None: ...


def attempt(work: Work[T, R], task: T, emit: Emit, prelude: Prelude | None = None) -> Outcome[T, R]:
    """Does one task, after the prelude if this process has not done that yet; whatever they raise is its outcome. The
    place where a worker catches everything."""
    try:
        if prelude is not None:
            _once(prelude)
        return Finished(task, work(task, emit))
    except KconvertError as error:
        return Failed(task, error)
    except OSError as error:
        return Failed(task, disk_error(error, task.name))
    except Exception as error:  # noqa: BLE001
        summary = f"{type(error).__name__}: {error}"
        return Failed(task, UnexpectedError(task.name, summary, traceback.format_exc()))


@functools.cache
def _once(prelude: Prelude) -> None:
    prelude()


def missing_library(engine: EngineName, library: str) -> UsageError:
    """That what an engine needs is not installed."""
    return UsageError(f"--engine {engine}: the library {library} is not installed; {how_to_install(library, engine)}")
