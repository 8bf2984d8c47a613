"""Threads for what waits: many questions to a server at once, instead of one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

WAKE_SECONDS = 0.5
"""After so long the main thread looks up from its waiting: a signal that comes just before that does not wake it."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def has_threads() -> bool:
    """Whether this process has other threads than this one, those of C libraries included, or nobody knows."""
    tasks = Path("/proc/self/task")
    return not tasks.is_dir() or len(list(tasks.iterdir())) > 1


def at_once(ask: Callable[[Item], Answer], items: Iterable[Item], max_threads: int = 16) -> list[Answer]:
    """What `ask` says of each item, in their order. Raises the first error of the first item that has one."""
    listed = list(items)
    if max_threads == 1 or len(listed) < 2:
        return [ask(item) for item in listed]
    remaining = deque(enumerate(listed))
    answers: dict[int, Answer] = {}
    errors: dict[int, BaseException] = {}

    def work() -> None:
        with suppress(IndexError):
            while not errors:
                number, item = remaining.popleft()
                try:
                    answers[number] = ask(item)
                except BaseException as error:  # noqa: BLE001
                    errors[number] = error

    # Not a pool: its threads would keep an interrupted program from ending.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(max_threads, len(listed)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(WAKE_SECONDS)
    if errors:
        raise errors[min(errors)]
    return [answers[number] for number in range(len(listed))]
