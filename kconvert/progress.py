"""Progress on stderr: two bars in a terminal, plain lines every so often elsewhere, or events for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from kconvert.events import Advance, Silent
from kconvert.pace import Pace, spoken
from kconvert.text import printable_lines
from kconvert.units import format_bytes
from kconvert.verdict import DEFECTS

_LINE_INTERVAL_SECONDS = 10.0
_EVENT_INTERVAL_SECONDS = 1.0


class Lines:
    """An observer that prints a line when a step begins and ends, and every so often between."""

    interval_seconds = _LINE_INTERVAL_SECONDS

    def __init__(self) -> None:
        self._step = ""
        self._bytes, self._clips = Pace(None), Pace(None)
        self._flagged: Counter[str] = Counter()
        self._next_seconds = 0.0

    def begin(self, step: str, num_bytes: int | None, num_clips: int | None) -> None:
        self._step, self._bytes, self._clips = step, Pace(num_bytes), Pace(num_clips)
        self._flagged.clear()
        self._next_seconds = time.monotonic() + self.interval_seconds
        self._draw()

    def advance(self, event: Advance) -> None:
        self._bytes.advance(event.num_bytes)
        self._clips.advance(event.num_clips)
        self._flagged.update(event.flagged)
        self._redraw(event)

    def end(self) -> None:
        self._erase()
        self.note(self._line(is_over=True))
        self._step = ""

    def note(self, text: str) -> None:
        self._print(printable_lines(text))

    def task_begins(self, name: str) -> None: ...

    def task_ends(self, name: str) -> None: ...

    def _print(self, text: str) -> None:
        # Nobody may be reading any more; the work goes on.
        with suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)

    def _draw(self) -> None:
        self.note(self._step)

    def _redraw(self, event: Advance) -> None:
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + self.interval_seconds
            self.note(self._line())

    def _erase(self) -> None:
        """Takes away what was only drawn for the time being."""

    def _remaining_seconds(self) -> float | None:
        return (self._bytes if self._bytes.total else self._clips).remaining_seconds()

    def _line(self, is_over: bool = False) -> str:
        of_bytes = f" of {format_bytes(self._bytes.total)}" if self._bytes.total is not None else ""
        of_clips = f" of {self._clips.total:,}" if self._clips.total is not None else ""
        rate = self._clips.mean_rate if is_over else self._clips.rate
        seconds = None if is_over else self._remaining_seconds()
        remaining = f", {spoken(seconds)} remaining" if seconds else ""
        flagged = f", flagged: {_flagged_text(self._flagged)}" if self._flagged else ""
        return (
            f"{self._step}: {format_bytes(self._bytes.done)}{of_bytes}, {self._clips.done:,}{of_clips} clips "
            f"({rate:.3g}/s){remaining}{flagged}"
        )

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
        # The time that remains is ours: tqdm's follows each burst.
        known, unknown = (
            "{desc}: {percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt}{postfix}",
            "{desc}: {n_fmt}{postfix}",
        )
        look: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "file": sys.stderr}
        of_bytes: dict[str, Any] = {"unit": "B", "unit_scale": True, "position": 0}
        totals = self._bytes.total, self._clips.total
        form_of_bytes, form_of_clips = (known if total else unknown for total in totals)
        self._bars = [
            tqdm(desc=self._step, total=totals[0], bar_format=form_of_bytes, **of_bytes, **look),
            tqdm(desc="clips", total=totals[1], position=1, bar_format=form_of_clips, **look),
        ]

    def _redraw(self, event: Advance) -> None:
        if self._bars:
            of_bytes, of_clips = self._bars
            seconds = self._remaining_seconds()
            remaining = f", {spoken(seconds)} remaining" if seconds else ""
            flagged = f", flagged: {_flagged_text(self._flagged)}" if self._flagged else ""
            of_bytes.set_postfix_str(f"{format_bytes(self._bytes.rate)}/s{remaining}", refresh=False)
            of_clips.set_postfix_str(f"{self._clips.rate:.3g}/s{flagged}", refresh=False)
            of_bytes.update(event.num_bytes)
            of_clips.update(event.num_clips)

    def _erase(self) -> None:
        while self._bars:
            self._bars.pop().close()

    def _print(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)


class Events(Lines):
    """An observer that prints an object of JSON a line: `event` is begin, progress, end, task_begin, task_end or
    note."""

    interval_seconds = _EVENT_INTERVAL_SECONDS

    def note(self, text: str) -> None:
        self._tell("note", text=text)

    def task_begins(self, name: str) -> None:
        self._tell("task_begin", task=name)

    def task_ends(self, name: str) -> None:
        self._tell("task_end", task=name)

    def end(self) -> None:
        self._tell("end", **self._numbers())

    def _draw(self) -> None:
        self._tell("begin", **self._numbers())

    def _redraw(self, event: Advance) -> None:
        if time.monotonic() >= self._next_seconds:
            self._next_seconds = time.monotonic() + self.interval_seconds
            self._tell("progress", **self._numbers())

    def _numbers(self) -> dict[str, Any]:
        seconds = self._remaining_seconds()
        return {
            "step": self._step,
            "num_bytes": self._bytes.done,
            "total_bytes": self._bytes.total,
            "num_clips": self._clips.done,
            "total_clips": self._clips.total,
            "bytes_per_second": round(self._bytes.rate),
            "clips_per_second": round(self._clips.rate, 2),
            "remaining_seconds": None if seconds is None else round(seconds),
            "flagged": dict(self._flagged),
        }

    def _tell(self, event: str, **content: Any) -> None:
        self._print(event_json(event, **content))


def event_json(event: str, **content: Any) -> str:
    """An event as a line of JSON."""
    return json.dumps({"event": event, **content}, ensure_ascii=True)


class Quiet(Silent):
    """An observer that tells nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_progress(is_quiet: bool = False, as_events: bool = False) -> Lines | Quiet:
    """Bars if stderr is a terminal, else lines, unless asked for otherwise. To be closed, also after an exception."""
    if is_quiet:
        return Quiet()
    if as_events:
        return Events()
    return Bars() if sys.stderr.isatty() else Lines()


def _flagged_text(flagged: Counter[str]) -> str:
    return " ".join(f"{defect} {flagged[defect]:,}" for defect in DEFECTS if flagged[defect])
