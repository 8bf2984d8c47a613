"""Prints the packages, in their order, with the packages that each imports; modules that import each other are found,
also where they do so within a function."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "kconvert"
PACKAGES = ("cli", "conversion", "engines", "staging", "dataset", "sources", "video", "catalog", "storage", "columns")
"""From the top to the bottom."""


def main() -> int:
    modules = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
    imports = {name: set(imported(path, modules)) - {name} for name, path in modules.items()}
    below: dict[str, set[str]] = defaultdict(set)
    for name, others in imports.items():
        below[package_of(name)] |= {package_of(other) for other in others} - {package_of(name), ""}
    problems = [
        f"{name} imports {other}, which is above it"
        for name in PACKAGES
        for other in below[name]
        if other in PACKAGES and PACKAGES.index(other) < PACKAGES.index(name)
    ]
    for name in PACKAGES:
        num_files = sum(package_of(one) == name for one in modules)
        print(
            f"{name:11} {num_files:3} files  imports {', '.join(sorted(below[name], key=order)) or 'nothing of ours'}"
        )
    # A package's own file imports none of its modules, so that importing one imports no other.
    try:
        TopologicalSorter({name: others for name, others in imports.items() if name}).prepare()
        print(f"{len(modules)} modules, no cycle")
    except CycleError as error:
        problems.append(f"a cycle: {' -> '.join(error.args[1])}")
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


def name_of(path: Path) -> str:
    """The dotted name of a module below the package; `""` is the package itself."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def package_of(name: str) -> str:
    """The package that a module is in, or its own name where it is in none."""
    return name.partition(".")[0]


def order(name: str) -> tuple[int, str]:
    return (PACKAGES.index(name), name) if name in PACKAGES else (len(PACKAGES), name)


def imported(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """The modules of ours that a file imports, anywhere in it, but for type checkers alone."""
    tree = ast.parse(path.read_text("utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kconvert":
            package = (node.module or "").removeprefix("kconvert").lstrip(".")
            for alias in node.names:
                inner = f"{package}.{alias.name}".lstrip(".")
                yield inner if inner in modules else package
        elif isinstance(node, ast.Import):
            yield from (one.name.removeprefix("kconvert.") for one in node.names if one.name.startswith("kconvert."))


if __name__ == "__main__":
    sys.exit(main())
