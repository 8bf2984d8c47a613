"""The rules of the house that a program can check: what is long is split, what is a field is explained."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import pytest

import kconvert
from kconvert import errors
from kconvert.errors import KconvertError

PACKAGE = Path(kconvert.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FUNCTION_LINES = 40
MAX_CLASS_LINES = 150
MAX_ARGUMENTS = 5


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Everything of a kind in the package, with where it is."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}", node


def num_lines(node: ast.AST) -> int:
    start, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0)
    return int(end) - int(start) + 1


@pytest.mark.parametrize(("kind", "limit"), [(ast.FunctionDef, MAX_FUNCTION_LINES), (ast.ClassDef, MAX_CLASS_LINES)])
def test_nothing_is_too_long_to_be_read(kind: type[ast.AST], limit: int) -> None:
    found = [f"{where}: {num_lines(node)} lines" for where, node in nodes(kind) if num_lines(node) > limit]
    assert not found


def test_nothing_takes_more_arguments_than_a_reader_can_hold() -> None:
    found = []
    for where, node in nodes(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        if len([name for name in names if name not in ("self", "cls")]) > MAX_ARGUMENTS:
            found.append(f"{where}: {node.name}")
    assert not found


def is_record(node: ast.ClassDef) -> bool:
    is_dataclass = any("dataclass" in ast.dump(decorator) for decorator in node.decorator_list)
    return is_dataclass or any(ast.dump(base) == ast.dump(ast.Name("NamedTuple", ast.Load())) for base in node.bases)


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_every_field_is_explained() -> None:
    found = []
    num_fields = 0
    for where, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if not is_record(node):
            continue
        for statement, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
            if isinstance(statement, ast.AnnAssign):
                num_fields += 1
                if not is_text(after):
                    found.append(f"{where}: {node.name}.{ast.unparse(statement.target)}")
    assert num_fields > 400
    assert not found


def test_every_module_and_package_says_what_it_owns() -> None:
    found = [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not found


def test_no_package_catches_everything_but_where_that_is_said() -> None:
    """Each broad `except` is a place where somebody else must get the error, whatever it is."""
    broad = [
        where
        for where, node in nodes(ast.ExceptHandler)
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "Exception"
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    ]
    assert sorted({where.partition(":")[0] for where in broad}) == [
        "cli/commands.py",
        "engines/engine.py",
        "sources/fetch/ahead.py",
        "video/child.py",
    ]


PRIVATE = {
    "cli/arguments.py": {"parser._actions"},
    "cli/completion.py": {"parser._actions", "argparse._SubParsersAction"},
    "engines/local.py": {"forkserver._forkserver", "forkserver._forkserver._forkserver_pid"},
    "sources/fetch/connections.py": {"raw._fp"},
    "storage/file_systems.py": {"kind._get_kwargs_from_urls", "opened._session"},
    "storage/objects.py": {"self._fs._strip_protocol"},
}
"""What is used of other libraries that they do not promise; `test_private_interfaces` says what breaks without it."""


def test_what_libraries_do_not_promise_is_used_where_that_is_said() -> None:
    found: dict[str, set[str]] = {}
    for where, node in nodes(ast.Attribute):
        assert isinstance(node, ast.Attribute)
        owner = ast.unparse(node.value)
        is_ours = owner in ("self", "cls", "os", "others") or owner.startswith("super()")
        if node.attr.startswith("_") and not node.attr.startswith("__") and not is_ours:
            found.setdefault(where.partition(":")[0], set()).add(f"{owner}.{node.attr}")
    assert found == PRIVATE


def raised_by(node: ast.AST) -> Iterator[str]:
    """The classes that a function raises itself, by their names; not those that functions inside it do."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(inner, ast.Raise) and inner.exc is not None:
            name = ast.unparse(inner.exc.func if isinstance(inner.exc, ast.Call) else inner.exc)
            if name.rpartition(".")[2][0].isupper():
                yield name.rpartition(".")[2]
        yield from raised_by(inner)


def is_said(error: str, texts: str) -> bool:
    """Whether a docstring names an error, or one of the kinds that it is."""
    found = getattr(errors, error, None) or getattr(builtins, error, None)
    kinds = found.__mro__ if isinstance(found, type) else ()
    names = {error, *(kind.__name__ for kind in kinds if kind not in (KconvertError, Exception, BaseException, object))}
    return any(name in texts for name in names)


def test_whoever_raises_says_so() -> None:
    """Public functions, and methods of public classes, in their docstring, their class's, or that of the interface
    that they implement."""
    promised: dict[str, str] = {}
    owners: dict[str, ast.ClassDef] = {}
    for where, owner in nodes(ast.ClassDef):
        assert isinstance(owner, ast.ClassDef)
        for method in owner.body:
            if isinstance(method, ast.FunctionDef):
                promised[method.name] = promised.get(method.name, "") + (ast.get_docstring(method) or "")
                owners[f"{where.partition(':')[0]}:{method.lineno}"] = owner
    silent = []
    num_raising = 0
    for where, node in nodes(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        in_class = owners.get(where)
        is_private = node.name.startswith("_") and node.name != "__init__"
        if is_private or (in_class is not None and in_class.name.startswith("_")):
            continue
        texts = ast.get_docstring(node) or ""
        if in_class is not None:
            texts += (ast.get_docstring(in_class) or "") + (promised[node.name] if in_class.bases else "")
        raised = set(raised_by(node)) - {"NotImplementedError", "AssertionError"}
        num_raising += bool(raised)
        silent += [f"{where}: {node.name} raises {error}" for error in raised if not is_said(error, texts)]
    assert num_raising > 50
    assert not silent
