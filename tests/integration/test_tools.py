"""Every tool that takes long runs to its end at its smallest size, so that none rots. `tools/campaign pythons` is left
out: `tools/test` runs it as it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import BENCHMARKS
from harness import ROOT

CAMPAIGNS = {path.stem for path in (ROOT / "tools" / "campaigns").glob("[a-z]*.py")} - {"pythons"}
TOOLS = [*(f"benchmarks {name}" for name in BENCHMARKS), *(f"campaigns.{name}" for name in sorted(CAMPAIGNS))]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_runs_to_its_end_and_has_figures(tool: str, tmp_path: Path) -> None:
    # The socket of Slurm's keys has a short path, and nobody's private folder above it; damaged clips need no folder.
    folder = [] if tool in ("campaigns.slurm", "campaigns.clips") else ["--folder", str(tmp_path)]
    words = [sys.executable, "-m", *tool.split(), "--smoke", *folder]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tools:{ROOT}/tests", "PYTHONDEVMODE": ""}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = re.findall(r"\d+(?:\.\d+)?", done.stdout)
    assert len(figures) > 3, done.stdout
