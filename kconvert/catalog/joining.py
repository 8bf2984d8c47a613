"""Joining: the ways in which clips and annotations may come together, as options and tables name them."""

from __future__ import annotations

from typing import Literal

UnlabelledPolicy = Literal["keep", "drop"]
"""What becomes of a clip that has no label."""
MatchBy = Literal["name", "id"]
"""What joins a clip and its annotation: the whole name, or the video's id where that is annotated once."""
LabelSource = Literal["annotation", "archive", "folder", ""]
"""What says a label; `""` if nothing does."""
