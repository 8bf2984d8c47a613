"""How what is missing is installed, by this installation's own way."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlparse

from kconvert.version import DISTRIBUTION


def how_to_install(library: str, extra: str) -> str:
    """The command that installs a library that is missing, as this installation gets it."""
    folder = _installed_from()
    return f"pip install '{folder}[{extra}]'" if folder is not None else f"pip install {library}"


def _installed_from() -> Path | None:
    """The folder that kconvert was installed from, if it is still there (PEP 610)."""
    with suppress(PackageNotFoundError, ValueError, KeyError, TypeError):
        origin = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "")
        folder = Path(unquote(urlparse(origin["url"]).path))
        if "dir_info" in origin and (folder / "pyproject.toml").is_file():
            return folder
    return None
