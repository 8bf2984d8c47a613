"""What the libraries say of a clip: the messages that they log, and what of them stands in a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging

MAX_MESSAGES = 100
"""Some decoders complain of every frame; the last words are enough."""
Messages = list[tuple[int, str, str]]
"""Level, source and text of each."""

av.logging.set_level(av.logging.ERROR)
# Else a message that equals the one of the clip before is dropped, and a row depends on its neighbours.
av.logging.set_skip_repeated(False)


@contextmanager
def captured() -> Iterator[Messages]:
    """Collects what the libraries log in this thread."""
    with av.logging.Capture(local=True) as messages:
        yield messages


def explain(error: Exception, messages: Messages) -> str:
    """The error's own text, and the last thing that the libraries logged before it."""
    text = getattr(error, "strerror", None) or str(error)
    if not messages:
        return text
    _, source, message = messages[-1]
    return f"{text} ({source}: {message.strip()})" if source else f"{text} ({message.strip()})"


def with_last(detail: str, messages: Messages) -> str:
    """A detail, and the last thing that the libraries logged."""
    return f"{detail} ({messages[-1][1]}: {messages[-1][2].strip()})" if messages else detail
