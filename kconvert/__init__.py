"""kconvert turns an official Kinetics release into training shards that can be trusted.

`kconvert.open(DIR, SPLIT)` reads one back.
"""

from typing import TYPE_CHECKING, Any

from kconvert.version import VERSION as __version__

if TYPE_CHECKING:
    from kconvert.reader import open_clips as open

__all__ = ["__version__", "open"]


def __getattr__(name: str) -> Any:
    if name == "open":
        # Not before somebody asks: the command imports this module, too.
        from kconvert.reader import open_clips

        return open_clips
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
