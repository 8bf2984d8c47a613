"""kconvert turns an official Kinetics release into training shards that can be trusted."""

from kconvert.version import VERSION as __version__

__all__ = ["__version__"]
