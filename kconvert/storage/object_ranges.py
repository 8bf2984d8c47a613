"""Reading ranges of objects: many at once, as each question to a store takes its time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from kconvert.storage.store import Range

_AT_ONCE_BYTES = 32 << 20
"""What is asked for at once."""
Naming = Callable[[str], AbstractContextManager[None]]
"""Gives what has an error name the object, or the folder, that fsspec calls so."""


def read_ranges(fs: Any, ranges: Iterable[Range], naming: Naming) -> Iterator[bytes]:
    """The bytes of ranges of objects, which go by their names in a file system of fsspec, in the order given; fewer
    only where an object ends before. Raises `OSError`."""
    batch: list[Range] = []
    for wanted in ranges:
        batch.append(wanted)
        if sum(one.end - one.start for one in batch) >= _AT_ONCE_BYTES:
            yield from _at_once(fs, batch, naming)
            batch = []
    yield from _at_once(fs, batch, naming)


def _at_once(fs: Any, ranges: Sequence[Range], naming: Naming) -> list[bytes]:
    if not ranges:
        return []
    if len(ranges) == 1:
        with naming(ranges[0].key):
            return [_range(fs, ranges[0])]
    with naming(os.path.commonpath([one.key for one in ranges])):
        keys, starts, ends = zip(*ranges, strict=True)
        data: list[bytes] = fs.cat_ranges(list(keys), list(starts), list(ends), on_error="raise")
    return data


def _range(fs: Any, wanted: Range) -> bytes:
    try:
        data: bytes = fs.cat_file(wanted.key, start=wanted.start, end=wanted.end)
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        # Some stores refuse a range that ends beyond the object.
        size = int(fs.info(wanted.key)["size"])
        if wanted.end <= size:
            raise
        data = fs.cat_file(wanted.key, start=wanted.start, end=size) if wanted.start < size else b""
    return data
