"""See README.md in `tests/stubs`."""


def to_tensor() -> None: ...
