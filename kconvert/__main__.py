"""`python -m kconvert` is the `kconvert` command."""

import sys

from kconvert.cli import main

if __name__ == "__main__":
    sys.exit(main())
