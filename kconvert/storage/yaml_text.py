"""YAML: texts that are read, with the line of each key, and written. The owner of the library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_MAX_DEPTH = 20


class YamlTextError(ValueError):
    """A text is no YAML."""

    def __init__(self, problem: str, line: int | None) -> None:
        super().__init__(problem, line)
        self.problem = problem
        """In one line."""
        self.line = line
        """From 1; `None` if nobody knows."""

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True)
class YamlText:
    """A text that was read."""

    content: Any
    """Texts, numbers, lists and mappings; `None` if the text holds nothing."""
    node: yaml.Node | None
    """What it was made of; `None` if the text holds nothing."""

    def places(self) -> tuple[dict[str, int], list[tuple[str, int]]]:
        """The line where each key first stands, by its dotted name; and the keys that stand there once more, each with
        that line."""
        first: dict[str, int] = {}
        again = []
        for name, line in self.lines():
            if name in first:
                again.append((name, line))
            first.setdefault(name, line)
        return first, again

    def has_more_than(self, num: int) -> bool:
        """Whether it holds more values than that, with all that aliases repeat, or itself."""
        return _size(self.content, (), num) > num

    def lines(self) -> Iterator[tuple[str, int]]:
        """The line of each key, from 1, with its dotted name; entries of lists are named by their number, from 0. What
        is repeated by an alias is named once: it may hold itself."""
        return _lines(self.node, "", set()) if self.node is not None else iter(())


def read_yaml_text(text: str) -> YamlText:
    """Reads a text of one document. Raises `YamlTextError`."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return YamlText(loader.construct_document(node) if node is not None else None, node)
    # All but the first of values that are written as numbers or times, and are none, and of endless nesting.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise YamlTextError(problem, None if mark is None else mark.line + 1) from error


def to_yaml_text(content: Any) -> str:
    """A mapping as YAML, its keys in their order."""
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return text


def _size(value: object, above: tuple[int, ...], most: int) -> int:
    """How many values a value holds, as far as they are no more than that."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) in above or len(above) > _MAX_DEPTH:
        return most + 1
    total = 1
    for inner in value.values() if isinstance(value, dict) else value:
        total += _size(inner, (*above, id(value)), most)
        if total > most:
            break
    return total


def _lines(node: yaml.Node, above: str, seen: set[int]) -> Iterator[tuple[str, int]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{above}{key.value}"
            yield name, key.start_mark.line + 1
            yield from _lines(value, f"{name}.", seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield f"{above}{number}", value.start_mark.line + 1
            yield from _lines(value, f"{above}{number}.", seen)
