"""See README.md in `tests/stubs`."""
