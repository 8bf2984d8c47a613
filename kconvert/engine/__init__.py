"""Engines: where tasks run.

An engine promises one outcome for every task, never dropped, in any order: finished with a small result, or failed
with its error. It knows nothing about video, and clip bytes never travel through it. A worker that dies costs one
more attempt, which the work can tell from `Context.attempt`; if that dies too, the task has failed.
Work is a function of a module, as it is sent to other processes; so are tasks and results, and they are small.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from kconvert.errors import KconvertError, UnexpectedError, disk_error
from kconvert.events import Emit

EngineName = Literal["local"]


class Task(Protocol):
    """What an engine has to know of a task."""

    @property
    def name(self) -> str:
        """What a person calls it."""


T = TypeVar("T", bound=Task)
R = TypeVar("R")


@dataclass(frozen=True)
class Context:
    """What a task gets from the engine."""

    attempt: int
    """0, or 1 where the worker of the first attempt died."""
    emit: Emit
    """Takes what there is to tell of the progress."""


@dataclass(frozen=True)
class Finished(Generic[T, R]):
    task: T
    result: R


@dataclass(frozen=True)
class Failed(Generic[T]):
    task: T
    error: KconvertError


Outcome = Finished[T, R] | Failed[T]
Work = Callable[[T, Context], R]


class Engine(Protocol):
    """Runs tasks. To be closed, also after an exception; closing ends the tasks that still run."""

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        """One outcome for each task. Tasks are taken as they can be run, so that they may be made lazily."""

    def close(self) -> None: ...


def attempt(work: Work[T, R], task: T, context: Context) -> Outcome[T, R]:
    """Does one task; whatever it raises is its outcome. The place where a worker catches everything."""
    try:
        return Finished(task, work(task, context))
    except KconvertError as error:
        return Failed(task, error)
    except OSError as error:
        return Failed(task, disk_error(error, task.name))
    except Exception as error:  # noqa: BLE001
        summary = f"{type(error).__name__}: {error}"
        return Failed(task, UnexpectedError(task.name, summary, traceback.format_exc()))


def open_engine(name: EngineName, num_workers: int) -> Engine:
    """The engine of that name."""
    from kconvert.engine.local import LocalEngine

    engines: dict[str, Any] = {"local": LocalEngine}
    engine: Engine = engines[name](num_workers)
    return engine
