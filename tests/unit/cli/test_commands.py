"""The command line begins at once: what takes long to import is imported by what needs it."""

import subprocess
import sys

import pytest


def test_no_library_of_arrays_videos_or_servers_is_imported_before_a_word_is_understood() -> None:
    code = (
        "import sys, kconvert.cli.commands\n"
        "print(*sorted({'pyarrow', 'numpy', 'av', 'requests', 'fsspec', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("words", [["--help"], ["k400", "--help"], ["help", "training"], ["completion", "bash"]])
def test_what_only_tells_something_imports_no_library_of_arrays(words: list[str]) -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sorted({'pyarrow', 'numpy', 'av'} & sys.modules.keys()), file=sys.stderr))\n"
        f"sys.argv = ['kconvert', *{words}]\n"
        "from kconvert.__main__ import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout
    assert done.stderr.strip() == ""
