"""What workers need, imported once, before they are forked (see `engine.local`)."""

from __future__ import annotations

from kconvert.imports import without_arrays

without_arrays()

import kconvert.fetch.ahead  # noqa: E402
import kconvert.ingest  # noqa: E402
import kconvert.pack  # noqa: E402
import kconvert.probe.libav  # noqa: E402, F401
