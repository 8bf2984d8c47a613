"""Progress on stderr: two bars in a terminal, plain lines every so often elsewhere, or events for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from kconvert.cli.pace import Tally, spoken
from kconvert.events import Advance, Snapshot, SplitDone, SplitWork, Step
from kconvert.text import printable_lines
from kconvert.units import format_bytes, format_rate
from kconvert.video.verdict import DEFECTS


class Lines:
    """An observer that prints a line when a step begins and ends, and every so often between."""

    interval_seconds = 10.0

    def __init__(self) -> None:
        self._tally = Tally()
        self._next_seconds = 0.0
        self._split_began = time.monotonic()

    def run_begins(self, work: Mapping[str, SplitWork]) -> None:
        self._tally.work = dict(work)
        self._split_began = time.monotonic()

    def begin(self, step: Step) -> None:
        self._tally.begin(step)
        self._next_seconds = time.monotonic() + self.interval_seconds
        self._show_begin()

    def advance(self, event: Advance) -> None:
        self._tally.advance(event)
        if (now := time.monotonic()) >= self._next_seconds:
            self._next_seconds = now + self.interval_seconds
            self._show_progress()

    def end(self) -> None:
        self._erase()
        self._show_end()
        self._tally.end()

    def split_ends(self, done: SplitDone) -> None:
        seconds = time.monotonic() - self._split_began
        self._tally.split_ends(done.split)
        self._split_began = time.monotonic()
        self._show_split(done, seconds)

    def snapshot(self) -> Snapshot:
        return self._tally.snapshot()

    def note(self, text: str) -> None:
        self._print(printable_lines(text))

    def task_begins(self, name: str) -> None: ...

    def task_ends(self, name: str) -> None: ...

    def _show_begin(self) -> None:
        self.note(self._tally.step.text)

    def _show_progress(self) -> None:
        self.note(self._line(self._tally.clips.rate, _remaining_text(self._tally)))

    def _show_end(self) -> None:
        self.note(self._line(self._tally.clips.mean_rate))

    def _show_split(self, done: SplitDone, seconds: float) -> None:
        self.note(
            f"{done.split}: done: {done.num_written:,} clips in {done.num_shards:,} shards "
            f"({format_bytes(done.num_bytes)}), {done.num_flagged:,} flagged, {done.num_rejected:,} rejected, in "
            f"{spoken(seconds)}"
        )

    def _line(self, clips_per_second: float, remaining: str = "") -> str:
        num_bytes, num_clips = self._tally.bytes, self._tally.clips
        of_bytes = f" of {format_bytes(num_bytes.total)}" if num_bytes.total is not None else ""
        of_clips = f" of {num_clips.total:,}" if num_clips.total is not None else ""
        return (
            f"{self._tally.step.text}: {format_bytes(num_bytes.done)}{of_bytes}, {num_clips.done:,}{of_clips} clips "
            f"({format_rate(clips_per_second)}){remaining}{_flagged_text(self._tally)}"
        )

    def _print(self, text: str) -> None:
        # Nobody may be reading any more; the work continues.
        with suppress(BrokenPipeError):
            print(text, file=sys.stderr, flush=True)

    def _erase(self) -> None:
        """Takes away what was only drawn for the time being."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()


class Bars(Lines):
    """An observer that draws one bar for bytes and one for clips, and leaves a line when a split ends."""

    interval_seconds = 0.0
    """The bars know themselves when to draw again."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: list[tqdm[Any]] = []

    def _show_begin(self) -> None:
        of_bytes: dict[str, Any] = {"desc": self._tally.step.text, "unit": "B", "unit_scale": True}
        of_clips: dict[str, Any] = {"desc": "clips"}
        totals = (self._tally.bytes.total, self._tally.clips.total)
        for position, (total, look) in enumerate(zip(totals, (of_bytes, of_clips), strict=True)):
            # The time that remains is ours: tqdm's follows each burst.
            of_all = "{percentage:3.0f}% |{bar}| {n_fmt} of {total_fmt}" if total else "{n_fmt}"
            form = "{desc}: " + of_all + "{postfix}"
            bar = tqdm(
                total=total,
                position=position,
                bar_format=form,
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
                **look,
            )
            self._bars.append(bar)

    def _show_end(self) -> None:
        """The line of the split says it."""
        if not self._tally.step.split:
            super()._show_end()

    def _show_progress(self) -> None:
        if self._bars:
            num_bytes, num_clips = self._tally.bytes, self._tally.clips
            of_bytes, of_clips = self._bars
            of_bytes.set_postfix_str(f"{format_bytes(num_bytes.rate)}/s{_remaining_text(self._tally)}", refresh=False)
            of_clips.set_postfix_str(f"{format_rate(num_clips.rate)}{_flagged_text(self._tally)}", refresh=False)
            of_bytes.update(num_bytes.done - of_bytes.n)
            of_clips.update(num_clips.done - of_clips.n)

    def _erase(self) -> None:
        while self._bars:
            self._bars.pop().close()

    def _print(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)


class Events(Lines):
    """An observer that prints an object of JSON a line: `event` is begin, progress, end, split_end, task_begin,
    task_end or note."""

    interval_seconds = 1.0

    def note(self, text: str) -> None:
        self._print_event("note", text=text)

    def task_begins(self, name: str) -> None:
        self._print_event("task_begin", task=name)

    def task_ends(self, name: str) -> None:
        self._print_event("task_end", task=name)

    def _show_begin(self) -> None:
        self._print_event("begin", **self._numbers())

    def _show_progress(self) -> None:
        self._print_event("progress", **self._numbers())

    def _show_end(self) -> None:
        self._print_event("end", **self._numbers())

    def _show_split(self, done: SplitDone, seconds: float) -> None:
        self._print_event("split_end", **dataclasses.asdict(done), seconds=round(seconds, 3))

    def _numbers(self) -> dict[str, Any]:
        tally, seconds = self._tally, self._tally.remaining_seconds()
        return {
            "step": tally.step.text,
            "num_bytes": tally.bytes.done,
            "total_bytes": tally.bytes.total,
            "num_clips": tally.clips.done,
            "total_clips": tally.clips.total,
            "bytes_per_second": round(tally.bytes.rate),
            "clips_per_second": round(tally.clips.rate, 2),
            "remaining_seconds": None if seconds is None else round(seconds),
            "flagged": dict(tally.flagged),
        }

    def _print_event(self, event: str, **content: Any) -> None:
        self._print(event_json(event, **content))


def event_json(event: str, **content: Any) -> str:
    """An event as a line of JSON."""
    return json.dumps({"event": event, **content}, ensure_ascii=True)


class Quiet(Lines):
    """An observer that prints nothing."""

    def _print(self, text: str) -> None: ...


def open_progress(is_quiet: bool = False, as_events: bool = False) -> Lines:
    """Bars if stderr is a terminal that can move its cursor, else lines, unless asked for otherwise. To be closed, also
    after an exception."""
    if is_quiet:
        return Quiet()
    if as_events:
        return Events()
    return Bars() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()


def _remaining_text(tally: Tally) -> str:
    seconds = tally.remaining_seconds()
    return f", {spoken(seconds)} remaining" if seconds else ""


def _flagged_text(tally: Tally) -> str:
    found = " ".join(f"{defect} {tally.flagged[defect]:,}" for defect in DEFECTS if tally.flagged[defect])
    return f", flagged: {found}" if found else ""
