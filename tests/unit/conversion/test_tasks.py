"""Running the tasks of a split: on an engine that does them one after the other, here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from kconvert.conversion.tasks import FailedTasksError, Failure, Tasks
from kconvert.engines.engine import Outcome, Prelude, R, T, Work, attempt
from kconvert.errors import ArchiveError, DiskFullError, KconvertError, UnreachableError
from kconvert.events import Emit, Silent, Step

STEP = Step("train", "reading", "train: reading archives", None)


@dataclass(frozen=True)
class Archive:
    name: str
    error: KconvertError | Exception | None = None


def read(task: Archive, emit: Emit) -> str:
    if task.error is not None:
        raise task.error
    return task.name


class Here:
    """An engine."""

    is_here = True

    def prepare(self, prelude: Prelude) -> None: ...

    def run(self, work: Work[T, R], tasks: Iterable[T], emit: Emit) -> Iterator[Outcome[T, R]]:
        return (attempt(work, task, emit) for task in tasks)

    def close(self) -> None: ...


class Watching(Silent):
    """An observer."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[str] = []
        self.ended: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task_begins(self, name: str) -> None:
        self.begun.append(name)

    def task_ends(self, name: str) -> None:
        self.ended.append(name)


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def tasks(watching: Watching) -> Tasks:
    return Tasks(Here(), watching, "train", lambda: "12 GB are free")


def failures(tasks: Tasks, archives: list[Archive]) -> list[Failure]:
    with pytest.raises(FailedTasksError) as caught:
        tasks.run(STEP, read, archives)
    return list(caught.value.failures)


def test_a_step_of_which_nothing_fails_ends_in_silence(tasks: Tasks, watching: Watching) -> None:
    tasks.run(STEP, read, [Archive("a"), Archive("b")])
    assert watching.begun == watching.ended == ["a", "b"]
    assert watching.notes == []


def test_what_fails_is_said_at_once_and_the_others_are_done(tasks: Tasks, watching: Watching) -> None:
    heard: list[tuple[str, int]] = []

    def on_failure(failure: Failure) -> None:
        heard.append((failure.task, len(watching.ended)))

    archives = [Archive("a"), Archive("b", ArchiveError("b", "was cut")), Archive("c")]
    with pytest.raises(FailedTasksError):
        tasks.run(STEP, read, archives, on_failure)
    assert heard == [("b", 2)]
    assert watching.ended == ["a", "b", "c"]
    assert watching.notes == ["failed: b: was cut"]


def test_a_failure_has_its_reason_and_what_a_person_does(tasks: Tasks) -> None:
    (found,) = failures(tasks, [Archive("b", ArchiveError("b", "was cut"))])
    assert found == Failure("b", "b: was cut", ArchiveError.next_step)


def test_a_full_disk_ends_the_step_and_says_what_is_needed(tasks: Tasks, watching: Watching) -> None:
    (found,) = failures(tasks, [Archive("a", DiskFullError("/data: no space")), Archive("b"), Archive("c")])
    assert (found.reason, found.stops_run) == ("/data: no space (12 GB are free)", True)
    assert watching.begun == ["a"]
    assert watching.notes[-1] == "train: stopped, as the disk is full; the next run resumes there"


def test_five_archives_in_a_row_that_nobody_answers_for_end_the_step(tasks: Tasks, watching: Watching) -> None:
    def absent(name: str) -> Archive:
        return Archive(name, UnreachableError(name, "Connection refused"))

    found = failures(tasks, [absent("a"), absent("b"), Archive("c"), *map(absent, "defgh"), Archive("i")])
    assert [failure.stops_run for failure in found] == [False] * 6 + [True]
    assert watching.begun == list("abcdefgh")


def test_what_nobody_foresaw_is_said_with_its_traceback(tasks: Tasks, watching: Watching) -> None:
    (found,) = failures(tasks, [Archive("a", ZeroDivisionError("division by zero"))])
    assert found.reason == "a: ZeroDivisionError: division by zero"
    assert "Traceback" in watching.notes[1]


def test_a_reason_without_end_is_cut(tasks: Tasks) -> None:
    (found,) = failures(tasks, [Archive("a", ArchiveError("a", "x" * 100_000))])
    assert len(found.reason) == 4000
