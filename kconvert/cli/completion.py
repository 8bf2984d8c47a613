"""Completion of the command line in shells, through shtab."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Mapping

import shtab

from kconvert.catalog.shelf import RELEASE_NAMES

SHELLS = ("bash", "zsh", "tcsh")
_FOLDERS = {"--out", "--origin", "--archives", "--staging", "dir", "--slurm.folder"}
_FILES = {"--config", "file"}


def completion_script(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script for a shell; the parsers are those of each first word."""
    top = argparse.ArgumentParser("kconvert", add_help=False)
    top.add_argument("-h", "--help", action="store_true", help="show the help")
    top.add_argument("--version", action="store_true", help="show versions")
    commands = top.add_subparsers()
    for name, parser in parsers.items():
        command = commands.add_parser(name, add_help=False, help=f"release {name}" if name in RELEASE_NAMES else name)
        for action in parser._actions:
            _add(command, action)
        if name in ("plan", "releases"):
            command.add_argument("release", nargs="?", choices=RELEASE_NAMES)
    return shtab.complete(top, shell)


def _add(command: argparse.ArgumentParser, action: argparse.Action) -> None:
    """Adds an option, or a word, as far as completion is concerned."""
    names = [name for name in action.option_strings if not name.endswith("+")] or [action.dest]
    if names == ["--release"] or isinstance(action, argparse._SubParsersAction):
        return
    choices = action.choices or typing.get_args(_literal(getattr(action, "_typehint", None))) or None
    takes_value = action.nargs != 0
    options: dict[str, typing.Any] = {"help": (action.help or "").split(". ")[0].replace("%", "%%")}
    added = command.add_argument(
        *names, **options, **({"choices": choices} if takes_value else {"action": "store_true"})
    )
    if _FOLDERS & set(names):
        added.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    if _FILES & set(names):
        added.complete = shtab.FILE  # type: ignore[attr-defined]


def _literal(hint: object) -> object:
    """The literals of a type, which may be one of several."""
    for one in (hint, *typing.get_args(hint)):
        if typing.get_origin(one) is typing.Literal:
            return one
    return None
