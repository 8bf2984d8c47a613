"""Arguments: the words of the command line and the content of YAML files, turned into options.

What stands on the command line counts more than what a `--config` file says, wherever that stands among the words.
Whatever is wrong is a `UsageError` of one line, in the words of a person.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings
from jsonargparse.typing import register_type

from kconvert.config import Conversion, did_you_mean
from kconvert.errors import UsageError
from kconvert.release import RELEASE_NAMES
from kconvert.units import ByteSize

_GROUPS = [field.name for field in dataclasses.fields(Conversion) if field.default_factory is not dataclasses.MISSING]
_OVERWRITE_HELP = (
    "Start again: removes everything that kconvert made in the folder, all splits of it, once nothing can be refused "
    "any more. Without it a folder that was made with other options is refused, with the differences."
)
_TYPE_WORDS = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}

register_type(ByteSize, serializer=str, deserializer=ByteSize.parse, fail_already_registered=False)
set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of the epilog as they are."""


class Parser(ArgumentParser):
    """A parser whose errors are ours."""

    def __init__(self, prog: str, description: str, **options: Any) -> None:
        strict = {"exit_on_error": True, "allow_abbrev": False, "default_env": False}
        super().__init__(prog=prog, description=description, **{**strict, **options})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `UsageError`."""
        line = " ".join(str(message).split())
        explained = next((said for explain in _EXPLANATIONS if (said := explain(line, self))), line)
        raise UsageError(f"{explained}; `{self.prog} --help` lists the options")


def conversion_parser(prog: str, description: str, epilog: str = "") -> Parser:
    """A parser of the options of a conversion."""
    parser = Parser(
        prog,
        description,
        usage=f"{prog} {{{','.join(RELEASE_NAMES)}}} --out DIR [options]",
        epilog=epilog,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="Take options from a YAML file.")
    _add_output_options(parser)
    parser.add_class_arguments(Conversion, skip={"overwrite"})
    parser.add_argument("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    return parser


def folder_parser(prog: str, description: str, has_progress: bool = False) -> Parser:
    """A parser of the name of an output folder."""
    parser = Parser(prog, description)
    parser.add_argument("dir", type=str, help="The folder that a conversion wrote to.")
    if has_progress:
        _add_output_options(parser)
    else:
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    return parser


def batch_parser() -> Parser:
    """A parser of the name of a batch file."""
    parser = Parser("kconvert batch", "Several conversions, one after the other.")
    parser.add_argument("file", type=str, help="YAML: a list `conversions`, and perhaps `defaults` for all of them.")
    _add_output_options(parser)
    return parser


def _add_output_options(parser: Parser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="Print the result as JSON, and the progress as an object of JSON a line."
    )
    parser.add_argument("--quiet", action="store_true", help="Print no progress, only the result and errors.")


@dataclass(frozen=True)
class Output:
    """How results and progress are printed."""

    is_json: bool
    is_quiet: bool


def output_of(options: Namespace) -> Output:
    """How those options ask for results and progress to be printed."""
    return Output(bool(options.json), bool(options.quiet))


def parse_conversion(parser: Parser, words: list[str]) -> tuple[Conversion, Output]:
    """The conversion that the words ask for, and how it is told of. Raises `UsageError`.

    The release may stand first, as a word of its own.
    """
    configs, others = _without_configs(words)
    release = [f"--release={others.pop(0)}"] if others and not others[0].startswith("-") else []
    given = Counter(word.partition("=")[0] for word in others if word.startswith("--"))
    if twice := sorted(word for word, times in given.items() if times > 1):
        raise UsageError(f"{', '.join(twice)}: given twice; several splits or labels are separated by commas")
    try:
        options = parser.parse_args([*configs, *others, *release])
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{' '.join(configs)}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    return _instantiate(parser, options), output_of(options)


def _without_configs(words: list[str]) -> tuple[list[str], list[str]]:
    """The `--config FILE` among the words, which are to be read first, and the other words."""
    configs: list[str] = []
    others: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--config":
            configs += [word, *([value] if (value := next(remaining, None)) is not None else [])]
        else:
            (configs if word.startswith("--config=") else others).append(word)
    return configs, others


def _instantiate(parser: Parser, options: Namespace) -> Conversion:
    """Raises `UsageError` for values that are well-formed but make no sense."""
    for name in _GROUPS:
        if not isinstance(options[name], Namespace | dict):
            got = "nothing" if options[name] is None else repr(options[name])[:60]
            raise UsageError(f"{name}: got {got}, expected options below it; leave it out to have the defaults")
    try:
        made = parser.instantiate(options)
        return Conversion(**{field.name: made[field.name] for field in dataclasses.fields(Conversion)})
    except ValueError as error:
        raise UsageError(str(error)) from error


def read_batch(path: Path) -> list[Conversion]:
    """The conversions of a batch file. Raises `UsageError` if any of them is wrong."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}); correct it") from error
    entries = content.get("conversions") if isinstance(content, dict) else None
    defaults = content.get("defaults") or {} if isinstance(content, dict) else {}
    if not isinstance(entries, list) or not entries or not isinstance(defaults, dict):
        raise UsageError(f"{path}: expected a list `conversions`, each entry with the options of one conversion")
    if unknown := sorted(set(content) - {"conversions", "defaults"}, key=str):
        raise UsageError(f"{path}: unknown {_listed(unknown)}, expected `conversions` and perhaps `defaults`")
    conversions = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or {"config", "json", "quiet"} & set(entry):
            raise UsageError(f"{path}: conversion {number}: got {entry!r}, expected options with their values")
        parser = conversion_parser("kconvert", "")
        try:
            conversion = _instantiate(parser, parser.parse_object(_merged(defaults, entry)))
            conversion.require_known_words()
            conversions.append(conversion)
        except UsageError as error:
            raise UsageError(f"{path}: conversion {number}: {error}") from error
    if len({conversion.out_path for conversion in conversions}) < len(conversions):
        raise UsageError(f"{path}: two conversions write to the same folder; give each an `out` of its own")
    return conversions


def _merged(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The defaults, and over them the entry, group by group."""
    merged = dict(defaults)
    for name, value in entry.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _listed(words: Iterable[object]) -> str:
    return ", ".join(repr(word) for word in words)


def _explain_choice(line: str, parser: Parser) -> str:
    found = re.search(r'Parser key "([^"]+)": Expected a typing\.Literal\[(.*?)\]\.? .*value: (.*)$', line)
    return f"--{found[1]}: got {found[3]!r}, expected one of {found[2]}" if found else ""


def _explain_type(line: str, parser: Parser) -> str:
    found = re.search(r'Parser key "([^"]+)": (.*) (?:Got|Given) value: (.*)$', line)
    types = [word for kind, word in _TYPE_WORDS.items() if found and kind in found[2]]
    return f"--{found[1]}: got {found[3]!r}, expected {' or '.join(types)}" if found and types else ""


def _explain_group(line: str, parser: Parser) -> str:
    found = re.search(r'Parser key "([^"]+)": Unable to load config', line)
    return f"--{found[1]}: expected a YAML file, or say --{found[1]}.OPTION VALUE" if found else ""


def _explain_missing(line: str, parser: Parser) -> str:
    found = re.fullmatch(r"the following arguments are required: (.*)", line)
    if not found:
        return ""
    words = {"release": f"a release ({', '.join(RELEASE_NAMES)}) as the first word", "out": "--out DIR"}
    return "missing " + " and ".join(words.get(name, name) for name in found[1].split(", "))


def _explain_unknown(line: str, parser: Parser) -> str:
    found = re.fullmatch(r"unrecognized arguments: (\S+).*", line)
    if not found:
        return ""
    if found[1] in RELEASE_NAMES:
        return f"the release {found[1]} has to be the first word"
    options = [option for action in parser._actions for option in action.option_strings]
    hint = did_you_mean(found[1].replace("-", "_").replace("__", "--", 1), options)
    return f"unknown {found[1]!r}{f', {hint}' if hint else ''}"


_EXPLANATIONS: tuple[Callable[[str, Parser], str], ...] = (
    _explain_choice,
    _explain_type,
    _explain_group,
    _explain_missing,
    _explain_unknown,
)
