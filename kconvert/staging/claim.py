"""Which instruction set makes the sound of a conversion that comes out otherwise by others: that of the machine that is
first to make some."""

from __future__ import annotations

import time
from dataclasses import dataclass

from kconvert.storage.store import StorePath

_NAME = "instruction_set"
_WAIT_SECONDS = 0.1
"""Until a claim that another task is making is there."""


@dataclass(frozen=True)
class Claim:
    """That of one conversion."""

    journal: StorePath
    """The folder of its journal."""

    def holder(self) -> str:
        """The instruction set that has it; `""` if none has."""
        try:
            return self._path.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def make(self, own: str) -> str:
        """Claims it for an instruction set, if none has it; returns the one that has it. Tasks on any machines may do
        so at once."""
        while not (found := self.holder()):
            with (self.journal / f"{_NAME}.lock").lock() as is_ours:
                if is_ours and not self.holder():
                    self.set(own)
            if not is_ours:
                time.sleep(_WAIT_SECONDS)
        return found

    def set(self, holder: str) -> None:
        """Gives it to an instruction set; for whoever holds the folder."""
        self._path.write_bytes(holder.encode())

    def forget(self) -> None:
        """Takes it from whoever has it."""
        self._path.remove()

    @property
    def _path(self) -> StorePath:
        return self.journal / _NAME
