"""The annotations of a split that a person gives, instead of those of the origin: what form they have is seen."""

from __future__ import annotations

import os

from kconvert.catalog.release import AnnotationFile, AnnotationForm
from kconvert.conversion.config import NO_ANNOTATIONS
from kconvert.dataset.annotation_table import csv_of_parquet
from kconvert.errors import FetchError, OriginError
from kconvert.sources.fetch.open import read_small
from kconvert.sources.fetch.stream import FetchOptions, is_remote, with_few_retries
from kconvert.sources.trees.texts import MAX_TEXT_BYTES

_PARQUET_MAGIC = b"PAR1"


def read_given(option: str, where: str, options: FetchOptions) -> tuple[AnnotationFile, bytes]:
    """The annotations at a path or a URL. Raises: `OriginError`, beginning with the option, if they cannot be had."""
    if where == NO_ANNOTATIONS:
        return AnnotationFile("", "none", is_complete=False), b""
    location = where if is_remote(where) else os.path.abspath(os.path.expanduser(where))
    try:
        data = read_small(location, with_few_retries(options), MAX_TEXT_BYTES)
    except FetchError as error:
        raise OriginError(f"{option}: {error}; expected a path or a URL of a csv, txt, json or parquet file") from error
    named = f"{option} {where}"
    if data.startswith(_PARQUET_MAGIC):
        return AnnotationFile(named, "csv"), csv_of_parquet(data, named)
    return AnnotationFile(named, _form(data)), data


def _form(data: bytes) -> AnnotationForm:
    first = next((line.strip() for line in data[: 1 << 16].splitlines() if line.strip()), b"").lstrip(b"\xef\xbb\xbf")
    if first.startswith(b"{"):
        return "json"
    return "listing" if first.endswith(b":") and b"," not in first else "csv"
