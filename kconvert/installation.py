"""What is installed, and how what is missing is, by this installation's own way."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

from kconvert.errors import describe_exit
from kconvert.version import DISTRIBUTION


def how_to_install(library: str, extra: str) -> str:
    """The command that installs a library that is missing, as this installation gets it."""
    folder = _installed_from()
    return f"pip install '{folder}[{extra}]'" if folder is not None else f"pip install {library}"


def import_problem(module: str) -> str:
    """What importing a module raises, in a line; `""` if nothing.

    In a process of its own: it may start threads, or end the process. Nothing is collected there, which would take a
    fifth of the time.
    """
    words = [sys.executable, "-c", f"import gc; gc.disable(); import {module}"]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode <= 0:
        return describe_exit(done.returncode) if done.returncode else ""
    return (done.stderr.strip().splitlines() or [describe_exit(done.returncode)])[-1]


def _installed_from() -> Path | None:
    """The folder that kconvert was installed from, if it is still there (PEP 610)."""
    with suppress(PackageNotFoundError, ValueError, KeyError, TypeError):
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "")
        folder = Path(unquote(urlparse(origin["url"]).path))
        if "dir_info" in origin and (folder / "pyproject.toml").is_file():
            return folder
    return None
