"""Features: how Hugging Face datasets spells the types of columns, in dataset cards and in Parquet files.

Where nothing declares them, it takes them from the first few samples, and an empty list for a column without a type.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_NAMES = {"double": "float64", "float": "float32"}
"""Where Arrow has another name."""


def card_feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    """A column as the front matter of a dataset card has it."""
    return {"name": name, **_of_card(kind)}


def _of_card(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _of_card(kind.value_type)
        return {"list": inner.get("dtype", inner.get("struct"))}
    if pa.types.is_struct(kind):
        return {"struct": [card_feature(field.name, field.type) for field in kind]}
    return {"dtype": _dtype(kind)}


def file_feature(kind: pa.DataType) -> Any:
    """A column as the metadata of a Parquet file have it; a list as all versions of the library read it."""
    if pa.types.is_list(kind):
        return [file_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: file_feature(field.type) for field in kind}
    return {"dtype": _dtype(kind), "_type": "Value"}


def _dtype(kind: pa.DataType) -> str:
    return _NAMES.get(str(kind), str(kind))
