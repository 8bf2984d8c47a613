"""Names of many clips at once: what samples of them are called, and what they say."""

from __future__ import annotations

from collections.abc import Iterator

from kconvert.catalog.clip import PLAIN_NAME, safe_name
from kconvert.catalog.names import Names
from kconvert.columns.column import Column
from kconvert.columns.combining import are_matched, behind, spread


def sample_keys(split: str, names: Column) -> Column:
    """See `sample_key`."""
    return behind(f"{split}_", safe_names(names))


def safe_names(names: Column) -> Column:
    """See `safe_name`."""
    are_odd = ~are_matched(names, PLAIN_NAME)
    odd = names.where(are_odd)
    return spread(odd.rewritten(safe_name), are_odd).or_else(names) if len(odd) else names


def name_columns(names: Names, texts: Column) -> Iterator[tuple[str, Column]]:
    """The columns that names say: `youtube_id`, `start_seconds`, `end_seconds`."""
    ids, starts, ends = zip(*map(names.parts, texts), strict=True) if len(texts) else ((), (), ())
    yield "youtube_id", Column.of(ids)
    yield "start_seconds", Column.of(starts, "index")
    yield "end_seconds", Column.of(ends, "index")
