"""What is written stays the same to the byte, from version to version of this code.

The digests in `kept/digests.json` were made by an earlier one. `python tests/integration/test_bytes.py` makes them anew,
which is right only where a new format version says that bytes change.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

HERE = Path(__file__).parent
ORIGIN = HERE.parent / "kept"
DIGESTS = ORIGIN / "digests.json"
COMMAND = Path(sys.executable).parent / "kconvert"
FORMATS = ("webdataset", "folder", "parquet", "mds", "litdata", "lance", "archives")
OWN = (".tar", ".mp4", ".csv", ".gz", ".tgz", ".idx", ".txt", ".yaml")
"""Endings of files whose bytes no library decides; and what is in `index/`."""
LIBRARIES = ("pyarrow", "mosaicml-streaming", "litdata", "pylance")
TOLD = ("manifest.json", "README.md")
"""What names the versions of tools."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(form: str, folder: Path) -> dict[str, dict[str, str]]:
    """The digests of all files of a conversion, and of the rows of its tables, by who decides their bytes."""
    out = folder / form
    shards = [] if form == "archives" else ["--shard.max_samples", "2"]
    words = ["k400", "--split", "train,val", "--to", form, "--out", out, "--origin", ORIGIN, *shards]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent / "stubs"), "PYTHONWARNINGS": "ignore"}
    command = [str(COMMAND), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str]] = {"own": {}, "library": {}, "rows": {}}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        # Lance's own version files hold times and random names, and what stands with a kept archive its time.
        has_time = ".lance/_" in name or name.endswith((".etag", ".lock"))
        if not path.is_file() or name.startswith(".kconvert") or name in TOLD or has_time:
            continue
        if name.startswith("metadata/"):
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
            found["rows"][name] = sha256(json.dumps(rows, sort_keys=True, default=str).encode())
        kind = "own" if name.startswith("index/") or name.endswith(OWN) else "library"
        found[kind][name] = sha256(path.read_bytes())
    return found


def versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_are_those_that_an_earlier_version_wrote(form: str, tmp_path: Path) -> None:
    kept = json.loads(DIGESTS.read_text())
    found = digests(form, tmp_path)
    assert found["own"] == kept[form]["own"]
    assert found["rows"] == kept[form]["rows"]
    # What a library writes is the same where its version is.
    if versions() == kept["versions"]:
        assert found["library"] == kept[form]["library"]
    else:
        assert set(found["library"]) == set(kept[form]["library"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = {form: digests(form, Path(name)) for form in FORMATS}
    DIGESTS.write_text(json.dumps({"versions": versions(), **made}, indent=1) + "\n")
