"""See README.md in `tests/stubs`."""


class BatchFeature: ...
