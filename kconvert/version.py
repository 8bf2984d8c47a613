"""The versions that outputs are marked with."""

VERSION = "0.1.0"
"""Of the program."""
DISTRIBUTION = "kconvert-datasets"
"""What is installed: the name of the command belongs to another project on the public index."""
FORMAT_VERSION = 2
"""Of the files it writes; see `kconvert help formats`."""
