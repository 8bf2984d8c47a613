"""Running the tasks of one split: what fails is noted at once, and ends the step when the others are done.

A task that fails says nothing of the others, unless its reason does: where the disk is full, or nobody answers, those
that are not begun are left for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kconvert.engines.engine import Engine, Failed, Task, Work
from kconvert.errors import DiskFullError, TaskError, UnexpectedError, UnreachableError
from kconvert.events import Observer, Step

T = TypeVar("T", bound=Task)
R = TypeVar("R")
_MAX_REASON_CHARS = 4000
_MAX_UNREACHABLE = 5
"""Archives in a row that nobody answers for, after which none is tried any more: each takes minutes of retries."""


@dataclass(frozen=True)
class Failure:
    """A task that failed; running again tries it again."""

    task: str
    """The archive, or shard."""
    reason: str
    """In one line, or a few."""
    next_step: str
    """What a person does about it."""
    stops_run: bool = False
    """Whether nothing else can succeed before a person has mended it."""


class FailedTasksError(Exception):
    """Tasks of a step failed; the step can go no further before the next run. It never leaves `conversion`."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(failures)
        self.failures = failures
        """One at least."""


def _nobody(failure: Failure) -> None:
    """Does nothing about a failure."""


class Tasks:
    """Runs the tasks of one split on an engine."""

    def __init__(self, engine: Engine, observer: Observer, split: str, describe_space: Callable[[], str]) -> None:
        """`describe_space` is asked, when a disk is full, for what a person who makes space should know."""
        self._engine = engine
        self._observer = observer
        self.split = split
        self._describe_space = describe_space
        self._stop_reason = ""
        """Why all other tasks would fail, too; `""` while they might not."""
        self._num_unreachable = 0
        """Archives that could not be reached since one could."""

    def run(
        self,
        step: Step,
        work: Work[T, R],
        tasks: Iterable[T],
        on_failure: Callable[[Failure], None] = _nobody,
    ) -> list[R]:
        """Does a step, all of its tasks that can be done; returns their results, in any order. `on_failure` is called
        with each failure at once.

        Raises: `FailedTasksError` at the end if any failed.
        """
        self._observer.begin(step)
        failures = []
        results: list[R] = []
        for outcome in self._engine.run(work, self._while_worthwhile(tasks), self._observer.advance):
            self._observer.task_ends(outcome.task.name)
            if isinstance(outcome, Failed):
                failures.append(self._failure(outcome))
                on_failure(failures[-1])
            else:
                self._num_unreachable = 0
                results.append(outcome.result)
        self._observer.end()
        if failures:
            raise FailedTasksError(failures)
        return results

    def note(self, text: str) -> None:
        """Says something a person should know, of this split."""
        self._observer.note(f"{self.split}: {text}")

    def _while_worthwhile(self, tasks: Iterable[T]) -> Iterator[T]:
        """The tasks, until what befell some would befall all others."""
        for task in tasks:
            if self._stop_reason:
                self.note(f"stopped, as {self._stop_reason}; the next run resumes there")
                return
            self._observer.task_begins(task.name)
            yield task

    def _failure(self, outcome: Failed[Any]) -> Failure:
        error = outcome.error
        reason = str(error)[:_MAX_REASON_CHARS]
        self._num_unreachable = self._num_unreachable + 1 if isinstance(error, UnreachableError) else 0
        if self._num_unreachable == _MAX_UNREACHABLE:
            self._stop_reason = "the origin does not answer"
        if isinstance(error, DiskFullError):
            self._stop_reason = "the disk is full"
            reason += f" ({self._describe_space()})"
        next_step = getattr(error, "next_step", TaskError.next_step)
        self._observer.note(f"failed: {reason}")
        if isinstance(error, UnexpectedError):
            # Nobody foresaw this, so that whoever reports it needs to know where it came from.
            self._observer.note(error.traceback)
        return Failure(outcome.task.name, reason, next_step, bool(self._stop_reason))
