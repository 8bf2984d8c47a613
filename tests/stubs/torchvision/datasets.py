"""See README.md in `tests/stubs`."""


class VisionDataset: ...


class CIFAR10: ...
