"""The command line: a command for each thing that can be done, results to stdout, errors to a line and a code.

What works on whole splits takes half a second to import: commands import it once their words are understood.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from kconvert import __version__
from kconvert.catalog.shelf import RELEASE_NAMES, hosted_names, is_release, meant_release, open_release
from kconvert.cli import printing
from kconvert.cli.arguments import (
    Output,
    Parser,
    batch_parser,
    conversion_parser,
    folder_parser,
    output_of,
    overlap_parser,
    parse_conversion,
    read_batch,
)
from kconvert.cli.guide import TOPICS, page, topics_text
from kconvert.cli.progress import event_json, open_progress
from kconvert.cli.status import read_status
from kconvert.conversion.config import Conversion, chosen, meant_origin
from kconvert.dataset.manifest import MANIFEST_NAME, read_manifest
from kconvert.dataset.open import open_layout
from kconvert.engines.engine import TaskNeeds
from kconvert.engines.open import EngineChoice, open_engine
from kconvert.errors import (
    DiskError,
    KconvertError,
    LostLockError,
    ManifestError,
    OtherFormatError,
    UsageError,
    disk_error,
)
from kconvert.events import Observer
from kconvert.sources.clip_lists import ListSource, parse_list_names, read_clip_lists
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.storage.open import to_path
from kconvert.storage.store import StorePath
from kconvert.text import closest, printable, printable_lines
from kconvert.video.open import tool_versions
from kconvert.video.verdict import CheckOptions

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_FAILED_TASKS = 3
EXIT_DIFFERENT = 4

_SEVERITY = (EXIT_DONE, EXIT_FAILED_TASKS, EXIT_USAGE, EXIT_UNEXPECTED)
"""Of exit codes, the worst last: what resuming mends, what a person has to mend, what nobody foresaw."""

_COMMANDS_HELP = """
other commands:
  kconvert plan RELEASE ...   what would be fetched, and how much disk it takes; fetches nothing big
  kconvert verify DIR         read everything again and compare it with the manifest and the tables
  kconvert report DIR         write DIR/report.html, a page to judge the result from
  kconvert status DIR         what is done, what is missing, what failed and why
  kconvert overlap A B ...    which clips splits share, as k400:val k600:test; of all releases without a word
  kconvert batch FILE.yaml    several conversions, one after the other
  kconvert releases [NAME]    what is in the official releases
  kconvert help [TOPIC]       the guide, a page a topic
  kconvert completion SHELL   a script that completes these words in bash, zsh or tcsh

exit codes: 0 done, 1 unexpected, 2 wrong use, 3 something failed that running again may mend, or
`status` of what is not complete, 4 verify found differences, 130 interrupted (resumable)
"""


def run_command(words: Sequence[str]) -> int:
    """Does what the words say; returns the exit code. An interruption goes through to the caller."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _command(list(words))
    except KconvertError as error:
        found = error
    except OSError as error:
        found = disk_error(error)
    _complain(str(found), _code_of(found), "--json" in words)
    return _code_of(found)


def _code_of(error: KconvertError) -> int:
    if isinstance(error, UsageError):
        return EXIT_USAGE
    return EXIT_FAILED_TASKS if isinstance(error, DiskError | LostLockError) else EXIT_UNEXPECTED


def _complain(text: str, code: int, is_json: bool) -> None:
    """Prints an error in one line."""
    line = event_json("error", message=text, exit_code=code) if is_json else f"kconvert: {printable(text)}"
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def _say(text: str) -> None:
    """Prints a result. Whoever reads it may have seen enough: then nothing more is written, also not at exit."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(words: list[str]) -> int:
    first = words[0] if words else ""
    if not words:
        _say(_USAGE)
        return EXIT_DONE
    if {"--version", "-V"} & set(words):
        _say(printing.versions_text(_versions()))
        return EXIT_DONE
    if first in _COMMANDS:
        return _COMMANDS[first](words[1:])
    if first.startswith("-") or is_release(first):
        return _convert(words)
    raise UsageError(
        f"{first!r} is neither a release ({', '.join(RELEASE_NAMES)}, or a file, as my.yaml) nor a command "
        f"({', '.join(_COMMANDS)}); "
        f"{_meant(first, words[1:])}"
    )


def _meant(first: str, others: list[str]) -> str:
    """What was probably meant by a first word, as a command to be copied; or where that is to be found."""
    meant: str | None = meant_release(first)
    meant = meant or next(iter(closest(first, [*RELEASE_NAMES, *_COMMANDS])), None)
    if meant is None and others and others[0] in RELEASE_NAMES:
        # As in `kconvert convert k400`.
        meant, others = others[0], others[1:]
    return f"did you mean `{shlex.join(['kconvert', meant, *others])}`?" if meant else "see `kconvert help`"


def _convert(words: list[str]) -> int:
    parser = conversion_parser(
        "kconvert", "Turn a release of a dataset, as Kinetics, into training shards.", _COMMANDS_HELP
    )
    about = "Print the versions of kconvert and of what judges clips."
    parser.add_argument("-V", "--version", action="version", version="", help=about)
    conversion, output = parse_conversion(parser, words)
    with open_progress(output.is_quiet, output.is_json) as progress:
        _note_config(output, progress)
        from kconvert.conversion.run import convert

        summary = convert(conversion, progress)
    _say(printing.summary_json(conversion, summary) if output.is_json else printing.summary_text(conversion, summary))
    return EXIT_FAILED_TASKS if summary.failures else EXIT_DONE


def _note_config(output: Output, progress: Observer) -> None:
    """Notes a file of options that nobody named."""
    if output.config is not None:
        progress.note(f"options of {output.config.absolute()} are read first")


def _versions() -> dict[str, str]:
    """Of kconvert and of all that may judge clips; what is not installed has no version."""
    found = {"kconvert": __version__, **tool_versions(CheckOptions())}
    for depth in ("header", "decode"):
        with suppress(UsageError):
            found |= tool_versions(CheckOptions(prober="ffprobe", depth=depth))
    return found


def _plan(words: list[str]) -> int:
    parser = conversion_parser("kconvert plan", "Print what a conversion would do; takes the same options.")
    conversion, output = parse_conversion(parser, words)
    with open_progress(output.is_quiet, output.is_json) as progress:
        _note_config(output, progress)
        from kconvert.conversion.run import forecast

        found = forecast(conversion, progress)
    _say(printing.forecast_json(conversion, found) if output.is_json else printing.forecast_text(conversion, found))
    return EXIT_DONE


def _verify(words: list[str]) -> int:
    about = "Read everything again and compare it with the manifest and the tables."
    parser = folder_parser("kconvert verify", about, has_progress=True)
    parser.add_argument("--workers", type=int | None, default=None, help="How many processes work. Default: all cores.")
    options = parser.parse_args(words)
    out = to_path(options.dir)
    if not out.is_dir():
        raise UsageError(f"{out}: no such folder; expected one that a conversion wrote to")
    if options.workers is not None and options.workers < 1:
        raise UsageError(f"--workers {options.workers}: expected 1 or more")
    from kconvert.conversion.run import PRELOAD
    from kconvert.conversion.verification import Difference, verify

    try:
        manifest = read_manifest(out)
    except OtherFormatError:
        raise
    except ManifestError as error:
        manifest, found = None, [Difference(MANIFEST_NAME, str(error))]
    else:
        if manifest is None:
            raise UsageError(f"{out}: no {MANIFEST_NAME}; it is not finished, `kconvert status {out}` says more")
        open_layout(manifest.format).require(out)
        shown = open_progress(options.quiet, options.json)
        with (
            closing(open_engine(EngineChoice("local", options.workers), TaskNeeds(preload=PRELOAD))) as engine,
            shown as progress,
        ):
            found = verify(out, manifest, engine, progress)
    _say(printing.differences_json(found) if options.json else printing.differences_text(out, manifest, found))
    return EXIT_DIFFERENT if found else EXIT_DONE


def _report(words: list[str]) -> int:
    # It takes libraries that no other command needs.
    from kconvert.cli.report import write_report

    parser = folder_parser("kconvert report", "Write DIR/report.html: one page to judge a converted folder from.")
    parser.add_argument("--out", type=str | None, default=None, help="Write the page to this file instead.")
    options = parser.parse_args(words)
    elsewhere = to_path(options.out) if options.out else None
    if elsewhere is not None and (elsewhere.is_dir() or not _can_stand(elsewhere)):
        raise UsageError(f"--out {options.out}: expected a file, in a folder that is there")
    path = write_report(to_path(options.dir), elsewhere)
    _say(printing.report_json(path) if options.json else str(path))
    return EXIT_DONE


def _can_stand(path: StorePath) -> bool:
    """Whether there is a folder for a file, where one is needed."""
    here = path.local_path
    return here is None or here.parent.is_dir()


def _status(words: list[str]) -> int:
    parser = folder_parser("kconvert status", "What is done, what is missing, what failed and why.")
    options = parser.parse_args(words)
    status = read_status(to_path(options.dir))
    _say(printing.status_json(status) if options.json else printing.status_text(status))
    return EXIT_DONE if status.is_complete and not status.is_running else EXIT_FAILED_TASKS


def _overlap(words: list[str]) -> int:
    from kconvert.cli.overlaps import Matrix, write_pairs

    options = overlap_parser().parse_args(words)
    names = [one for word in options.lists or hosted_names() for one in parse_list_names("kconvert overlap", word)]
    if len({one.text for one in names}) < max(2, len(names)):
        raise UsageError("kconvert overlap: expected two lists or more, each once, as k400:val k600:test")
    path = to_path(options.list) if options.list else None
    if path is not None and (path.is_dir() or not _can_stand(path)):
        raise UsageError(f"--list {options.list}: expected a file, in a folder that is there")
    if path is not None and path in [to_path(one.file) for one in names if one.file]:
        raise UsageError(f"--list {options.list}: is one of the lists that are compared; choose another file")
    lists = read_clip_lists("kconvert overlap", names, ListSource(meant_origin(options.origin), FetchOptions()))
    matrix = Matrix.of(lists)
    if path is not None:
        write_pairs(path, lists)
    _say(matrix.json() if options.json else printable_lines(matrix.text()))
    return EXIT_DONE


def _batch(words: list[str]) -> int:
    options = batch_parser().parse_args(words)
    output = output_of(options)
    outcomes: list[printing.Outcome] = []
    conversions = read_batch(Path(options.file))
    for number, conversion in enumerate(conversions, start=1):
        with open_progress(output.is_quiet, output.is_json) as progress:
            progress.note(f"== {number} of {len(conversions)}: {conversion.release} to {conversion.out_path}")
            outcome = _convert_one_of_many(conversion, progress)
        if outcome.error:
            _complain(outcome.error, outcome.code, output.is_json)
        outcomes.append(outcome)
    _say(printing.batch_json(outcomes) if output.is_json else printing.batch_text(outcomes))
    return max((outcome.code for outcome in outcomes), key=_SEVERITY.index, default=EXIT_DONE)


def _convert_one_of_many(conversion: Conversion, progress: Observer) -> printing.Outcome:
    """What one conversion came to. The others are done, whatever befalls it."""
    from kconvert.conversion.run import convert

    try:
        summary = convert(conversion, progress)
    except KconvertError as error:
        return printing.Outcome(conversion, _code_of(error), error=str(error))
    except Exception as error:  # noqa: BLE001
        progress.note("".join(traceback.format_exception(error)))
        said = f"unexpected: {error!r}; please report it, with what was printed"
        return printing.Outcome(conversion, EXIT_UNEXPECTED, error=said)
    return printing.Outcome(conversion, EXIT_FAILED_TASKS if summary.failures else EXIT_DONE, summary)


def _releases(words: list[str]) -> int:
    parser = Parser("kconvert releases", "What is in the official releases.")
    parser.add_argument("name", nargs="?", type=str, default=None, help="Show this release with its labels.")
    parser.add_argument("--json", action="store_true", help="Print the result as JSON.")
    parser.add_argument("--origin", type=str, default=None, help="Show what of a release is there.")
    parser.add_argument("--choose", type=str, default=None, help="What the release leaves to choose, as fold=2.")
    options = parser.parse_args(words)
    if options.origin is not None:
        return _show_match(options.name, options.choose, options.origin, options.json)
    releases = [open_release(name) for name in ([options.name] if options.name else RELEASE_NAMES)]
    with_labels = options.name is not None
    _say(printing.releases_json(releases) if options.json else printing.releases_text(releases, with_labels))
    return EXIT_DONE


def _show_match(name: str | None, choose: str | None, origin: str, is_json: bool) -> int:
    """Prints what of a release an origin has."""
    from kconvert.conversion.described import with_labels
    from kconvert.conversion.matching import match
    from kconvert.sources.origins.open import open_origin

    if name is None:
        raise UsageError("--origin: expected a release, or the file of one, before it")
    release = open_release(name, chosen(choose))
    where = meant_origin(origin)
    release = with_labels(release, open_origin(where, release, FetchOptions()))
    found = match(release, open_origin(where, release, FetchOptions()))
    _say(printing.matches_json(found) if is_json else printable_lines(printing.matches_text(found)))
    return EXIT_DONE


def _new(words: list[str]) -> int:
    from kconvert.conversion.draft import draft_release

    parser = Parser("kconvert new", "Write a first file of a release, by looking at a folder of clips.")
    parser.add_argument("dir", type=str, help="The folder, the bucket or the zip file that holds the clips.")
    parser.add_argument("--out", type=str, default=None, help="The file to write. Default: NAME.yaml, here.")
    options = parser.parse_args(words)
    name, text = draft_release(meant_origin(options.dir))
    path = Path(options.out or f"{name}.yaml")
    if path.exists():
        raise UsageError(f"{path}: is there already; give another --out")
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"--out {path}: {error.strerror}; choose another") from error
    _say(f"{path}: look at it, then `kconvert releases {path} --origin {options.dir}` shows what it matches")
    return EXIT_DONE


def _help(words: list[str]) -> int:
    parser = Parser("kconvert help", "Print a page of the guide.")
    parser.add_argument("topic", nargs="?", type=str, default=None, help="Which; without it, they are listed.")
    topic = parser.parse_args(words).topic
    _say(topics_text() if topic is None else page(topic))
    return EXIT_DONE


def _completion(words: list[str]) -> int:
    from kconvert.cli.completion import SHELLS, completion_script

    parser = Parser("kconvert completion", "Print a script that completes the words of kconvert in a shell.")
    parser.add_argument("shell", type=str, help='Which; for bash: eval "$(kconvert completion bash)"')
    options = parser.parse_args(words)
    if options.shell not in SHELLS:
        raise UsageError(f"kconvert completion {options.shell}: unknown shell, expected one of {', '.join(SHELLS)}")
    parsers = {name: conversion_parser("kconvert", "") for name in (*RELEASE_NAMES, "plan")}
    parsers |= {name: folder_parser("kconvert", "", name == "verify") for name in ("verify", "report", "status")}
    others = {"batch": batch_parser(), "releases": Parser("kconvert", ""), "completion": parser}
    others["overlap"] = overlap_parser()
    others["help"] = Parser("kconvert", "")
    others["help"].add_argument("topic", nargs="?", choices=TOPICS, help="Which page")
    _say(completion_script(options.shell, {**parsers, **others}))
    return EXIT_DONE


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "plan": _plan,
    "verify": _verify,
    "report": _report,
    "status": _status,
    "overlap": _overlap,
    "batch": _batch,
    "releases": _releases,
    "new": _new,
    "completion": _completion,
    "help": _help,
}

_USAGE = f"""\
usage: kconvert RELEASE [options]      RELEASE is {", ".join(RELEASE_NAMES)}
       kconvert COMMAND ...            COMMAND is {", ".join(_COMMANDS)}

  kconvert k700-2020 --to webdataset  converts to ./k700-2020-webdataset; the same command again resumes
  kconvert plan k700-2020             what that would fetch, and the disk it needs
  kconvert help                       the guide, a page a topic
  kconvert --help                     all options"""
