"""Imported first by a server of processes that a lean process starts: it does without arrays as well."""

from kconvert.engines.imports import without_arrays

without_arrays()
