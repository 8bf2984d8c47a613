"""The command line begins at once: what takes long to import is imported by what needs it."""

import subprocess
import sys


def test_no_library_of_arrays_videos_or_servers_is_imported_before_a_word_is_understood() -> None:
    code = (
        "import sys, kconvert.cli.commands\n"
        "print(*sorted({'pyarrow', 'numpy', 'av', 'requests', 'fsspec', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
