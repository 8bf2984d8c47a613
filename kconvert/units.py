"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import re

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_WRITTEN = ("TB", "GB", "MB", "kB", "TiB", "GiB", "MiB", "KiB")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


class ByteSize(int):
    """A number of bytes that is written `1GB`, `500 MiB` or `123`."""

    @classmethod
    def parse(cls, text: str | int) -> ByteSize:
        """The size that a text or a number stands for. Raises `ValueError`."""
        match = _SIZE.fullmatch(str(text).strip())
        if match is None or match[2].upper() not in _UNITS:
            raise ValueError(f"size {text!r}: expected a number, or one with kB, MB, GB, KiB, MiB or GiB")
        return cls(round(float(match[1]) * _UNITS[match[2].upper()]))

    def __str__(self) -> str:
        exact = [unit for unit in _WRITTEN if self and int(self) % _UNITS[unit.upper()] == 0]
        if not exact:
            return str(int(self))
        # As 4GiB, and not 4194304KiB.
        unit = max(exact, key=lambda unit: _UNITS[unit.upper()])
        return f"{int(self) // _UNITS[unit.upper()]}{unit}"


def format_rate(rate: float) -> str:
    """So many a second, as people read it: `1,110/s`, `12.3/s`, `0.45/s`."""
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"


def format_bytes(size: float) -> str:
    """A size with three digits and its unit, e.g. `1.23 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
