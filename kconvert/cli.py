"""The command line: words to options, results to stdout, errors to one line and an exit code."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings
from jsonargparse.typing import register_type

from kconvert import __version__, printing
from kconvert.config import Conversion, available_cores
from kconvert.engine import open_engine
from kconvert.errors import KconvertError, UsageError
from kconvert.progress import open_progress
from kconvert.release import RELEASE_NAMES, load_release
from kconvert.run import Summary, convert, forecast, read_manifest
from kconvert.status import read_status
from kconvert.units import ByteSize
from kconvert.verification import verify

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_FAILED_TASKS = 3
EXIT_DIFFERENT = 4
EXIT_INTERRUPTED = 130

_COMMANDS_HELP = """
other commands:
  kconvert plan RELEASE ...   what would be fetched, and how much disk it takes; fetches nothing big
  kconvert verify DIR         read everything again and compare it with the manifest and the tables
  kconvert status DIR         what is done, what is missing, what failed and why
  kconvert batch FILE.yaml    several conversions, one after the other
  kconvert releases [NAME]    what is in the official releases

exit codes: 0 done, 1 unexpected, 2 wrong use, 3 some archives failed (run again to go on),
4 verify found differences, 130 interrupted (run again to go on)
"""

_OVERWRITE_HELP = "Start again; without it a folder that was made with other options is refused, with the differences."

register_type(ByteSize, serializer=str, deserializer=ByteSize.parse, fail_already_registered=False)
set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of the epilog as they are."""


class _Parser(ArgumentParser):
    """Reports wrong use as an error of ours."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line.strip() for line in str(message).splitlines() if line.strip()]
        raise UsageError(f"{' '.join(lines)}; `{self.prog} --help` lists the options")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if words and words[0] in _COMMANDS:
            return _COMMANDS[words[0]](words[1:])
        return _convert(words)
    except UsageError as error:
        print(f"kconvert: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KconvertError as error:
        print(f"kconvert: {error}", file=sys.stderr)
        return EXIT_UNEXPECTED
    except KeyboardInterrupt:
        print("\nkconvert: interrupted; run the same command again to go on where it was", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        print(f"kconvert: {error.strerror or error}: {error.filename or 'unknown file'}", file=sys.stderr)
        return EXIT_UNEXPECTED


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _convert(words: list[str]) -> int:
    parser = _conversion_parser("kconvert", "Turn an official Kinetics release into training shards.", _COMMANDS_HELP)
    parser.add_argument("--version", action="version", version=f"kconvert {__version__}")
    conversion, as_json = _parse_conversion(parser, words)
    summary = convert(conversion, open_progress())
    print(printing.summary_json(conversion, summary) if as_json else printing.summary_text(conversion, summary))
    return EXIT_FAILED_TASKS if summary.failures else EXIT_DONE


def _plan(words: list[str]) -> int:
    parser = _conversion_parser("kconvert plan", "Tell what a conversion would do; takes the same options.")
    conversion, as_json = _parse_conversion(parser, words)
    found = forecast(conversion, open_progress())
    print(printing.forecast_json(found) if as_json else printing.forecast_text(conversion, found))
    return EXIT_DONE


def _verify(words: list[str]) -> int:
    parser = _folder_parser("kconvert verify", "Read everything again and compare it with the manifest and the tables.")
    parser.add_argument(
        "--workers", type=int | None, default=None, help="How many processes work. Default: one a core."
    )
    options = parser.parse_args(words)
    out = Path(options.dir)
    manifest = read_manifest(out)
    if manifest is None:
        raise UsageError(f"{out}: no manifest.json; the conversion is not finished, `kconvert status {out}` tells more")
    engine = open_engine("local", options.workers or available_cores())
    try:
        found = verify(out, manifest, engine, open_progress())
    finally:
        engine.close()
    print(printing.differences_json(found) if options.json else printing.differences_text(out, manifest, found))
    return EXIT_DIFFERENT if found else EXIT_DONE


def _status(words: list[str]) -> int:
    options = _folder_parser("kconvert status", "What is done, what is missing, what failed and why.").parse_args(words)
    status = read_status(Path(options.dir))
    print(printing.status_json(status) if options.json else printing.status_text(status))
    return EXIT_DONE


def _batch(words: list[str]) -> int:
    parser = _Parser(prog="kconvert batch", description="Several conversions, one after the other.", **_STRICT)
    parser.add_argument(
        "file", type=str, help="YAML with a list `conversions`, and perhaps `defaults` for all of them."
    )
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    options = parser.parse_args(words)
    conversions = _read_batch(Path(options.file))
    results: list[tuple[Conversion, Summary | str]] = []
    code = EXIT_DONE
    for conversion in conversions:
        print(f"== {conversion.release} to {conversion.out}", file=sys.stderr)
        result: Summary | str
        try:
            result = convert(conversion, open_progress())
            worst = EXIT_FAILED_TASKS if result.failures else EXIT_DONE
        except KconvertError as error:
            print(f"kconvert: {error}", file=sys.stderr)
            result, worst = str(error), EXIT_USAGE if isinstance(error, UsageError) else EXIT_UNEXPECTED
        results.append((conversion, result))
        code = max(code, worst)
    print(printing.batch_json(results) if options.json else printing.batch_text(results))
    return code


def _read_batch(path: Path) -> list[Conversion]:
    """The conversions of a batch file, all of them checked before the first one runs. Raises `UsageError`."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not isinstance(content.get("conversions"), list) or not content["conversions"]:
        raise UsageError(f"{path}: expected a list `conversions`, each entry with the options of one conversion")
    unknown = sorted(set(content) - {"conversions", "defaults"})
    if unknown:
        raise UsageError(
            f"{path}: unknown {', '.join(map(repr, unknown))}, expected `conversions` and perhaps `defaults`"
        )
    conversions = []
    for number, entry in enumerate(content["conversions"], start=1):
        parser = _conversion_parser("kconvert", "")
        try:
            merged = {**(content.get("defaults") or {}), **entry}
            conversions.append(_instantiate(parser, parser.parse_object(merged)))
        except (UsageError, TypeError) as error:
            raise UsageError(f"{path}: conversion {number}: {error}") from error
    outs = [str(Path(conversion.out).absolute()) for conversion in conversions]
    if len(set(outs)) < len(outs):
        raise UsageError(f"{path}: two conversions write to the same folder")
    return conversions


def _releases(words: list[str]) -> int:
    parser = _Parser(prog="kconvert releases", description="What is in the official releases.", **_STRICT)
    parser.add_argument("name", nargs="?", type=str, default=None, help="Show this release with its labels.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    options = parser.parse_args(words)
    if options.name is not None and options.name not in RELEASE_NAMES:
        raise UsageError(f"unknown release {options.name!r}, expected one of {', '.join(RELEASE_NAMES)}")
    releases = [load_release(name) for name in ([options.name] if options.name else RELEASE_NAMES)]
    with_labels = options.name is not None
    print(printing.releases_json(releases) if options.json else printing.releases_text(releases, with_labels))
    return EXIT_DONE


_STRICT: dict[str, Any] = {"exit_on_error": True, "allow_abbrev": False, "default_env": False}
_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "plan": _plan,
    "verify": _verify,
    "status": _status,
    "batch": _batch,
    "releases": _releases,
}


def _conversion_parser(prog: str, description: str, epilog: str = "") -> _Parser:
    parser = _Parser(
        prog=prog,
        usage=f"{prog} {{{','.join(RELEASE_NAMES)}}} --out DIR [options]",
        description=description,
        epilog=epilog,
        formatter_class=_HelpFormatter,
        **_STRICT,
    )
    parser.add_argument("--config", action="config", help="Take options from a YAML file.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    parser.add_class_arguments(Conversion, skip={"overwrite"})
    parser.add_argument("--overwrite", action="store_true", help=_OVERWRITE_HELP)
    return parser


def _folder_parser(prog: str, description: str) -> _Parser:
    parser = _Parser(prog=prog, description=description, **_STRICT)
    parser.add_argument("dir", type=str, help="The folder that a conversion wrote to.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    return parser


def _parse_conversion(parser: _Parser, words: list[str]) -> tuple[Conversion, bool]:
    """The conversion that the words ask for; the release may stand first, as a word of its own."""
    if words and not words[0].startswith("-"):
        words = [f"--release={words[0]}", *words[1:]]
    options = parser.parse_args(words)
    return _instantiate(parser, options), bool(options.json)


def _instantiate(parser: _Parser, options: Namespace) -> Conversion:
    """Raises `UsageError` for values that are well-formed but make no sense."""
    try:
        made = parser.instantiate(options)
        return Conversion(**{field.name: made[field.name] for field in dataclasses.fields(Conversion)})
    except ValueError as error:
        raise UsageError(str(error)) from error
