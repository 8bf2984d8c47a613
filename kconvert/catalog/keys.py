"""Keys: what samples are called, of many clips at once."""

from __future__ import annotations

from kconvert.catalog.clip import PLAIN_NAME, safe_name
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
