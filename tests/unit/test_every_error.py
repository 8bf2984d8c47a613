"""Every error that a person may see, listed: what stands in its text, and that it says what to do.

`errors.txt` is the list, a message a line, found in the code. After a change of messages, `python
tests/unit/test_every_error.py` writes it anew; read what it says then.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kconvert
from kconvert import errors

SOURCE = Path(kconvert.__file__).parent
LIST = Path(__file__).with_name("errors.txt")
KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
KINDS["_AbsentError"] = errors.OriginError


def shown(node: ast.expr) -> str:
    """The text of an argument, with a name in braces for each value in it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(shown(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        names = [one.id for one in ast.walk(node.value) if isinstance(one, ast.Name)]
        attributes = [one.attr for one in ast.walk(node.value) if isinstance(one, ast.Attribute)]
        return f"{{{(attributes or names or ['value'])[0]}}}"
    if isinstance(node, ast.BinOp):
        return shown(node.left) + shown(node.right)
    if isinstance(node, ast.IfExp):
        return shown(node.body)
    names = [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
    return f"{{{names[-1] if names else 'value'}}}"


def raised() -> Iterator[tuple[str, str, str]]:
    """Where an error is made, of which kind, with which words."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            name = node.func.id
            text = " | ".join(shown(argument) for argument in node.args)
            if name in KINDS and name != "KconvertError":
                yield path.relative_to(SOURCE).as_posix(), name, text
            elif name == "ValueError" and text.startswith("--"):
                # Of an option: the command line says it as it is.
                yield path.relative_to(SOURCE).as_posix(), "UsageError", text


def listed() -> list[str]:
    return sorted({f"{where} {kind}: {text}" for where, kind, text in raised()})


def test_the_list_is_that_of_the_code() -> None:
    assert listed() == LIST.read_text().splitlines()


@pytest.mark.parametrize("line", LIST.read_text().splitlines())
def test_it_says_what_to_do(line: str) -> None:
    where, kind, text = re.fullmatch(r"(\S+) (\w+): (.*)", line).groups()  # type: ignore[union-attr]
    assert where
    found = KINDS[kind]
    if issubclass(found, errors.TaskError):
        # What to do is told once for all tasks that failed in this way.
        assert found.next_step
        return
    is_passed_on = text.rsplit(": ", 1)[-1] in ("{error}", "{str}", "{disk_error}", "{strerror}") or text.startswith(
        "{explained}"
    )
    says_what_to_do = "; " in text or "expected" in text or "advice" in text or "did you mean" in text
    assert is_passed_on or says_what_to_do or kind == "AnnotationError", text


def test_every_kind_of_failed_task_has_a_next_step_of_its_own_or_its_parents() -> None:
    kinds = [kind for kind in KINDS.values() if issubclass(kind, errors.TaskError)]
    assert len(kinds) > 8
    for kind in kinds:
        assert re.match(r"(run|check|look|mend|this is)", kind.next_step), kind


if __name__ == "__main__":
    LIST.write_text("".join(f"{line}\n" for line in listed()))
