"""Progress for people, on stderr: two bars in a terminal, plain lines every so often elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

from tqdm import tqdm

from kconvert.events import Advance
from kconvert.units import format_bytes
from kconvert.verdict import DEFECTS

_LINE_INTERVAL_SECONDS = 10.0


class Bars:
    """An observer that draws one bar for bytes and one for clips."""

    def __init__(self) -> None:
        self._bytes: tqdm[Any] | None = None
        self._clips: tqdm[Any] | None = None
        self._flagged: Counter[str] = Counter()

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None:
        self.end()
        self._flagged.clear()
        self._bytes = tqdm(desc=step, total=num_bytes, unit="B", unit_scale=True, position=0, file=sys.stderr)
        self._clips = tqdm(desc="clips", total=num_clips, unit=" clips", position=1, file=sys.stderr)

    def advance(self, event: Advance) -> None:
        if self._bytes is None or self._clips is None:
            return
        self._flagged.update(event.flagged)
        if event.flagged:
            self._clips.set_postfix_str(_flagged_text(self._flagged), refresh=False)
        self._bytes.update(event.num_bytes)
        self._clips.update(event.num_clips)

    def note(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def end(self) -> None:
        for bar in (self._clips, self._bytes):
            if bar is not None:
                bar.close()
        self._bytes = self._clips = None


class Lines:
    """An observer that prints a line when a step begins and ends, and every so often between."""

    def __init__(self) -> None:
        self._step = ""
        self._totals: tuple[int | None, int | None] = (None, None)
        self._done = [0, 0]
        self._flagged: Counter[str] = Counter()
        self._start_seconds = self._next_seconds = 0.0

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None:
        self.end()
        self._step, self._totals, self._done = step, (num_bytes, num_clips), [0, 0]
        self._flagged.clear()
        self._start_seconds = time.monotonic()
        self._next_seconds = self._start_seconds + _LINE_INTERVAL_SECONDS
        self.note(step)

    def advance(self, event: Advance) -> None:
        self._done[0] += event.num_bytes
        self._done[1] += event.num_clips
        self._flagged.update(event.flagged)
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + _LINE_INTERVAL_SECONDS
            self.note(self._line())

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self._start_seconds, 1e-3)
        of_bytes = f" of {format_bytes(self._totals[0])}" if self._totals[0] is not None else ""
        of_clips = f" of {self._totals[1]:,}" if self._totals[1] is not None else ""
        share = self._share()
        remaining = f", {_duration(elapsed / share - elapsed)} remaining" if 0 < share < 1 else ""
        flagged = f", flagged: {_flagged_text(self._flagged)}" if self._flagged else ""
        return (
            f"{self._step}: {format_bytes(self._done[0])}{of_bytes}, {self._done[1]:,}{of_clips} clips "
            f"({self._done[1] / elapsed:.0f}/s){remaining}{flagged}"
        )

    def _share(self) -> float:
        """How much is done, 0 to 1; 0 where unknown."""
        for done, total in zip(self._done, self._totals, strict=True):
            if total:
                return done / total
        return 0.0

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._step:
            self.note(self._line())
        self._step = ""


def open_progress() -> Bars | Lines:
    """Bars if stderr is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


def _flagged_text(flagged: Counter[str]) -> str:
    return " ".join(f"{defect} {flagged[defect]:,}" for defect in DEFECTS if flagged[defect])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
