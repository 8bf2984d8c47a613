"""The guide: a page of Markdown a topic, printed by `kconvert help TOPIC`. The first line of each is its title."""

from __future__ import annotations

from importlib import resources

from kconvert.errors import UsageError
from kconvert.text import did_you_mean

TOPICS = (
    "start", "extracted", "releases", "checks", "overlap", "supplements", "formats", "encoding", "reading", "training",
    "cluster", "disk", "resume", "config", "speed", "trust",
)  # fmt: skip
"""In the order in which a person meets them."""


def topics_text() -> str:
    """The topics, a line each."""
    width = max(map(len, TOPICS))
    lines = [f"  kconvert help {topic:{width}}  {page(topic).splitlines()[0].lstrip('# ')}" for topic in TOPICS]
    return "\n".join(["The guide, a page a topic:", "", *lines, "", "kconvert --help lists all options."])


def page(topic: str) -> str:
    """The page of a topic. Raises `UsageError` if there is none."""
    if topic not in TOPICS:
        hint = did_you_mean(topic, TOPICS)
        raise UsageError(
            f"kconvert help {topic}: no such page; expected one of {', '.join(TOPICS)}{f'; {hint}' if hint else ''}"
        )
    return resources.files(__package__).joinpath(f"{topic}.md").read_text("utf-8").rstrip("\n")
