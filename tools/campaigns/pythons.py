"""Every Python of this machine, with the newest and with the oldest versions of what kconvert needs: each installs it,
converts, verifies and reads, in development mode; the shards are the same to the byte."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import ROOT, only_ours, tree
from miniature.build import build
from miniature.sources import MadeRows, MadeVideos
from smoke import parse

from kconvert.version import DISTRIBUTION

_VERSIONS = range(11, 16)
"""Of Python 3."""
_OLDEST = "lowest-direct"
_RESOLUTIONS = ("highest", _OLDEST)
_SECONDS = 300
_READ = """\
import multiprocessing, sys
import kconvert

def about(clip):
    return clip.key, clip.label, len(clip.video)

if __name__ == "__main__":
    # However this Python starts processes; before there are threads, as numpy has them.
    with multiprocessing.Pool(2) as pool:
        clips = kconvert.open(sys.argv[1], "train")
        assert pool.map(about, clips) == [about(clip) for clip in clips]
    frames = sum(1 for _ in clips[0].frames())
    samples = sum(1 for _ in kconvert.webdataset(sys.argv[1], "train"))
    print(multiprocessing.get_start_method(), len(clips), "clips read,", frames, "frames,", samples, "samples")
"""
_QUIET = ("-W", "ignore::ResourceWarning")
"""webdataset leaves it to the garbage collector to close its files."""
_FORMATS = ("webdataset", "folder", "parquet")


@dataclass(frozen=True)
class Tried:
    """What one Python did with one set of versions."""

    python: str
    resolution: str
    versions: dict[str, str]
    shards: str
    """Digest of all shards of all formats that are bytes of kconvert's own."""
    everything: str
    """Digest of all files."""
    said: str


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign pythons", description=__doc__)
    parser.add_argument("--resolutions", choices=("all", "one"), default="all", help="how many of each Python")
    parser.add_argument("--python", action="append", help="this interpreter, not those that are found; may be repeated")
    options = parse(parser, None, resolutions="one")
    pythons = options.python or list(found())
    print(f"found {len(pythons)} of Python: {' '.join(pythons)}", flush=True)
    tried = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "server", MadeVideos(), MadeRows())
        for python, resolution in environments(pythons, options.resolutions):
            one = attempt(python, resolution, folder)
            tried.append(one)
            shown = " ".join(f"{package} {version}" for package, version in one.versions.items())
            print(f"{one.python} {resolution}: {one.said}; shards {one.shards[:12]}; {shown}", flush=True)
    problems = disagreements(tried)
    print("\n".join(problems) or f"{len(tried)} environments: the same shards; equal versions give equal files")
    return 1 if problems else 0


def found() -> Iterator[str]:
    """One interpreter of each version of Python that kconvert is for: on the PATH, or beside it under pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in _VERSIONS:
        name = f"python3.{minor}"
        beside = sorted(pyenv.glob(f"versions/3.{minor}.*/bin/{name}"))
        for candidate in [*map(str, beside), shutil.which(name)]:
            # A shim of pyenv may stand for a version that is not there.
            if candidate and not subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
                yield candidate
                break


def environments(pythons: Sequence[str], resolutions: str) -> Iterator[tuple[str, str]]:
    """Each Python with each of the resolutions; or each with one: the first with the oldest versions, the others with
    the newest."""
    for number, python in enumerate(pythons):
        for resolution in _RESOLUTIONS:
            if resolutions == "all" or (resolution == _OLDEST) == (number == 0):
                yield python, resolution


def attempt(python: str, resolution: str, folder: Path) -> Tried:
    """Installs kconvert for a Python, does with it what everybody does, and removes it all."""
    environment = folder / "environment"
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--quiet", "--clear", "--python", python, environment)
    inside = ("--quiet", "--python", environment / "bin/python")
    # Else each of the runs below would compile all of it, where Python is told to write no bytecode.
    run(*uv, "pip", "install", *inside, "--compile-bytecode", "--resolution", resolution, ROOT)
    listed = json.loads(run(*uv, "pip", "list", *inside, "--format", "json"))
    versions = {package["name"]: package["version"] for package in listed if package["name"] != DISTRIBUTION}
    command = environment / "bin/kconvert"
    (folder / "kconvert.yaml").write_text(f"origin: {folder / 'server'}\nshard: {{max_samples: 5}}\n")
    shards, everything, said = hashlib.sha256(), hashlib.sha256(), ""
    assert run(command, "--help").startswith("usage: kconvert")
    # As `tools/demo` does, which has no more than kconvert needs.
    run("env", f"PYTHONPATH={ROOT}/tools", environment / "bin/python", "-m", "miniature", "--help")
    assert "kconvert help checks" in run(command, "help")
    for form in _FORMATS:
        # As a person says it: all else is by default, or in the file that is always read.
        out = folder / f"k400-{form}"
        run(command, "k400", "--to", form, cwd=folder)
        verified = run(command, "verify", out).strip()
        assert run(command, "report", out).strip() == str(out / "report.html")
        (out / "report.html").unlink()
        for path, data in tree(out).items():
            everything.update(f"{form}/{path}\0{len(data)}\0".encode() + data)
            if path.endswith((".tar", ".mp4")):
                shards.update(f"{form}/{path}\0{len(data)}\0".encode() + data)
        if form == "webdataset":
            script = folder / "read.py"
            script.write_text(_READ)
            said = f"{verified.partition(' in ')[0]}; {run(environment / 'bin/python', *_QUIET, script, out).strip()}"
        shutil.rmtree(out)
    text = run(environment / "bin/python", "-c", "import platform; print(platform.python_version())").strip()
    return Tried(text, resolution, versions, shards.hexdigest(), everything.hexdigest(), said)


def run(*words: Any, cwd: Path | None = None) -> str:
    """Runs a command in development mode; returns what it says. It succeeds, and only ours is on stderr."""
    environment = {**os.environ, "PYTHONDEVMODE": "1"}
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False, cwd=cwd
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    only_ours(done.stderr)
    return done.stdout


def disagreements(tried: list[Tried]) -> list[str]:
    """What is not the same and should be."""
    problems = [
        f"{one.python} {one.resolution}: other shards than {tried[0].python}"
        for one in tried
        if one.shards != tried[0].shards
    ]
    for one in tried:
        alike = [other for other in tried if bytes_depend_on(other) == bytes_depend_on(one)]
        if {other.everything for other in alike} != {one.everything}:
            problems.append(f"{one.python} {one.resolution}: other files than with the same versions elsewhere")
    return problems


def bytes_depend_on(one: Tried) -> tuple[str, ...]:
    """The versions that tables and the manifest depend on."""
    return one.versions["av"], one.versions["pyarrow"], one.versions["isal"]


if __name__ == "__main__":
    sys.exit(main())
