"""kconvert turns an official Kinetics release into training shards that can be trusted.

`kconvert.open(DIR, SPLIT)` reads one back; `kconvert.webdataset(DIR, SPLIT)` is a training pipeline over it.
"""

from typing import TYPE_CHECKING, Any

from kconvert.version import VERSION as __version__

if TYPE_CHECKING:
    from kconvert.dataset.pipeline import open_webdataset as webdataset
    from kconvert.dataset.reader import open_clips as open
    from kconvert.dataset.reader import shard_urls

__all__ = ["__version__", "open", "shard_urls", "webdataset"]


def __getattr__(name: str) -> Any:
    # Not before somebody asks: the command imports this module, too.
    if name == "open":
        from kconvert.dataset.reader import open_clips

        return open_clips
    if name == "shard_urls":
        from kconvert.dataset.reader import shard_urls

        return shard_urls
    if name == "webdataset":
        from kconvert.dataset.pipeline import open_webdataset

        return open_webdataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
