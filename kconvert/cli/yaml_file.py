"""A YAML file of options, read with the line of each, so that what is wrong with one is reported with its line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kconvert.errors import UsageError
from kconvert.storage.yaml_text import YamlTextError, read_yaml_text
from kconvert.text import did_you_mean

_MAX_VALUES = 10_000


@dataclass(frozen=True)
class YamlFile:
    """The content of a file, which is a mapping."""

    path: Path
    """The file."""
    content: Mapping[str, Any]
    """As YAML has it: texts, numbers, lists and mappings."""
    lines: Mapping[str, int]
    """The line of each key, from 1, by its dotted name; entries of lists are named by their number, from 0."""

    def where(self, name: str) -> str:
        """Where a key stands, as a person says it."""
        return f"{self.path}, line {self.lines[name]}" if name in self.lines else str(self.path)

    def require_flags(self, names: Collection[str]) -> None:
        """Raises `UsageError` at the first of these keys whose value is neither true nor false."""
        for name in names:
            if not isinstance(self.content.get(name, False), bool):
                raise UsageError(f"{self.where(name)}: {name}: got {self.content[name]!r}, expected true or false")

    def require_known(self, known: Collection[str], below: str = "") -> None:
        """Raises `UsageError` at the first key, of those below a dotted name, that is not among the known ones."""
        for name in self.lines:
            if not name.startswith(below):
                continue
            option = name.removeprefix(below)
            if option in known or any(option.startswith(f"{one}.") and _is_free(one, known) for one in known):
                continue
            hint = did_you_mean(option, known)
            raise UsageError(f"{self.where(name)}: unknown option {option!r}; {hint or '`kconvert --help` lists them'}")


def read_yaml(path: Path) -> YamlFile:
    """Reads a file. Raises `UsageError` if it is not there, is not UTF-8, is not YAML, or is no mapping."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is no file; expected a YAML file of options, which is read more than once")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); expected a YAML file of options") from error
    try:
        document = read_yaml_text(text)
    except YamlTextError as error:
        where = "" if error.line is None else f", line {error.line}"
        raise UsageError(f"{path}{where}: is no YAML ({error.problem}); correct it") from error
    content = {} if document.content is None else document.content
    if not isinstance(content, dict):
        got = "a list" if isinstance(content, list) else repr(content)[:60]
        raise UsageError(f"{path}: got {got}, expected options, as `workers: 4` a line")
    if document.has_more_than(_MAX_VALUES):
        raise UsageError(f"{path}: holds itself, or more than {_MAX_VALUES:,} values; write it without aliases")
    lines, again = document.places()
    for name, line in again:
        raise UsageError(f"{path}, line {line}: {name} stands there twice (line {lines[name]}); remove one of them")
    return YamlFile(path, content, lines)


def _is_free(name: str, known: Collection[str]) -> bool:
    """Whether an option takes a value of any content: no option stands below it."""
    return not any(other.startswith(f"{name}.") for other in known)
