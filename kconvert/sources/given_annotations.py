"""The annotations of a split that a person gives, instead of those of the origin: what form they have is seen."""

from __future__ import annotations

import os

from kconvert.catalog.release import AnnotationFile, AnnotationForm
from kconvert.errors import FetchError, OriginError
from kconvert.sources.fetch.open import read_small
from kconvert.sources.fetch.stream import FetchOptions, is_remote, with_few_retries

NONE = "none"
"""What is given where no list says which clips there are."""
_MAX_BYTES = 1 << 30
_PARQUET_MAGIC = b"PAR1"
_COLUMNS = {
    "youtube_id": ("youtube_id", "video_id"),
    "time_start": ("time_start", "start_seconds"),
    "time_end": ("time_end", "end_seconds"),
    "label": ("label",),
}
"""What the columns of a table may be called; those of our own tables are among them."""


def read_given(option: str, where: str, options: FetchOptions) -> tuple[AnnotationFile, bytes]:
    """The annotations at a path or a URL. Raises: `OriginError`, beginning with the option, if they cannot be had."""
    if where == NONE:
        return AnnotationFile("", "none", is_complete=False), b""
    location = where if is_remote(where) else os.path.abspath(os.path.expanduser(where))
    try:
        data = read_small(location, with_few_retries(options), _MAX_BYTES)
    except FetchError as error:
        raise OriginError(f"{option}: {error}; expected a path or a URL of a csv, txt, json or parquet file") from error
    leaf = location.rpartition("/")[2]
    if data.startswith(_PARQUET_MAGIC):
        return AnnotationFile(leaf, "csv"), _csv_of(option, where, data)
    return AnnotationFile(leaf, _form(data)), data


def _form(data: bytes) -> AnnotationForm:
    first = next((line.strip() for line in data[: 1 << 16].splitlines() if line.strip()), b"").lstrip(b"\xef\xbb\xbf")
    if first.startswith(b"{"):
        return "json"
    return "listing" if first.endswith(b":") and b"," not in first else "csv"


def _csv_of(option: str, where: str, data: bytes) -> bytes:
    """The rows of a Parquet file in the form of an official csv."""
    # They take a while to import.
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise OriginError(f"{option}: {where}: is no whole Parquet file ({error})") from error
    found = {name: next((one for one in known if one in table.column_names), None) for name, known in _COLUMNS.items()}
    if lacking := [name for name, column in found.items() if column is None and name != "label"]:
        raise OriginError(
            f"{option}: {where}: has no column {' or '.join(_COLUMNS[lacking[0]])}; got {', '.join(table.column_names)}"
        )
    picked = {name: table.column(column) for name, column in found.items() if column is not None}
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(pa.table(picked), sink)
    return bytes(sink.getvalue().to_pybytes())
