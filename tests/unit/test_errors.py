import errno
import inspect
import os
import pickle

import pytest

from kconvert import errors
from kconvert.errors import AnnotationError, DiskError, DiskFullError, KconvertError, Problem, describe_exit, disk_error

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, KconvertError)]


def make(kind: type[KconvertError]) -> KconvertError:
    if kind is AnnotationError:
        return kind("path", (Problem("line 1", "x", "y"),), "1 of 100 rows")
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    return kind(*(["text"] if names == ["args", "kwargs"] else [f"the {name}" for name in names]))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_the_way_between_processes(kind: type[KconvertError]) -> None:
    error = make(kind)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error) != ""
    assert vars(back) == vars(error)


def test_the_text_of_many_problems_is_bounded_but_none_is_lost() -> None:
    found = tuple(Problem(f"line {number}", "x", "y") for number in range(1000))
    error = AnnotationError("train.csv", found, "10 of 2,000 rows")
    assert "1,000 problem(s), of at most 10 of 2,000 rows (--max_malformed)" in str(error)
    assert "and 980 more" in str(error)
    assert error.problems == found


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (errno.ENOSPC, DiskFullError, "make space there"),
        (errno.EDQUOT, DiskFullError, "quota"),
        (errno.EROFS, DiskFullError, "make it writable"),
        (errno.EIO, DiskError, "system's log"),
        (errno.EMFILE, DiskError, "ulimit -n"),
        (errno.ENOTCONN, DiskError, ""),
    ],
)
def test_an_error_of_the_system_names_the_task_the_path_and_what_to_do(
    code: int, kind: type[DiskError], advice: str
) -> None:
    error = disk_error(OSError(code, os.strerror(code), "/out/x"), "part_0")
    assert type(error) is kind
    assert str(error).startswith(f"part_0: /out/x: {os.strerror(code)}")
    assert advice in str(error)
    assert str(disk_error(OSError(code, os.strerror(code)))).startswith("unknown file: ")


@pytest.mark.parametrize(("code", "said"), [(3, "exit code 3"), (-11, "SIGSEGV"), (-9, "SIGKILL"), (-40, "signal 40")])
def test_how_a_process_ended_is_told_in_words(code: int, said: str) -> None:
    assert describe_exit(code) == said
