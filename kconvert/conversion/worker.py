"""What workers need, imported once, before they are forked (see `engine.local`)."""

from __future__ import annotations

import kconvert.conversion.ingest
import kconvert.conversion.pack
import kconvert.sources.fetch.ahead
import kconvert.video.isolated
import kconvert.video.libav  # noqa: F401
