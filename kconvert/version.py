"""The versions that outputs are marked with."""

VERSION = "0.1.0"
"""Of the program."""
FORMAT_VERSION = 1
"""Of the files it writes; see README.md, "What it writes"."""
