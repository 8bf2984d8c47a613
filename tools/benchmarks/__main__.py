"""Chooses the benchmark: `tools/bench [NAME] [options]`."""

from __future__ import annotations

import sys

from benchmarks import ways

BENCHMARKS = {"ways": ways.main}


def main(words: list[str]) -> int:
    name = words.pop(0) if words and not words[0].startswith("-") else "ways"
    if name not in BENCHMARKS:
        print(f"tools/bench: no benchmark {name!r}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    return BENCHMARKS[name](words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
