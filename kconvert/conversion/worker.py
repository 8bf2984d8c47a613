"""What workers need, imported once, before they are forked (see `engine.local`)."""

from __future__ import annotations

from kconvert.engines.imports import without_arrays

without_arrays()

import kconvert.conversion.ingest  # noqa: E402
import kconvert.conversion.pack  # noqa: E402
import kconvert.sources.fetch.ahead  # noqa: E402
import kconvert.video.isolated  # noqa: E402
import kconvert.video.libav  # noqa: E402, F401
