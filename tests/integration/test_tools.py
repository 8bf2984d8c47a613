"""Every tool that measures runs to its end at its smallest size, so that none rots. Left out: `ways`, which needs a web
server and the programs that it compares with; `fuzz`, whose targets `tests/unit/test_fuzz.py` runs; `faults`, of which
`test_kills.py` and `test_disks.py` run parts; `slurm`, which needs a cluster's daemons; `pythons`, which `tools/test`
runs itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

SMALLEST = {
    "benchmarks scale": ["--shares", "0.001"],
    "benchmarks stages": ["--clips", "2", "--repeats", "1"],
    "benchmarks verify": ["--archives", "1", "--clips", "2", "--repeats", "1"],
    "benchmarks read": ["--clips", "10", "--repeats", "1"],
    "benchmarks decode": ["--clips", "4", "--repeats", "1"],
    "campaigns.bounds": ["--factors", "1", "--archives", "1", "--clips", "2"],
}


@pytest.mark.parametrize("tool", SMALLEST)
def test_a_tool_runs_to_its_end_and_has_figures(tool: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", *tool.split(), *SMALLEST[tool], "--folder", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/tools:{ROOT}/tests", "PYTHONDEVMODE": ""}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, cwd=ROOT, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = re.findall(r"\d+(?:\.\d+)?", done.stdout)
    assert len(figures) > 3, done.stdout
