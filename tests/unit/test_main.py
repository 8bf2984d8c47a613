"""Signals are interruptions wherever they come: at any line, and where Python does not raise what they raise, or not as
that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

CUSTOMIZED = """
import os, signal, sys, time

def act():
    {lines}

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "kconvert.cli.commands":
            act()

sys.meta_path.insert(0, Finder())
"""
INTERRUPTED = "kconvert: interrupted; run the same command again to resume"
PLACES = {
    "in lines that are executed": "exec('os.kill(os.getpid(), signal.SIGINT)')",
    "two at once": """
    both = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
""",
    "while a class is made": """
    class Name:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGTERM)
    class Owner:
        name = Name()
""",
}
IN_A_FINALISER = """
    class Lost:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
    main = sys.modules.get("kconvert.__main__") or sys.modules["__main__"]
    main._PATIENCE_SECONDS = 0.2
    Lost()
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_at_any_line_of_the_command_is_an_interruption() -> None:
    """The last run is the one that has no more lines to be signalled at."""
    words = [sys.executable, str(ROOT / "tests/signalling.py")]
    ran = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    *others, last = map(int, ran.stdout.splitlines()[-1].split())
    assert len(others) > 20
    assert (set(others), last) == ({130}, 0)
    assert set(ran.stderr.splitlines()) == {INTERRUPTED}


def run(lines: str, folder: Path) -> tuple[int, list[str]]:
    """The exit code of `python -m kconvert` that does this while it is imported, and what it prints as errors."""
    (folder / "sitecustomize.py").write_text(CUSTOMIZED.format(lines=lines))
    words = [sys.executable, "-m", "kconvert", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_is_an_interruption_wherever_it_comes(place: str, tmp_path: Path) -> None:
    assert run(PLACES[place], tmp_path) == (130, [INTERRUPTED])


def test_a_signal_that_python_loses_is_not_the_last(tmp_path: Path) -> None:
    code, lines = run(IN_A_FINALISER, tmp_path)
    assert (code, lines[-1]) == (130, INTERRUPTED)
    assert lines[0].startswith("Exception ignored in")
