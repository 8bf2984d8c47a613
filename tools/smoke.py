"""The option `--smoke` of every tool that takes long: its smallest size, at which it shows that it runs, and nothing
else. That is how each runs in the tests, so that none rots unnoticed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None, **smallest: object) -> argparse.Namespace:
    """The options that the words ask for (those of the command line if `None`); with `--smoke`, these values count."""
    parser.add_argument("--smoke", action="store_true", help="run at the smallest size, to see that it runs")
    options = parser.parse_args(words)
    if options.smoke:
        vars(options).update(smallest)
    return options
