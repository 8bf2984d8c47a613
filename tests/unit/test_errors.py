import inspect
import pickle

import pytest

from kconvert import errors
from kconvert.errors import AnnotationError, KconvertError, Problem

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, KconvertError)]


def make(kind: type[KconvertError]) -> KconvertError:
    if kind is AnnotationError:
        return kind("path", (Problem("line 1", "x", "y"),))
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
    error = AnnotationError("train.csv", found)
    assert "1,000 problem(s)" in str(error)
    assert "and 980 more" in str(error)
    assert error.problems == found
