"""Annotations in a Parquet table, such as one of ours."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from kconvert.errors import OriginError

_COLUMNS = {
    "youtube_id": ("youtube_id", "video_id"),
    "time_start": ("time_start", "start_seconds"),
    "time_end": ("time_end", "end_seconds"),
    "label": ("label",),
    "split": ("split",),
}
"""What the columns of a table may be called; those of our own tables are among them."""


def csv_of_parquet(data: bytes, where: str) -> bytes:
    """The rows of a Parquet file in the form of an official csv.

    Raises: `OriginError`, beginning with `where`, for what is none.
    """
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise OriginError(f"{where}: is no whole Parquet file ({error}); give another file") from error
    found = {name: next((one for one in known if one in table.column_names), None) for name, known in _COLUMNS.items()}
    if lacking := [name for name, column in found.items() if column is None and name not in ("label", "split")]:
        raise OriginError(
            f"{where}: has no column {' or '.join(_COLUMNS[lacking[0]])}; got {', '.join(table.column_names)}"
        )
    picked = {name: table.column(column) for name, column in found.items() if column is not None}
    sink = pa.BufferOutputStream()
    try:
        pa_csv.write_csv(pa.table(picked), sink)
    except pa.ArrowException as error:
        raise OriginError(f"{where}: has columns that are no plain values ({error}); expected texts") from error
    return bytes(sink.getvalue().to_pybytes())
