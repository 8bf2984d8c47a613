"""Arguments: the words of the command line and the content of YAML files, turned into options.

What stands on the command line counts more than what a `--config` file says, wherever that stands among the words.
Whatever is wrong is a `UsageError` of one line, in the words of a person.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import re
import shlex
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings
from jsonargparse.typing import register_type

from kconvert.catalog.release import OFFICIAL_BASE
from kconvert.catalog.shelf import RELEASE_NAMES, is_release, load_release, meant_release
from kconvert.cli.yaml_file import YamlFile, read_yaml
from kconvert.conversion.config import Conversion, ignored_groups, require_known_words
from kconvert.dataset.manifest import FORMAT_NAMES
from kconvert.errors import UsageError
from kconvert.text import closest, did_you_mean
from kconvert.units import ByteSize
from kconvert.video.encoding.options import AudioTrack

_FIELDS = dataclasses.fields(Conversion)
_GROUPS = [field.name for field in _FIELDS if field.default_factory is not dataclasses.MISSING]
_TRACKS = typing.get_args(AudioTrack)
_FLAGS = ("overwrite", "members", "json", "quiet")
_OVERWRITE_HELP = (
    "Start again: removes everything that kconvert made in the folder, all splits of it, once nothing can be refused "
    "any more. Without it a folder that was made with other options is refused, with the differences."
)
_WITH_HELP = (
    "Further official annotations, separated by commas, joined with the clips: ava (AVA-Kinetics), countix; both of "
    "k700-2020. A finished folder gets their tables, and keeps its shards."
)
_MEMBERS_HELP = (
    "Samples have the annotations of --with themselves, too: as members KEY.ava.json and KEY.countix.json, or as "
    "columns. It decides bytes, so that a finished folder cannot get them."
)
_TYPE_WORDS = {
    "dict[str, str]": "names with values that are texts, as '{account: mine, nodes: \"2\"}'",
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "list[str]": "a list of texts",
}

register_type(ByteSize, serializer=str, deserializer=ByteSize.parse, fail_already_registered=False)
set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of the epilog as they are."""


class Parser(ArgumentParser):
    """A parser whose errors are ours."""

    def __init__(self, prog: str, description: str, **options: Any) -> None:
        strict = {"exit_on_error": True, "allow_abbrev": False, "default_env": False}
        super().__init__(prog=prog, description=description, **{**strict, **options})
        self.typed: list[str] = []
        """The words as a person typed them."""

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Any:
        self.typed = self.typed or list(args or [])
        return super().parse_args(args, *more, **options)

    def corrected(self, word: str, *instead: str) -> str:
        """The command as it was typed, with other words in the place of one."""
        index = self.typed.index(word)
        return shlex.join([*self.prog.split(), *self.typed[:index], *instead, *self.typed[index + 1 :]])

    def option_names(self) -> frozenset[str]:
        """The options that a file may hold, by their dotted names."""
        names = {action.dest for action in self._actions if action.option_strings}
        return frozenset(names - {"help", "config", "print_config", "version", argparse.SUPPRESS})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises `UsageError`."""
        line = " ".join(str(message).split())
        explained = next((said for explain in _EXPLANATIONS if (said := explain(line, self))), line)
        raise UsageError(f"{explained}{'' if explained.endswith('?') else ';'} `{self.prog} --help` lists the options")


def conversion_parser(prog: str, description: str, epilog: str = "") -> Parser:
    """A parser of the options of a conversion."""
    parser = Parser(
        prog,
        description,
        usage=f"{prog} {{{','.join(RELEASE_NAMES)}}} [options]",
        epilog=epilog,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--config", action="config", help="Take options from a YAML file.")
    _add_output_options(parser)
    parser.add_class_arguments(Conversion, skip={"overwrite", "supplements", "members"})
    # A word that no field of Python can be called by.
    parser.add_argument("--with", type=list[str] | str | None, default=None, help=_WITH_HELP)
    parser.add_argument("--members", action="store_true", help=_MEMBERS_HELP)
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


def overlap_parser() -> Parser:
    """A parser of the names of clip lists."""
    parser = Parser("kconvert overlap", "Which clips splits share: by video, with a time in common, with equal times.")
    about = "RELEASE:SPLIT, RELEASE for all its splits, or NAME=FILE. Default: all releases."
    parser.add_argument("lists", type=str, nargs="*", help=about)
    about = "Where the annotations come from: as for a conversion. What it does not have is the official server's."
    usual = usual_config()
    origin = OFFICIAL_BASE if usual is None else _usual_options(usual).get("origin", OFFICIAL_BASE)
    parser.add_argument("--origin", type=str, default=origin, help=about)
    about = "Write all pairs of clips of one video to this csv file."
    parser.add_argument("--list", type=str | None, default=None, help=about)
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
    """Whether a program reads them."""
    is_quiet: bool
    """Whether no progress is printed."""
    config: Path | None = None
    """The file of options that was read although nobody named it."""


def output_of(options: Namespace, config: Path | None = None) -> Output:
    """How those options ask for results and progress to be printed."""
    return Output(bool(options.json), bool(options.quiet), config)


def parse_conversion(parser: Parser, words: list[str]) -> tuple[Conversion, Output]:
    """The conversion that the words ask for, and how it is reported. Raises `UsageError`.

    The release may stand first, as a word of its own. A file of options that is always read (see `usual_config`) counts
    less than those that the words name, and these less than the words themselves.
    """
    parser.typed = words
    configs, others = _without_configs(_with_tracks(words))
    release = [f"--release={_release(parser, others.pop(0))}"] if others and not others[0].startswith("-") else []
    given = Counter(word.partition("=")[0] for word in others if word.startswith("--"))
    if release and "--release" in given:
        given["--release"] += 1
    if twice := sorted(word for word, times in given.items() if times > 1):
        raise UsageError(f"{', '.join(twice)}: given twice; give it once, several splits or labels with commas")
    usual = usual_config()
    files = _read_files(parser, [*([] if usual is None else [usual]), *map(Path, configs)])
    if usual is not None and files and files[0].path == usual and files[0].content.get("overwrite"):
        raise UsageError(
            f"{files[0].where('overwrite')}: --overwrite is not for a file that is always read; give it where it is due"
        )
    known = parser.option_names()
    for group, name in _group_files(others):
        read_yaml(Path(name)).require_known({one.removeprefix(f"{group}.") for one in known})
    try:
        options = parser.parse_args([*(f"--config={file.path}" for file in files), *others, *release])
        conversion = _instantiate(parser, options)
        # What a file says that is always read is there for the runs that it is for.
        named = [*others, *(f"--{name}" for file in files if file.path != usual for name in file.lines)]
        for group in ignored_groups(conversion):
            if not any(word.startswith(f"--{group}") for word in named):
                conversion = conversion.without(group)
        require_known_words(conversion)
        _ = conversion.out_path, conversion.origin_location
    except UsageError as error:
        name = str(error).removeprefix("--").partition(":")[0].partition(" ")[0]
        holder = next((file for file in reversed(files) if name in file.lines), None)
        if holder is None or f"--{name}" in given:
            raise
        raise UsageError(f"{holder.where(name)}: {error}") from error
    return conversion, output_of(options, usual)


def _read_files(parser: Parser, paths: Iterable[Path]) -> list[YamlFile]:
    """The files of options that say something. Raises `UsageError` for what can be seen to be wrong in them."""
    # One that holds nothing yet says nothing.
    files = [file for file in map(read_yaml, paths) if file.content]
    for file in files:
        file.require_known(parser.option_names())
        file.require_flags(_FLAGS)
        for name in _GROUPS:
            if name in file.content and file.content[name] is None:
                raise UsageError(
                    f"{file.where(name)}: --{name}: got nothing, expected options below it; leave it out to have the "
                    "defaults"
                )
    return files


def _release(parser: Parser, word: str) -> str:
    """The release that is the first word. Raises `UsageError`, with what was probably meant."""
    if is_release(word):
        return word
    meant = meant_release(word) or next(iter(closest(word, RELEASE_NAMES)), None)
    hint = f"did you mean `{parser.corrected(word, meant)}`?" if meant else "`kconvert releases` lists them"
    raise UsageError(
        f"{word!r} is no release, expected one of {', '.join(RELEASE_NAMES)}, or a file, as my.yaml; {hint}"
    )


def usual_config() -> Path | None:
    """The file of options that is read first, if there is one: of this folder, or else of this user."""
    candidates = [Path("kconvert.yaml")]
    # Some users have no home.
    with suppress(RuntimeError):
        candidates.append(Path.home() / ".config/kconvert/config.yaml")
    return next((path for path in candidates if path.is_file()), None)


def _without_configs(words: list[str]) -> tuple[list[str], list[str]]:
    """The files of `--config FILE` among the words, which are to be read first, and the other words."""
    configs: list[str] = []
    others: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--config":
            value = next(remaining, None)
            if value is None:
                raise UsageError("--config: expected a YAML file after it")
            configs.append(value)
        elif word.startswith("--config="):
            configs.append(word.removeprefix("--config="))
        else:
            others.append(word)
    return configs, others


def _with_tracks(words: list[str]) -> list[str]:
    """The words, in which `--audio keep` is the option of its group that it means."""
    found: list[str] = []
    for word in words:
        if found and found[-1] == "--audio" and word in _TRACKS:
            found[-1] = "--audio.track"
        name, _, value = word.partition("=")
        found.append(f"--audio.track={value}" if name == "--audio" and value in _TRACKS else word)
    return found


def _group_files(words: list[str]) -> list[tuple[str, str]]:
    """The groups of options that are given as a file of their own, with its name."""
    pairs = list(itertools.pairwise(words))
    pairs += [(word.partition("=")[0], word.partition("=")[2]) for word in words if "=" in word]
    return [(group, name) for group in _GROUPS for word, name in pairs if word == f"--{group}" and Path(name).is_file()]


def _instantiate(parser: Parser, options: Namespace) -> Conversion:
    """Raises `UsageError` for values that are well-formed but make no sense."""
    for name in _GROUPS:
        if not isinstance(options[name], Namespace | dict):
            got = "nothing" if options[name] is None else repr(options[name])[:60]
            raise UsageError(f"--{name}: got {got}, expected options below it; leave it out to have the defaults")
    for name in _NEVER_NOTHING:
        if options[name] is None:
            raise UsageError(f"--{name}: got nothing, expected a value; leave it out to have the default")
    try:
        made = parser.instantiate(options)
        names = {field.name: "with" if field.name == "supplements" else field.name for field in _FIELDS}
        return Conversion(**{name: made[option] for name, option in names.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _required_values() -> Iterator[str]:
    """The options that always have a value, by their dotted names: those whose type has no `None`."""
    defaults = Conversion("k400")
    groups = {name: type(getattr(defaults, name)) for name in _GROUPS}
    for above, kind in {"": Conversion, **groups}.items():
        for name, hint in typing.get_type_hints(kind).items():
            if (
                name not in groups
                and name not in ("overwrite", "members", "supplements")
                and type(None) not in typing.get_args(hint)
            ):
                yield f"{above}.{name}".lstrip(".")


_NEVER_NOTHING = tuple(_required_values())


def read_batch(path: Path) -> list[Conversion]:
    """The conversions of a batch file, over the file of options that is always read. Raises `UsageError` if any of them
    is wrong."""
    file = read_yaml(path)
    content = file.content
    usual_path = usual_config()
    usual = _usual_options(usual_path) if usual_path is not None else {}
    if unknown := sorted(set(content) - {"conversions", "defaults"}, key=str):
        hint = did_you_mean(str(unknown[0]), ["conversions", "defaults"])
        raise UsageError(
            f"{file.where(str(unknown[0]))}: unknown {_listed(unknown)}, expected `conversions` and perhaps `defaults`"
            f"{f'; {hint}' if hint else ''}"
        )
    entries, defaults = content.get("conversions"), content.get("defaults") or {}
    if not isinstance(entries, list) or not entries or not isinstance(defaults, dict):
        raise UsageError(f"{path}: expected a list `conversions`, each entry with the options of one conversion")
    parser = conversion_parser("kconvert", "")
    known = parser.option_names() - {"json", "quiet"}
    if not all(isinstance(entry, dict) for entry in entries):
        odd = next(number for number, entry in enumerate(entries) if not isinstance(entry, dict))
        raise UsageError(
            f"{file.where(f'conversions.{odd}')}: conversion {odd + 1}: got {entries[odd]!r}, expected options with "
            "their values"
        )
    file.require_known(known, "defaults.")
    for number in range(len(entries)):
        file.require_known(known, f"conversions.{number}.")
    given = [_merged(defaults, entry) for entry in entries]
    for options in given:
        if not isinstance(options.get("overwrite", False), bool):
            raise UsageError(f"{path}: overwrite: got {options['overwrite']!r}, expected true or false")
    conversions = [_entry(file, number, usual, options) for number, options in enumerate(given)]
    if len({conversion.out_path for conversion in conversions}) < len(conversions):
        raise UsageError(f"{path}: two conversions write to the same folder; give each an `out` of its own")
    return conversions


def _usual_options(path: Path) -> dict[str, Any]:
    """What the file that is always read says for every conversion."""
    file = read_yaml(path)
    parser = conversion_parser("kconvert", "")
    file.require_known(parser.option_names())
    file.require_flags(_FLAGS)
    # Which release, and where to, is for each conversion to say.
    return {name: value for name, value in file.content.items() if name not in {"release", "out", *_FLAGS}}


def _entry(file: YamlFile, number: int, usual: dict[str, Any], options: dict[str, Any]) -> Conversion:
    """One conversion of a batch file."""
    parser = conversion_parser("kconvert", "")
    try:
        conversion = _instantiate(parser, parser.parse_object(_merged(usual, _beside(file.path, options))))
        for group in ignored_groups(conversion):
            if group not in options:
                conversion = conversion.without(group)
        require_known_words(conversion)
        _ = conversion.out_path, conversion.origin_location
        return conversion
    except UsageError as error:
        name = str(error).removeprefix("--").partition(":")[0].partition(" ")[0]
        keys = (f"conversions.{number}.{name}", f"defaults.{name}", f"conversions.{number}")
        where = file.where(next((key for key in keys if key in file.lines), ""))
        raise UsageError(f"{where}: conversion {number + 1}: {error}") from error


def _beside(batch: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The same with the file of a release that stands beside the file of the batch, where it is named so."""
    release = options.get("release")
    if isinstance(release, str) and release not in RELEASE_NAMES and (batch.parent / release).is_file():
        return {**options, "release": str(batch.parent / release)}
    return options


def _merged(defaults: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """The defaults, and over them the entry, group by group."""
    merged = dict(defaults)
    for name, value in entry.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _listed(words: Iterable[object]) -> str:
    return ", ".join(repr(word) for word in words)


def _explain_type(line: str, parser: Parser) -> str:
    """Of a value that is of another type than its option's."""
    found = re.search(r'Parser key "([^"]+)": (?!Not of type|Unable)(.*)(?:Got|Given) value:\s?(.*)$', line)
    if not found:
        return ""
    name, wanted, value = found[1], re.sub(r"Given value type: <class '\w+'>", "", found[2]), found[3]
    if choices := re.search(r"typing\.Literal\[(.*?)\]", wanted):
        hint = did_you_mean(value, re.findall("'([^']+)'", choices[1]))
        return f"--{name}: got {value!r}, expected one of {choices[1]}{f', {hint}' if hint else ''}"
    types = [word for kind, word in _TYPE_WORDS.items() if kind in wanted]
    return f"--{name}: got {value!r}, expected {' or '.join(types[:1]) or 'another kind of value'}"


def _explain_size(line: str, parser: Parser) -> str:
    found = re.search(r'Parser key "([^"]+)": Not of type ByteSize: size (.*?): (expected .*)$', line)
    return f"--{found[1]}: got {found[2]}, {found[3]}" if found else ""


def _explain_value(line: str, parser: Parser) -> str:
    found = re.fullmatch(r"argument (--\S+): expected one argument", line)
    return f"{found[1]}: expected a value after it" if found else ""


def _explain_group(line: str, parser: Parser) -> str:
    if found := re.search(r'Parser key "([^"]+)": Unable to load config', line):
        if found[1] == "audio":
            return f"--audio: expected {', '.join(_TRACKS)}, or a YAML file; in a file `audio: {{track: {_TRACKS[0]}}}`"
        return f"--{found[1]}: expected a YAML file, or say --{found[1]}.OPTION VALUE"
    if found := re.match(r"Group '([^']+)' does not accept option '([^']+)'", line):
        hint = did_you_mean(f"{found[1]}.{found[2]}", parser.option_names())
        return f"--{found[1]}: unknown option {found[2]!r}{f', {hint}' if hint else ''}"
    if found := re.match(r"argument (\S+?)(?:/\S+)?: ignored explicit argument", line):
        return f"{found[1]} takes no value"
    return ""


def _explain_missing(line: str, parser: Parser) -> str:
    found = re.fullmatch(r"the following arguments are required: (.*)", line)
    if not found:
        return ""
    words = {
        "release": f"a release ({', '.join(RELEASE_NAMES)}) as the first word",
        "dir": "DIR, the folder that a conversion wrote to",
        "file": "FILE, the YAML file of the batch",
    }
    return "missing " + " and ".join(words.get(name, name) for name in found[1].split(", "))


def _explain_unknown(line: str, parser: Parser) -> str:
    found = re.fullmatch(r"unrecognized arguments:(?: (\S+).*)?", line)
    if not found:
        return ""
    word = found[1]
    if word is None:
        return "an empty word, expected nothing after what was given"
    if not word.startswith("-"):
        return _explain_stray(word, parser)
    if meant := _OTHER_NAMES.get(word.partition("=")[0].lstrip("-").replace("_", "-")):
        return f"unknown {word!r}, did you mean {meant}?"
    options = [option for action in parser._actions for option in action.option_strings]
    hint = did_you_mean(word.partition("=")[0].replace("-", "_").replace("__", "--", 1), options)
    return f"unknown {word!r}{f', {hint}' if hint else ''}"


def _explain_stray(word: str, parser: Parser) -> str:
    """Of a word that is no option, and no value of one."""
    if not any(action.dest == "release" for action in parser._actions):
        return f"unknown {word!r}, expected nothing after what was given"
    before = parser.typed[parser.typed.index(word) - 1] if word in parser.typed[1:] else ""
    if any(action.nargs == 0 and before in action.option_strings for action in parser._actions):
        return f"unknown {word!r}: {before} takes no value"
    if word in RELEASE_NAMES and before in RELEASE_NAMES:
        return f"unknown {word!r}: one release at a time; `kconvert batch` does several"
    splits = {split for name in RELEASE_NAMES for split in load_release(name).splits}
    if word in splits and before in splits:
        return f"unknown {word!r}, did you mean `--split {before},{word}`?"
    if word in RELEASE_NAMES:
        others = [one for one in parser.typed if one != word]
        return f"the release {word} has to be the first word: `{shlex.join([*parser.prog.split(), word, *others])}`"
    option = "--to" if word in FORMAT_NAMES else "--out"
    return f"unknown {word!r}, did you mean `{parser.corrected(word, option, word)}`?"


_OTHER_NAMES = {
    "dry-run": "`kconvert plan`",
    "n": "`kconvert plan`",
    "resume": "the same command without it: running again resumes",
    "continue": "the same command without it: running again resumes",
    "force": "'--overwrite'",
    "f": "'--overwrite'",
    "format": "'--to'",
    "output-format": "'--to'",
    "o": "'--out'",
    "output-dir": "'--out'",
    "dest": "'--out'",
    "source": "'--origin'",
    "mirror": "'--origin'",
    "url": "'--origin'",
    "j": "'--workers'",
    "jobs": "'--workers'",
    "num-workers": "'--workers'",
    "processes": "'--workers'",
    "seed": "'--shuffle.seed'",
    "tmp-dir": "'--staging'",
    "labels": "'--classes'",
    "verbose": "nothing: progress is shown unless --quiet is given",
    "v": "nothing: progress is shown unless --quiet is given",
}
"""What other programs call ours."""
_EXPLANATIONS: tuple[Callable[[str, Parser], str], ...] = (
    _explain_type,
    _explain_size,
    _explain_value,
    _explain_group,
    _explain_missing,
    _explain_unknown,
)
