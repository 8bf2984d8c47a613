"""Chooses the benchmark: `tools/bench [NAME] [options]`."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "ways": "ways",
    "stages": "stages",
    "scale": "scale",
    "decode": "decoding",
    "verify": "verification",
    "read": "reading",
    "join": "joining",
    "encode": "encoding",
    "sweep": "sweep",
    "train": "training",
}


def main(words: list[str]) -> int:
    name = words.pop(0) if words and not words[0].startswith("-") else "ways"
    if name not in BENCHMARKS:
        print(f"tools/bench: no benchmark {name!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    code: int = importlib.import_module(f"benchmarks.{BENCHMARKS[name]}").main(words)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
