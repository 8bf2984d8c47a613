"""Progress for people, on stderr: two bars in a terminal, plain lines every so often elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from kconvert.events import Advance
from kconvert.text import printable_lines
from kconvert.units import format_bytes
from kconvert.verdict import DEFECTS

_LINE_INTERVAL_SECONDS = 10.0


class Lines:
    """An observer that prints a line when a step begins and ends, and every so often between."""

    def __init__(self) -> None:
        self._step = ""
        self._totals: tuple[int | None, int | None] = (None, None)
        self._num_bytes = 0
        self._num_clips = 0
        self._flagged: Counter[str] = Counter()
        self._start_seconds = self._next_seconds = 0.0

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None:
        self._step, self._totals = step, (num_bytes, num_clips)
        self._num_bytes = self._num_clips = 0
        self._flagged.clear()
        self._start_seconds = time.monotonic()
        self._next_seconds = self._start_seconds + _LINE_INTERVAL_SECONDS
        self._draw()

    def advance(self, event: Advance) -> None:
        self._num_bytes += event.num_bytes
        self._num_clips += event.num_clips
        self._flagged.update(event.flagged)
        self._redraw(event)

    def end(self) -> None:
        self._erase()
        self.note(self._line())
        self._step = ""

    def note(self, text: str) -> None:
        # Nobody may be reading any more; the work goes on.
        with suppress(BrokenPipeError):
            print(printable_lines(text), file=sys.stderr, flush=True)

    def _draw(self) -> None:
        self.note(self._step)

    def _redraw(self, event: Advance) -> None:
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + _LINE_INTERVAL_SECONDS
            self.note(self._line())

    def _erase(self) -> None:
        """Takes away what was only drawn for the time being."""

    def _line(self) -> str:
        elapsed = max(time.monotonic() - self._start_seconds, 1e-3)
        total_bytes, total_clips = self._totals
        of_bytes = f" of {format_bytes(total_bytes)}" if total_bytes is not None else ""
        of_clips = f" of {total_clips:,}" if total_clips is not None else ""
        share = self._share()
        remaining = f", {_duration(elapsed / share - elapsed)} remaining" if 0 < share < 1 else ""
        flagged = f", flagged: {_flagged_text(self._flagged)}" if self._flagged else ""
        return (
            f"{self._step}: {format_bytes(self._num_bytes)}{of_bytes}, {self._num_clips:,}{of_clips} clips "
            f"({self._num_clips / elapsed:.3g}/s){remaining}{flagged}"
        )

    def _share(self) -> float:
        """How much is done, 0 to 1; 0 where unknown."""
        for done, total in zip((self._num_bytes, self._num_clips), self._totals, strict=True):
            if total:
                return done / total
        return 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()


class Bars(Lines):
    """An observer that draws one bar for bytes and one for clips, and leaves a line when a step ends."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: list[tqdm[Any]] = []

    def _draw(self) -> None:
        total_bytes, total_clips = self._totals
        look: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "file": sys.stderr}
        self._bars = [
            tqdm(desc=self._step, total=total_bytes, unit="B", unit_scale=True, position=0, **look),
            tqdm(desc="clips", total=total_clips, unit=" clips", position=1, **look),
        ]

    def _redraw(self, event: Advance) -> None:
        if self._bars:
            of_bytes, of_clips = self._bars
            if event.flagged:
                of_clips.set_postfix_str(_flagged_text(self._flagged), refresh=False)
            of_bytes.update(event.num_bytes)
            of_clips.update(event.num_clips)

    def _erase(self) -> None:
        while self._bars:
            self._bars.pop().close()

    def note(self, text: str) -> None:
        tqdm.write(printable_lines(text), file=sys.stderr)


def open_progress() -> Lines:
    """Bars if stderr is a terminal, else lines. To be closed, also after an exception."""
    return Bars() if sys.stderr.isatty() else Lines()


def _flagged_text(flagged: Counter[str]) -> str:
    return " ".join(f"{defect} {flagged[defect]:,}" for defect in DEFECTS if flagged[defect])


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
