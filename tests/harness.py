"""What tests run the product with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warm import Run, cold, warm

from kconvert.dataset.staged_rows import StagedClip, staged_writer
from kconvert.sources.fetch.stream import FetchOptions
from kconvert.storage.store import StorePath

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
RELEASES = ("k400", "k600", "k700-2020")
COMMAND = Path(sys.executable).parent / "kconvert"

QUICK = FetchOptions(
    connect_seconds=5, read_seconds=2, max_retries=4, min_backoff_seconds=0.01, max_backoff_seconds=0.05
)
"""Patience for tests."""


_SLOW = re.compile(r"^Executing <(?:Task|Handle|TimerHandle) .* took [0-9.]+ seconds\n", re.MULTILINE)
_FOREIGN = re.compile(r"^.*(?:\b[A-Z]\w*Warning: |Exception ignored|Error in sys\.).*$", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


def kconvert(
    *words: str | int | Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
    group: bool = False,
    within: Sequence[str] = (),
) -> Ran:
    """Runs the command, perhaps in a process group of its own, or as the last words of another command."""
    run, texts = Run({**os.environ, **(env or {})}, Path.cwd(), timeout, group), [str(word) for word in words]
    is_warm = not within and warm("command").takes(run.environment)
    done = warm("command").run(texts, run) if is_warm else cold([*within, str(COMMAND), *texts], run)
    return Ran(done.returncode, done.stdout, only_ours(done.stderr))


def python(*words: str | Path, env: Mapping[str, str], folder: Path, timeout: float = 600) -> str:
    """Runs Python with a script, or with `-c` and lines, which import large libraries and do not warn; returns what it
    printed. It must end well."""
    run, texts = Run(env, folder, timeout), [str(word) for word in words]
    is_warm = warm("python").takes(env)
    done = warm("python").run(texts, run) if is_warm else cold([sys.executable, "-W", "ignore", *texts], run)
    assert done.returncode == 0, done.stderr
    return done.stdout


def only_ours(err: str) -> str:
    """What a command printed to stderr, once it is sure that Python itself had nothing to say."""
    # In development mode, asyncio tells of whatever keeps its loop for a tenth of a second, as loading a client does.
    err = _SLOW.sub("", err)
    foreign = _FOREIGN.findall(err)
    assert not foreign, foreign
    return err


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without the journal."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".kconvert" not in path.relative_to(folder).parts
    }


def one_line(ran: Ran) -> str:
    """The one line that an error is told in."""
    lines = [line for line in ran.err.splitlines() if line]
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("kconvert: ")
    return lines[0]


def write_staged(path: StorePath, clips: Iterable[StagedClip]) -> str:
    """Writes the staged rows of an archive; returns the file's sha256."""
    with staged_writer(path) as rows:
        for clip in clips:
            rows.add(clip)
        return rows.finish()
